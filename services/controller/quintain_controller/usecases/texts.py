"""Candidates with their source and feedback: those used last are kept in memory, the others are read again."""

from __future__ import annotations

from collections import OrderedDict

from quintain_controller.domain.model import Candidate
from quintain_controller.usecases.async_store import AsyncStore

_TEXTS_KEPT = 256


class CandidateSourceCache:
    """Of one search. Only candidates that have a source have texts."""

    def __init__(self, store: AsyncStore, search_id: str) -> None:
        self._store, self._search_id = store, search_id
        self._kept: OrderedDict[int, tuple[Candidate, str, str]] = OrderedDict()
        self._unwritten: dict[int, tuple[Candidate, str, str]] = {}

    async def of(self, numbers: list[int]) -> dict[int, tuple[Candidate, str, str]]:
        """Candidate, source and feedback of each number."""
        found = {n: text for n in numbers if (text := self._unwritten.get(n) or self._kept.get(n))}
        missing = [n for n in numbers if n not in found]
        if missing:
            found |= await self._store(self._store.blocking.texts, self._search_id, missing)
        for candidate, source, feedback in found.values():
            self.keep(candidate, source, feedback)
        return found

    async def source_of(self, number: int) -> str:
        return (await self.of([number]))[number][1]

    def keep(self, candidate: Candidate, source: str, feedback: str) -> None:
        self._kept[candidate.number] = (candidate, source, feedback)
        self._kept.move_to_end(candidate.number)
        if len(self._kept) > _TEXTS_KEPT:
            self._kept.popitem(last=False)

    def settle(self, candidate: Candidate, source: str, feedback: str) -> None:
        """The candidate has its verdict, but the store does not know it before `written`."""
        self._unwritten[candidate.number] = (candidate, source, feedback)

    def written(self, number: int) -> None:
        if number in self._unwritten:
            self.keep(*self._unwritten.pop(number))
