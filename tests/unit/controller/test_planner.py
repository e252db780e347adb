"""Candidates are a function of the results, not of the order work ends in, nor of where it was interrupted."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.controller.toy import CONTEXT, Toy, make_spec

from quintain_controller.domain.model import NANO, Budget, Candidate, CandidateState, Plan, SearchSpec
from quintain_controller.domain.planner import CHAPTER, Asked, Done, NotReproduced, Planner, Told, Waiting
from quintain_controller.usecases.strategies import make_planner

STRATEGIES = ["chain", "best-of-n", "evolve", "tree"]


class Run:
    """A search in memory. `stored` is what a database would hold."""

    def __init__(self, spec: SearchSpec) -> None:
        self.spec = spec
        self.toy = Toy()
        self.stored: dict[int, Candidate] = {}
        self.told = 0
        self.planner = make_planner(spec, CONTEXT)
        for seed in self.planner.begin():
            self.stored[seed.number] = seed
        self.done = ""

    def crash(self) -> None:
        """Forget everything but what is stored."""
        self.planner = make_planner(self.spec, CONTEXT)
        self.planner.restore(self.stored[number] for number in sorted(self.stored))
        self.planner.tell_up_to(self.told)

    def plan(self) -> None:
        while True:
            step = self.planner.next(self.spec.budget)
            if isinstance(step, Asked):
                self.stored[step.candidate.number] = step.candidate
            elif isinstance(step, Told):
                self.told = self.planner.told
            else:
                self.done = step.reason if isinstance(step, Done) else ""
                return

    def open(self) -> list[int]:
        return [number for number, candidate in self.stored.items() if not candidate.state.settled]

    def settle(self, number: int) -> None:
        self.stored[number] = self.toy.settle(self.stored[number])
        self.planner.record(self.stored[number])


def in_order(spec: SearchSpec) -> dict[int, Candidate]:
    run = Run(spec)
    run.plan()
    while not run.done:
        run.settle(min(run.open()))
        run.plan()
    return run.stored


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_any_order_and_any_crash_give_the_same_candidates(strategy: str, seed: int) -> None:
    chance = random.Random(seed)
    spec = make_spec(strategy, budget=Budget(candidates=25, usd_nano=NANO))
    run = Run(spec)
    run.plan()
    while not run.done:
        if chance.random() < 0.2:
            run.crash()
        if run.open():
            run.settle(chance.choice(sorted(run.open())))
        if chance.random() < 0.5:
            run.plan()
    assert run.stored == in_order(spec)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_request_depends_only_on_results_outside_its_window(strategy: str) -> None:
    window = 1 if strategy == "chain" else 4
    for candidate in in_order(make_spec(strategy)).values():
        if candidate.plan is None:
            continue
        assert candidate.plan.after >= max(1, candidate.number - window + 1)
        assert all(n < candidate.plan.after for n in (*candidate.plan.parents, *candidate.plan.inspirations))


def test_a_budget_stops_at_the_same_candidate_in_any_order() -> None:
    spec = make_spec("evolve", budget=Budget(usd_nano=400_000_000))
    stored = in_order(spec)
    run = Run(spec)
    run.plan()
    while not run.done:
        run.settle(max(run.open()))  # the latest first: the oldest reservation stays longest
        run.plan()
    assert run.stored == stored
    assert run.done.startswith("budget used up: usd")
    spend = run.planner.ledger.spend()
    assert 350_000_000 < spend.usd_nano <= 400_000_000
    assert spend.reserved_usd_nano == 0


def test_a_raised_budget_goes_on_from_where_it_stopped_and_is_restored_so() -> None:
    run = Run(make_spec("evolve", budget=Budget(candidates=10)))
    run.plan()
    while not run.done:
        run.settle(min(run.open()))
        run.plan()
    run.spec = replace(run.spec, budget=Budget(candidates=20))
    run.done = ""
    run.plan()
    while not run.done:
        run.settle(min(run.open()))
        run.plan()
    assert len(run.stored) == 21
    # The planner is made of the spec that the search was created with, whatever budget is in force now.
    again = make_planner(replace(run.spec, budget=Budget(candidates=10)), CONTEXT)
    again.restore(run.stored[number] for number in sorted(run.stored))
    again.tell_up_to(run.told)
    assert again.best == run.planner.best
    assert again.rank() == run.planner.rank()


def test_a_plan_that_the_strategy_does_not_repeat_is_noticed() -> None:
    stored = in_order(make_spec("evolve"))
    plan = stored[9].plan
    assert plan is not None
    stored[9] = replace(stored[9], plan=replace(plan, parents=(plan.parents[0] + 1,)))
    with pytest.raises(NotReproduced, match="candidate 9"):
        make_planner(make_spec("evolve"), CONTEXT).restore(stored[number] for number in sorted(stored))


def test_the_history_is_bounded_and_keeps_those_who_improved() -> None:
    stored = in_order(make_spec("evolve", budget=Budget(candidates=150)))
    last = stored[150].plan
    assert last is not None
    assert 40 <= len(last.history) <= 40 + CHAPTER + 20
    assert 0 in last.history  # the seed was the first best


def test_a_closed_chapter_of_the_history_stays_until_a_whole_one_is_left_out() -> None:
    stored = in_order(make_spec("evolve", budget=Budget(candidates=200)))
    plans = [plan for n in range(1, 201) if (plan := stored[n].plan)]

    def closed(plan: Plan) -> dict[int, list[int]]:
        chapters: dict[int, list[int]] = {}
        for number in plan.history:
            chapters.setdefault(number // CHAPTER, []).append(number)
        chapters.pop(max(chapters))
        return chapters

    changes = sum(
        before[chapter] != after.get(chapter)
        for before, after in ((closed(a), closed(b)) for a, b in itertools.pairwise(plans))
        for chapter in before
    )
    assert changes <= 200 // CHAPTER, "a chapter changes once: when all but its new bests are left out"
    assert [n for n in plans[-1].history if n >= 5 * CHAPTER] == list(range(5 * CHAPTER, plans[-1].after))


def test_waiting_is_not_done() -> None:
    planner: Planner = make_planner(make_spec("evolve"), CONTEXT)
    seeds = planner.begin()
    assert isinstance(planner.next(Budget(candidates=1)), Waiting)
    assert [seed.state for seed in seeds] == [CandidateState.GENERATED]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategies_improve_on_the_seed(strategy: str) -> None:
    stored = in_order(make_spec(strategy, budget=Budget(candidates=60)))
    scores = [c.train.score for c in stored.values() if c.train and c.status == 1]
    assert max(scores) > scores[0] + 0.15
