"""Who comes before the gates, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.controller.machine import verification
from tests.unit.controller.toy import CONTEXT, make_spec

from quintain_controller.domain.model import Candidate, CandidateState, PartScore, VerdictStatus, WinnerRule
from quintain_controller.domain.promotion import GateCheck, LoadCandidates, promote

SCENARIOS = tuple(f"s{index}" for index in range(12))


def candidate(number: int, values: list[float]) -> Candidate:
    mean = sum(values) / len(values)
    train = PartScore(mean, 0.1, 1.0, mean, dict(zip(SCENARIOS, values, strict=True)))
    return Candidate(
        number, CandidateState.VERIFIED, None, status=VerdictStatus.OK, train=train, behavior=f"behaviour {number}"
    )


REFERENCE = candidate(0, [0.2] * 12)
CANDIDATES = {
    1: candidate(1, [0.3] * 12),  # better than the seed, clearly worse than the best
    2: candidate(2, [0.62, 0.58] * 6),  # as good as the best, as far as twelve scenarios can tell
    3: candidate(3, [0.58, 0.64] * 6),  # the best
    4: candidate(4, [0.2] * 12),  # no better than the seed
}


def looked_at(rule: WinnerRule, candidates: dict[int, Candidate] = CANDIDATES) -> list[int]:
    """The candidates in the order in which the gates look at them; every one fails its determinism gate."""
    spec = replace(make_spec("evolve"), winner_rule=rule)
    ranking = sorted(candidates, key=lambda n: -candidates[n].train.score)  # type: ignore[union-attr]
    steps = promote(spec, CONTEXT, ranking, REFERENCE, [])
    found: list[int] = []
    answer = None
    while True:
        try:
            needed = steps.send(answer)  # type: ignore[arg-type]
        except StopIteration:
            return found
        if isinstance(needed, LoadCandidates):
            answer = {number: candidates[number] for number in needed.numbers}  # type: ignore[assignment]
        else:
            assert isinstance(needed, GateCheck)
            if needed.confirm:  # the first of two: both gates in one
                found.append(needed.number)
            failed = verification(needed.number, status=VerdictStatus.NONDETERMINISTIC)
            answer = failed  # type: ignore[assignment]


def test_cross_validation_looks_first_at_the_one_whose_lead_carries_over() -> None:
    steady, lucky = candidate(1, [0.5] * 12), candidate(2, [1.0] + [0.46] * 11)  # on each scenario, and on one
    for rule, order in ((WinnerRule.BEST_TRAIN, [2, 1]), (WinnerRule.CROSS_VALIDATED, [1, 2])):
        assert looked_at(rule, {1: steady, 2: lucky, 3: CANDIDATES[4]}) == order  # 3 is no better than the seed


@pytest.mark.parametrize(
    ("rule", "order"), [(WinnerRule.BEST_TRAIN, [3, 2, 1]), (WinnerRule.EARLIEST_EQUAL, [2, 3, 1])]
)
def test_the_rule_orders_the_candidates_by_train_alone(rule: WinnerRule, order: list[int]) -> None:
    assert looked_at(rule) == order


@pytest.mark.parametrize(
    ("refused_by", "asked"),
    [("determinism", ["both", "determinism"]), ("confirmation", ["both", "determinism", "confirmation"])],
)
def test_where_determinism_and_confirmation_fail_together_each_is_asked_alone(
    refused_by: str, asked: list[str]
) -> None:
    """So that the gate that says no is the one that is named."""
    steps = promote(make_spec("evolve"), CONTEXT, [1], REFERENCE, [])
    next(steps)
    needed = steps.send({1: CANDIDATES[1]})
    found: list[str] = []
    try:
        while True:
            assert isinstance(needed, GateCheck)
            found.append("both" if needed.check_determinism and needed.confirm else needed.gate)
            fails = found[-1] in ("both", refused_by)
            own = replace(verification(1), train=CANDIDATES[1].train)
            needed = steps.send(replace(own, status=VerdictStatus.NONDETERMINISTIC) if fails else own)
    except StopIteration as end:
        promotion = end.value
    assert found == asked
    assert (promotion.gates[-1].name, promotion.gates[-1].passed) == (refused_by, False)
    assert promotion.winner is None


@pytest.mark.parametrize(("better", "asked"), [(False, ["held_out"]), (True, ["held_out", "both"])])
def test_a_missing_held_out_score_is_made_alone_before_anything_is_run_twice(better: bool, asked: list[str]) -> None:
    """Most candidates that reach the gates without one fail by it."""
    context = replace(CONTEXT, held_out=("h1", "h2"))
    reference = replace(REFERENCE, held_out=verification(0, x=0.5).held_out)
    steps = promote(make_spec("evolve"), context, [1], reference, [])
    next(steps)
    needed = steps.send({1: CANDIDATES[1]})
    found, parts = [], []
    try:
        while True:
            assert isinstance(needed, GateCheck)
            found.append("both" if needed.check_determinism and needed.confirm else needed.gate)
            parts.append(needed.parts)
            answer = replace(verification(1, x=0.9 if better else 0.3), train=CANDIDATES[1].train)
            needed = steps.send(answer)
    except StopIteration as end:
        promotion = end.value
    assert found == asked
    assert parts == [("held_out",), ("train", "held_out")][: len(asked)]
    assert (promotion.winner is not None) is better
    assert [write.candidate.held_out for write in promotion.writes] == [
        verification(1, x=0.9 if better else 0.3).held_out
    ]
