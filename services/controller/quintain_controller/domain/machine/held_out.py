"""The held-out scores of a search: of candidate 0 and every new best. They choose nothing; the gates look at them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from quintain_controller.domain.events import DomainEvent
from quintain_controller.domain.gates import held_out_events
from quintain_controller.domain.model import Candidate, Verification


class HeldOutScores:
    """One is made after the other, in the order in which the candidates were told."""

    def __init__(self) -> None:
        self.reference: Candidate | None = None  # candidate 0, with its held-out score once there is one
        self._waiting: deque[Candidate] = deque()  # told and written; candidate 0 first
        self._scored: dict[int, Candidate] = {}

    def restored(self, candidates: Iterable[Candidate]) -> None:
        """Candidate 0 and the bests so far, with a score or not."""
        self._scored = {c.number: c for c in candidates if c.held_out is not None}

    def wanted(self, candidates: Iterable[Candidate]) -> None:
        self._waiting.extend(candidates)

    @property
    def next(self) -> int | None:
        """The number of whose score is to be made."""
        return self._waiting[0].number if self._waiting else None

    def made(self, verification: Verification) -> tuple[Candidate, list[DomainEvent]]:
        """The next one with its score, and what is to be said of it."""
        candidate = replace(self._waiting.popleft(), held_out=verification.held_out)
        if candidate.number == 0:
            self.reference = candidate
        if candidate.held_out is not None:
            self._scored[candidate.number] = candidate
        return candidate, held_out_events(candidate, self.reference) if self.reference is not None else []

    @property
    def scored(self) -> Sequence[Candidate]:
        """Candidate 0 and the bests that have a score, by number."""
        return [self._scored[number] for number in sorted(self._scored)]
