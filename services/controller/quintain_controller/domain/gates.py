"""What a candidate must show before it is promoted, and the arithmetic of honest improvement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quintain.statistics import FEWEST_PAIRS, paired_bootstrap
from quintain_controller.domain.events import DomainEvent, HeldOutScored, Overfitting
from quintain_controller.domain.model import Candidate, Gate, PartScore, SearchContext, VerdictStatus, Verification

# A gap beyond this share of the train improvement is said out loud even if held-out improved a little.
_TOLERATED_GAP_SHARE = 0.5
_TOLERATED_GAP = 0.02


@dataclass(frozen=True, slots=True)
class Gap:
    """Improvement over the seed on train and on held-out scenarios, normalised."""

    train: float
    held_out: float

    @property
    def gap(self) -> float:
        return self.train - self.held_out

    def overfitting(self) -> str:
        """What is wrong, or empty."""
        if self.train <= 0.0:
            return ""
        if self.held_out <= 0.0:
            return f"train improved by {self.train:+.4f}, held-out did not ({self.held_out:+.4f})"
        if self.gap > _TOLERATED_GAP and self.gap > _TOLERATED_GAP_SHARE * self.train:
            return f"train improved by {self.train:+.4f}, held-out only by {self.held_out:+.4f}"
        return ""


def gap(candidate: Candidate, reference: Candidate) -> Gap | None:
    """None unless both have train and held-out scores."""
    if not (candidate.train and candidate.held_out and reference.train and reference.held_out):
        return None
    return Gap(
        candidate.train.normalized - reference.train.normalized,
        candidate.held_out.normalized - reference.held_out.normalized,
    )


def held_out_events(candidate: Candidate, reference: Candidate) -> list[DomainEvent]:
    """What is to be said of a new held-out score."""
    found = gap(candidate, reference)
    if found is None or candidate.train is None or candidate.held_out is None:
        return []
    own, held_out = candidate.train, candidate.held_out
    events: list[DomainEvent] = [
        HeldOutScored(
            candidate.number,
            own.normalized,
            held_out.normalized,
            found.gap,
            held_out.score,
            held_out.baseline_score,
        )
    ]
    if problem := found.overfitting():
        events.append(Overfitting(candidate.number, found.gap, problem))
    return events


def held_out_gate(candidate: Candidate, reference: Candidate, context: SearchContext) -> Gate:
    if not context.held_out:
        return Gate(
            "held_out", True, "the suite has no held-out scenarios: nothing says it generalises", candidate.number
        )
    if candidate.held_out is None or reference.held_out is None:
        return Gate("held_out", False, "there is no held-out score", candidate.number)
    own, other = candidate.held_out, reference.held_out
    baseline = context.greater_is_better(own.baseline_score)
    lost = {name: of for name, of in own.sections.items() if of.normalized < of.baseline_normalized}
    passed = own.normalized >= other.normalized and context.greater_is_better(own.score) >= baseline and not lost
    detail = (
        f"held-out score {own.score:.6g}, baseline {own.baseline_score:.6g}; "
        f"normalised {own.normalized:.4f}, seed {other.normalized:.4f}"
    )
    for name, of in lost.items():
        detail += f"; {name} by itself {of.normalized:.4f}, baseline {of.baseline_normalized:.4f}"
    return Gate("held_out", passed, detail, candidate.number)


def bootstrap_gate(candidate: Candidate, reference: Candidate, seed: int) -> Gate:
    """On the held-out scenarios, which did not choose the candidate; on train where there are fewer than two."""
    part, own, other = "held-out", candidate.held_out, reference.held_out
    if own is None or other is None or len(own.values) < 2:
        part, own, other = "train", candidate.train, reference.train
    differences = paired_differences(own, other) if own and other else []
    if not differences:
        return Gate("bootstrap", False, "no scenario has a value for both the candidate and the seed", candidate.number)
    interval = paired_bootstrap(differences, seed)
    detail = f"improvement over the seed {interval} over {interval.count} {part} scenarios"
    if interval.count < FEWEST_PAIRS:
        detail += ": too few for an interval, so every one must improve"
    return Gate("bootstrap", interval.low > 0.0, detail, candidate.number)


def earlier_bests_gate(candidate: Candidate, bests: Sequence[Candidate], seed: int) -> Gate:
    """It must not be clearly worse on held-out than the best of the other candidates that once were the search's best.
    Only the seed must be beaten: what held-out scores choose they can no longer judge, so here they only say no."""
    name, own = "earlier_bests", candidate.held_out
    others = {b.number: b.held_out for b in bests if b.plan is not None and b.number != candidate.number and b.held_out}
    if own is None or not others:
        return Gate(name, True, "no other best has a held-out score", candidate.number)
    number, other = max(others.items(), key=lambda item: (item[1].normalized, -item[0]))
    differences = paired_differences(own, other)
    if not differences:
        return Gate(name, True, f"no held-out scenario has a value for candidate {number} too", candidate.number)
    interval = paired_bootstrap(differences, seed)
    detail = (
        f"against candidate {number}, the best of {len(others)} bests on held-out: {interval} over {interval.count} "
        "held-out scenarios"
    )
    return Gate(name, interval.high >= 0.0, detail, candidate.number)


def paired_differences(own: PartScore, other: PartScore) -> list[float]:
    """Normalised value minus the other's, scenario by scenario."""
    return [value - other.values[name] for name, value in own.values.items() if name in other.values]


def determinism_gate(candidate: Candidate, again: Verification) -> Gate:
    recorded = candidate.train.score if candidate.train else None
    repeated = again.train.score if again.train else None
    if again.status is not VerdictStatus.OK:
        return Gate("determinism", False, f"{again.status.name}: {again.failure}", candidate.number)
    if not again.determinism_checked:
        return Gate("determinism", False, "the verifier did not check determinism", candidate.number)
    same = repeated is not None and recorded == repeated
    if same:
        detail = f"decided the same twice; train score {repeated:g}"
    else:  # to the last digit: that may be all that differs
        detail = f"decided the same twice; train score {repeated!r}, recorded was {recorded!r}"
    return Gate("determinism", same, detail, candidate.number)


def confirmation_gate(candidate: Candidate, confirmed: Verification) -> Gate:
    passed = confirmed.status is VerdictStatus.OK and confirmed.confirmed
    detail = (
        "decided the same in the most literal calling mode"
        if passed
        else (f"{confirmed.status.name}: {confirmed.failure or 'not confirmed in the most literal calling mode'}")
    )
    return Gate("confirmation", passed, detail, candidate.number)
