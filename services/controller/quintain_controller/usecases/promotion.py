"""Promotion of a winner: walk down the ranking until a candidate passes every gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from quintain_controller.domain.events import DomainEvent, GateDecided, Promoted
from quintain_controller.domain.gates import (
    bootstrap_gate,
    confirmation_gate,
    determinism_gate,
    held_out_gate,
)
from quintain_controller.domain.model import Budget, Candidate, Gate, SearchState, Verification
from quintain_controller.domain.records import CandidateWrite, SearchRecord, Transition
from quintain_controller.usecases.async_store import AsyncStore
from quintain_controller.usecases.journal import Entry

# A ranking whose first so many fail is one of overfitters; the rest of them is not tried.
_MOST_TRIES = 20
_PAGE = 50


class Verify(Protocol):
    async def __call__(
        self, number: int, *, check_determinism: bool = False, confirm: bool = False
    ) -> Verification | None:
        """Verify a candidate on all parts; None if the search is stopped."""


@dataclass(slots=True)
class Promotion:
    winner: Candidate | None = None
    gates: tuple[Gate, ...] = ()
    writes: list[CandidateWrite] = field(default_factory=list)

    def entry(self, reason: str, budget: Budget) -> Entry:
        """What ends the search, for the given reason, if the budget is still this one."""
        events: list[DomainEvent] = [GateDecided(gate) for gate in self.gates]
        if self.winner is not None:
            events.append(Promoted(self.winner))
        finished = Transition(
            SearchState.FINISHED,
            reason,
            events=events,
            within=budget,
            winner_number=self.winner.number if self.winner else None,
            gates=self.gates,
        )
        return Entry(self.writes, transition=finished, idle_in=SearchState.FINISHED)


async def promote(
    store: AsyncStore, record: SearchRecord, ranking: Sequence[int], reference: Candidate, verify: Verify
) -> Promotion | None:
    """`reference` is candidate 0 with its held-out score. None if the search was stopped meanwhile."""
    promotion = Promotion()
    tried: set[str] = set()
    for start in range(0, len(ranking), _PAGE):
        numbers = ranking[start : start + _PAGE]
        page = await store(store.blocking.candidates, record.search_id, numbers)
        for number in numbers:
            candidate = page[number]
            if not _better(candidate, reference, record) or len(tried) >= _MOST_TRIES:
                return promotion
            if candidate.behavior in tried:
                continue
            tried.add(candidate.behavior)
            passed = await _try(candidate, reference, record, verify, promotion)
            if passed is None:
                return None
            if passed:
                return promotion
    return promotion


async def _try(
    candidate: Candidate, reference: Candidate, record: SearchRecord, verify: Verify, promotion: Promotion
) -> bool | None:
    """Ask the gates one after the other; the first that says no ends it."""

    def decided(gate: Gate) -> bool:
        promotion.gates += (gate,)
        return gate.passed

    again: Verification | None = None
    if candidate.held_out is None and record.context.held_out:
        again = await verify(candidate.number, check_determinism=True)
        if again is None:
            return None
        candidate = replace(candidate, held_out=again.held_out)
        promotion.writes.append(CandidateWrite(candidate, held_out=again.record))
    if not decided(held_out_gate(candidate, reference, record.context)):
        return False
    if not decided(bootstrap_gate(candidate, reference, record.spec.seed)):
        return False
    again = again or await verify(candidate.number, check_determinism=True)
    if again is None:
        return None
    if not decided(determinism_gate(candidate, again)):
        return False
    confirmed = await verify(candidate.number, confirm=True)
    if confirmed is None:
        return None
    if not decided(confirmation_gate(candidate, confirmed)):
        return False
    promotion.winner = candidate
    return True


def _better(candidate: Candidate, reference: Candidate, record: SearchRecord) -> bool:
    if reference.train is None or candidate.train is None:
        return candidate.train is not None
    turned = record.context.greater_is_better
    return turned(candidate.train.score) > turned(reference.train.score)
