"""Rules that end a search before its budget is used up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.controller.toy import CONTEXT, Toy, make_spec, verdict

from quintain_controller.domain.model import (
    Aggregation,
    Budget,
    Candidate,
    CandidateState,
    Direction,
    PartScore,
    StopRules,
    VerdictStatus,
)
from quintain_controller.domain.planner import Asked, Done, Told
from quintain_controller.domain.stop import StopWatch
from quintain_controller.usecases.strategies import make_planner

BUDGET = Budget(candidates=200)


def searched(rules: StopRules, order: int = 1) -> tuple[list[Candidate], str, int | None]:
    """Candidates, the reason of the end, and the best; work ends `order` candidates late."""
    spec = replace(make_spec("evolve", budget=BUDGET), stop=rules)
    planner, toy = make_planner(spec, CONTEXT), Toy()
    made, waiting = planner.begin(), []
    waiting += made
    while True:
        match planner.next(BUDGET):
            case Asked(candidate):
                made.append(candidate)
                waiting.append(candidate)
            case Done(reason):
                return made, reason, planner.best.number if planner.best else None
            case Told():
                pass
            case _:
                done = waiting.pop(min(order, len(waiting)) - 1)
                made[done.number] = toy.settle(done)
                planner.record(made[done.number])


def test_a_search_ends_as_soon_as_its_best_is_near_enough_to_the_bound_whatever_ends_first() -> None:
    made, reason, best = searched(StopRules(near_bound=0.9))
    assert reason.startswith("stopped: 9")
    assert "of the bound is reached, 90.000000% was asked for" in reason
    assert best is not None
    assert made[best].train is not None
    assert made[best].train.score >= 0.9
    assert len(made) <= best + 1 + 4  # those that were under way
    assert [searched(StopRules(near_bound=0.9), order) for order in (2, 3, 4)] == 3 * [(made, reason, best)]


def test_a_search_ends_at_a_score() -> None:
    made, reason, best = searched(StopRules(score=0.85))
    assert best is not None
    assert reason.startswith("stopped: score 0.8")
    assert max(c.train.score for c in made[:best] if c.train and c.status is VerdictStatus.OK) < 0.85


def test_a_search_ends_on_a_plateau() -> None:
    made, reason, best = searched(StopRules(candidates_without_improvement=15))
    assert reason == "stopped: 15 candidates in a row were not better than the best"
    assert best is not None
    assert best + 15 < len(made) <= best + 15 + 1 + 4


def test_without_rules_the_budget_ends_it() -> None:
    assert searched(StopRules())[1].startswith("budget used up")


def test_a_suite_without_a_bound_ends_at_once_instead_of_never() -> None:
    watch = StopWatch(StopRules(near_bound=0.9), CONTEXT)
    assert watch.reason is None
    seed = verdict(Candidate(0, CandidateState.GENERATED, None), 0.5)
    assert seed.train is not None
    watch.tell(replace(seed, train=replace(seed.train, bound_score=None)), True)
    assert watch.reason == "stopped: it was to end near the bound, but the suite has no provable bound"


@pytest.mark.parametrize(
    ("direction", "score", "bound", "rules", "ends"),
    [
        (Direction.MINIMIZE, 10.0, 9.5, StopRules(near_bound=0.94), True),
        (Direction.MINIMIZE, 10.0, 9.5, StopRules(near_bound=0.96), False),
        (Direction.MINIMIZE, 10.0, 9.5, StopRules(score=10.0), True),
        (Direction.MINIMIZE, 10.0, 9.5, StopRules(score=9.9), False),
        (Direction.MAXIMIZE, 9.5, 10.0, StopRules(near_bound=0.94), True),
        (Direction.MAXIMIZE, 9.5, 10.0, StopRules(score=9.6), False),
        (Direction.MINIMIZE, 0.0, 0.0, StopRules(near_bound=1.0), False),
    ],
)
def test_smaller_may_be_better(direction: Direction, score: float, bound: float, rules: StopRules, ends: bool) -> None:
    watch = StopWatch(rules, replace(CONTEXT, direction=direction, aggregation=Aggregation.MEDIAN_VALUE))
    train = PartScore(score, 20.0, bound, 0.5, {})
    watch.tell(Candidate(0, CandidateState.VERIFIED, None, train=train), True)
    assert (watch.reason is not None) is ends
