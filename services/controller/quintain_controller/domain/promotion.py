"""Promotion of a winner: walk down the ranking until a candidate passes every gate.

A generator without I/O: it yields what it needs (`LoadCandidates`, `GateCheck`), is sent the answer, and returns the
`Promotion`. Whoever drives it does the work: the search's machine, or a replay.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from quintain.statistics import paired_bootstrap
from quintain_controller.domain.crossval import trusted_best
from quintain_controller.domain.events import BetterOnHeldOut, DomainEvent, GateDecided, Promoted
from quintain_controller.domain.gates import (
    bootstrap_gate,
    confirmation_gate,
    determinism_gate,
    earlier_bests_gate,
    held_out_gate,
    paired_differences,
)
from quintain_controller.domain.model import (
    HELD_OUT,
    TRAIN,
    Budget,
    Candidate,
    Gate,
    SearchContext,
    SearchSpec,
    SearchState,
    VerdictStatus,
    Verification,
    WinnerRule,
)
from quintain_controller.domain.records import CandidateWrite, Transition

# A ranking whose first so many fail is one of overfitters; the rest of them is not tried.
MOST_TRIES = 20
_PAGE = 50
_COMPARES_BESTS = 2  # the rules since which a candidate is compared with the other bests, not with the seed alone


@dataclass(frozen=True, slots=True)
class LoadCandidates:
    """Needs the candidates with these numbers: is sent a mapping of all of them."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GateCheck:
    """Needs a verification of a candidate on `parts`: is sent it. It is the `tried`-th that the gates look at."""

    gate: str
    number: int
    tried: int
    parts: tuple[str, ...]
    check_determinism: bool = False
    confirm: bool = False


Needed = LoadCandidates | GateCheck
GateAnswer = Mapping[int, Candidate] | Verification | None
T = TypeVar("T")
Steps = Generator[Needed, GateAnswer, T]


@dataclass(slots=True)
class Promotion:
    """What came of it: the winner if there is one, what every gate said, and held-out scores that were missing."""

    winner: Candidate | None = None
    gates: tuple[Gate, ...] = ()
    writes: list[CandidateWrite] = field(default_factory=list)

    def transition(self, reason: str, budget: Budget, bests: Sequence[Candidate]) -> Transition:
        """What ends the search, for the given reason, if the budget is still this one. `bests`: those with held-out
        scores. These have no say in the choice; that one of them is better than the winner is said."""
        events: list[DomainEvent] = [GateDecided(gate) for gate in self.gates]
        if self.winner is not None:
            events.append(Promoted(self.winner))
            if (better := _better_on_held_out(self.winner, bests)) is not None:
                events.append(better)
                reason += (
                    f"; candidate {better.number} is better on held-out ({better.normalized:.4f}) than the winner, "
                    f"candidate {better.winner_number} ({better.winner_normalized:.4f})"
                )
        return Transition(
            SearchState.FINISHED,
            reason,
            events=events,
            within=budget,
            winner_number=self.winner.number if self.winner else None,
            gates=self.gates,
        )


def promote(
    spec: SearchSpec,
    context: SearchContext,
    ranking: Sequence[int],
    reference: Candidate,
    bests: Sequence[Candidate],
) -> Steps[Promotion]:
    """`ranking`: candidates with a finished train verdict that were not seeds, best first; `reference`: candidate 0
    with its held-out score; `bests`: those that were the best once and have a held-out score."""
    promotion = Promotion()
    tried: set[str] = set()
    for start in range(0, len(ranking), _PAGE):
        page: Sequence[int] = ranking[start : start + _PAGE]
        known = yield LoadCandidates(tuple(page))
        assert isinstance(known, Mapping), "LoadCandidates is answered with candidates"
        if start == 0 and spec.winner_rule is WinnerRule.EARLIEST_EQUAL:
            page = _equals_first(page, known, reference, spec, context)
        elif start == 0 and spec.winner_rule is WinnerRule.CROSS_VALIDATED:
            page = _trusted_first(page, known, reference, context)
        for number in page:
            candidate = known[number]
            if not _better(candidate, reference, context) or len(tried) >= MOST_TRIES:
                return promotion
            if candidate.behavior in tried:
                continue
            tried.add(candidate.behavior)
            if (yield from _passes(candidate, reference, bests, spec, context, promotion, len(tried))):
                return promotion
    return promotion


