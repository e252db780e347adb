"""Candidates with their source and feedback: those used last are kept in memory, the others are read again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from quintain_controller.domain.model import Candidate
from quintain_controller.usecases.async_store import AsyncStore

_KEPT = 256

Texts = tuple[Candidate, str, str]


class CandidateSourceCache:
    """Of one search. What the store does not know yet is held until it does."""

    def __init__(self, store: AsyncStore, search_id: str) -> None:
        self._store, self._search_id = store, search_id
        self._kept: OrderedDict[int, Texts] = OrderedDict()
        self._unwritten: dict[int, Texts] = {}
        self._under_way: dict[int, str] = {}  # sources of candidates that are not settled

    async def of(self, numbers: Sequence[int]) -> dict[int, Texts]:
        """Candidate, source and feedback of each number that has a source."""
        found = {n: texts for n in numbers if (texts := self._unwritten.get(n) or self._kept.get(n))}
        missing = [n for n in numbers if n not in found]
        if missing:
            found |= await self._store(self._store.blocking.texts, self._search_id, missing)
        for number, texts in found.items():
            self._keep(number, texts)
        return found

    async def candidate(self, number: int) -> Candidate:
        return (await self.of([number]))[number][0]

    async def source_of(self, number: int) -> str:
        source = self._under_way.get(number)
        if source is None:
            source = (await self.of([number]))[number][1]
        return source

    def hold(self, number: int, source: str) -> None:
        """Keep the source of a candidate under way until it is settled and written."""
        self._under_way[number] = source

    def settle(self, candidate: Candidate, feedback: str) -> None:
        """The candidate has its verdict, but the store does not know it before `written`."""
        number = candidate.number
        self._kept.pop(number, None)
        self._unwritten[number] = (candidate, self._under_way[number], feedback)

    def written(self, number: int) -> None:
        """The store knows the settled candidate."""
        self._under_way.pop(number, None)
        if number in self._unwritten:
            self._keep(number, self._unwritten.pop(number))

    def _keep(self, number: int, texts: Texts) -> None:
        self._kept[number] = texts
        self._kept.move_to_end(number)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
