"""Writes of one search in order, several in one transaction when they come together."""

from __future__ import annotations

from dataclasses import dataclass, field

from quintain_controller.domain.events import DomainEvent
from quintain_controller.domain.model import Candidate, SearchState, Spend
from quintain_controller.domain.records import Batch, CandidateWrite, Transition


@dataclass(slots=True)
class Draft:
    """What one step wants written. `transition` ends a transaction: nothing is written with what comes after it.

    `to_score` are candidates whose held-out score is wanted once this is durable.
    """

    candidates: list[CandidateWrite] = field(default_factory=list)
    events: list[DomainEvent] = field(default_factory=list)
    told: int | None = None
    transition: Transition | None = None
    best_number: int | None = None
    idle_in: SearchState | None = None
    look_again_at: float | None = None
    to_score: list[Candidate] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not (self.candidates or self.events or self.transition or self.idle_in) and self.told is None


class WriteBatcher:
    """Drafts that wait, and those that are being written."""

    def __init__(self) -> None:
        self._waiting: list[Draft] = []
        self.writing: list[Draft] = []

    def add(self, draft: Draft) -> None:
        self._waiting.append(draft)

    @property
    def empty(self) -> bool:
        """Whether everything is durable."""
        return not self._waiting and not self.writing

    @property
    def pauses(self) -> bool:
        """Whether a pause of the search is not durable yet."""
        wanted = (draft.transition for draft in (*self.writing, *self._waiting))
        return any(transition is not None and transition.state is SearchState.PAUSED for transition in wanted)

    def next(self, spend: Spend) -> Batch | None:
        """The next transaction, unless one is under way or nothing waits: everything up to the first transition."""
        if self.writing or not self._waiting:
            return None
        count = next((i + 1 for i, d in enumerate(self._waiting) if d.transition is not None), len(self._waiting))
        self.writing, self._waiting = self._waiting[:count], self._waiting[count:]
        drafts, last = self.writing, self.writing[-1]
        return Batch(
            spend=spend,
            candidates=[write for draft in drafts for write in draft.candidates],
            events=[event for draft in drafts for event in draft.events],
            transition=last.transition,
            best_number=next((d.best_number for d in reversed(drafts) if d.best_number is not None), None),
            told=next((d.told for d in reversed(drafts) if d.told is not None), None),
            idle_in=last.idle_in,
            look_again_at=last.look_again_at,
        )

    def written(self) -> list[Draft]:
        """The batch is durable: its drafts."""
        drafts, self.writing = self.writing, []
        return drafts