def _equals_first(
    page: Sequence[int],
    known: Mapping[int, Candidate],
    reference: Candidate,
    spec: SearchSpec,
    context: SearchContext,
) -> Sequence[int]:
    """Those that train cannot tell from the best, the earliest first; then the rest, the best first."""
    best = known[page[0]].train

    def equal(number: int) -> bool:
        own = known[number].train
        if best is None or own is None or not _better(known[number], reference, context):
            return False
        return paired_bootstrap(paired_differences(best, own), spec.seed).low <= 0.0

    equals = {page[0], *(number for number in page if equal(number))}
    return [*sorted(equals), *(number for number in page if number not in equals)]


def _trusted_first(
    page: Sequence[int], known: Mapping[int, Candidate], reference: Candidate, context: SearchContext
) -> Sequence[int]:
    """The one whose lead carries over to kinds of scenarios that had no say; then the rest, the best first."""
    better = [number for number in page if _better(known[number], reference, context)]
    values = {number: train.values for number in better if (train := known[number].train) is not None}
    trusted = trusted_best(values)
    return page if trusted is None else [trusted, *(number for number in page if number != trusted)]


def _passes(
    candidate: Candidate,
    reference: Candidate,
    bests: Sequence[Candidate],
    spec: SearchSpec,
    context: SearchContext,
    promotion: Promotion,
    tried: int,
) -> Steps[bool]:
    """Ask the gates one after the other; the first that says no ends it."""

    every_part = (TRAIN, HELD_OUT) if context.held_out else (TRAIN,)

    def decided(gate: Gate) -> bool:
        promotion.gates += (gate,)
        return gate.passed

    def verify(
        gate: str, *, parts: tuple[str, ...] = every_part, check_determinism: bool = False, confirm: bool = False
    ) -> Steps[Verification]:
        found = yield GateCheck(gate, candidate.number, tried, parts, check_determinism, confirm)
        assert isinstance(found, Verification), "GateCheck is answered with a verification"
        return found

    if candidate.held_out is None and context.held_out:
        scored = yield from verify("held_out", parts=(HELD_OUT,))
        candidate = replace(candidate, held_out=scored.held_out)
        promotion.writes.append(CandidateWrite(candidate, held_out=scored.record))
    if not decided(held_out_gate(candidate, reference, context)):
        return False
    if not decided(bootstrap_gate(candidate, reference, spec.seed)):
        return False
    if context.rules >= _COMPARES_BESTS and not decided(earlier_bests_gate(candidate, bests, spec.seed)):
        return False
    # Both in one verification; only where it fails is it asked which of them says no.
    again = yield from verify("determinism", check_determinism=True, confirm=True)
    confirmed: Verification | None = again
    if again.status is not VerdictStatus.OK:
        again, confirmed = (yield from verify("determinism", check_determinism=True)), None
    if not decided(determinism_gate(candidate, again)):
        return False
    confirmed = confirmed or (yield from verify("confirmation", confirm=True))
    if not decided(confirmation_gate(candidate, confirmed)):
        return False
    promotion.winner = candidate
    return True


def _better_on_held_out(winner: Candidate, bests: Sequence[Candidate]) -> BetterOnHeldOut | None:
    others = {b.number: b.held_out.normalized for b in bests if b.held_out is not None and b.number != winner.number}
    if winner.held_out is None or not others:
        return None
    number = max(others, key=lambda n: (others[n], -n))
    own = winner.held_out.normalized
    return BetterOnHeldOut(winner.number, own, number, others[number]) if others[number] > own else None


def _better(candidate: Candidate, reference: Candidate, context: SearchContext) -> bool:
    if reference.train is None or candidate.train is None:
        return candidate.train is not None
    return context.greater_is_better(candidate.train.score) > context.greater_is_better(reference.train.score)
