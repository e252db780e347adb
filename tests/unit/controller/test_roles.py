"""Several backends in one search: what each is for, who is asked when, and what becomes of the money."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.controller.toy import CONTEXT, Toy, make_spec

from quintain.plugins.strategy import RULES, Ask, BackendInfo, Operator, Problem, Result, Role
from quintain_controller.domain.model import NANO, BackendProfile, Budget, Candidate, SearchContext, SearchSpec
from quintain_controller.domain.planner import Asked, Done
from quintain_controller.domain.planner import Told as ResultTold
from quintain_controller.domain.roles import assign
from quintain_controller.domain.strategies.cast import Cast
from quintain_controller.domain.strategies.evolve import Evolve, EvolveOptions
from quintain_controller.usecases.strategies import make_planner

ALL = tuple(Operator)
MAIN, STRONG, SWEEP = "gpt-mini", "gpt", "offline"
PROFILES = (
    BackendProfile(MAIN, ("full", "diff", "crossover", "repair"), True, 10_000_000),
    BackendProfile(STRONG, ("full", "diff"), True, 100_000_000),
    BackendProfile(SWEEP, ("full", "diff", "crossover", "repair"), True, 0),
)
SPEC = make_spec("evolve")


def roles(*backends: BackendProfile, **wanted: str) -> dict[str, str]:
    return {b.name: b.role for b in assign(backends, {k.replace("_", "-"): v for k, v in wanted.items()}, SPEC)}


def test_roles_follow_the_price_unless_the_user_says_otherwise() -> None:
    assert roles(*PROFILES) == {MAIN: "main", STRONG: "strong", SWEEP: "sweep"}
    assert roles(*PROFILES, gpt="main") == {MAIN: "main", STRONG: "main", SWEEP: "sweep"}
    assert roles(PROFILES[0]) == {MAIN: "main"}
    assert roles(PROFILES[2], replace(PROFILES[2], name="other")) == {SWEEP: "main", "other": "main"}
    # what requests have really cost says more than what they may cost at most
    usual = replace(PROFILES[1], typical_cost_usd_nano=11_000_000)
    assert roles(PROFILES[0], usual) == {MAIN: "main", STRONG: "main"}


def test_a_search_in_which_nobody_writes_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody would write"):
        roles(PROFILES[2], offline="sweep")
    with pytest.raises(ValueError, match="'other' is no backend of this search"):
        roles(PROFILES[0], other="main")


# ------------------------------------------------------------------------------------------------- who is asked when

BACKENDS = (
    BackendInfo(MAIN, ALL, 0.01, Role.MAIN),
    BackendInfo(STRONG, ALL, 0.1, Role.STRONG),
    BackendInfo(SWEEP, ALL, 0.0, Role.SWEEP),
)


class Told:
    """Tells a cast results that come nearer to the bound by given shares."""

    def __init__(self, cast: Cast) -> None:
        self._cast, self._best = cast, 0.0

    def tell(self, number: int, gain: float, cost: float) -> None:
        score = self._best + gain * (1.0 - self._best)
        self._cast.tell(Result(number, (score if gain else 0.0,), cost_usd=cost), seed=False)
        self._best = score


def test_a_strong_backend_is_asked_rarely_and_only_when_the_others_gain_nothing() -> None:
    cast = Cast(BACKENDS, strong_after=4, sweep=0, explore=0)
    asked, told = [], Told(cast)
    for number in range(40):
        asked.append(cast.author(number).name)
        told.tell(number, 0.01 if number < 10 else 0.0, 0.01 if asked[-1] == MAIN else 0.1)
    assert asked[:13] == [MAIN] * 13
    assert 4 <= asked[13:].count(STRONG) <= 6


def test_a_strong_backend_that_returns_more_for_its_cost_is_asked_most_of_the_time() -> None:
    cast = Cast(BACKENDS, strong_after=4, sweep=0, explore=0)
    asked, told = [], Told(cast)
    for number in range(60):
        asked.append(cast.author(number).name)
        strong = asked[-1] == STRONG
        told.tell(number, 0.2 if strong else 0.0, 0.1 if strong else 0.01)
    assert asked[20:].count(STRONG) > 35


def test_of_two_main_backends_the_better_buy_is_asked() -> None:
    cast = Cast((BackendInfo("a", ALL, 0.01), BackendInfo("b", ALL, 0.02)), strong_after=4, sweep=0, explore=0)
    asked, told = [], Told(cast)
    for number in range(40):
        asked.append(cast.author(number).name)
        told.tell(number, 0.1 if asked[-1] == "b" else 0.01, 0.02 if asked[-1] == "b" else 0.01)
    assert set(asked[:2]) == {"a", "b"}
    assert asked[10:].count("b") > 25


def problem(*backends: BackendInfo, rules: int = RULES) -> Problem:
    return Problem(backends or BACKENDS, ("s1", "s2"), (), seeds=1, planned=100, rules=rules)


def scored(number: int, score: float, cost: float = 0.01) -> Result:
    return Result(number, (score, score), values=(score, score), behavior=f"b{number} {score}", cost_usd=cost)


def follow(strategy: Evolve, scores: dict[int, float], count: int, default: float = 0.3) -> list[Ask]:
    """Ask and tell one after the other, the first candidate being 1."""
    asks = []
    for number in range(1, count):
        asks.append(strategy.ask(number, number))
        strategy.tell(scored(number, scores.get(number, default)))
    return asks


def free_asks(scores: dict[int, float], count: int, own: float, default: float = 0.3) -> list[str]:
    """Who is asked for each candidate: "main", "sweep" or "own" for the free backend's own search, which reaches
    `own`."""
    strategy = Evolve(problem(BACKENDS[0], BACKENDS[2]), EvolveOptions(sweep=3, explore=1, repair=0.0))
    strategy.tell(scored(0, 0.1))
    names = []
    for number in range(1, count):
        ask = strategy.ask(number, number)
        names.append("main" if ask.backend == MAIN else "sweep" if ask.only_if_better else "own")
        strategy.tell(scored(number, own if names[-1] == "own" else scores.get(number, default)))
    return names


def test_the_constants_of_a_models_best_are_swept_while_that_promises_most() -> None:
    names = free_asks({2: 0.6, 3: 0.65, 4: 0.66}, 11, own=0.2)
    assert names == ["own", "main", "sweep", "sweep", "sweep", "own", "main", "sweep", "sweep", "sweep"]


def test_what_is_free_searches_by_itself_where_it_is_far_ahead_of_what_models_write() -> None:
    assert free_asks({2: 0.3}, 41, own=0.85)[1:] == (["main"] + ["own"] * 4) * 7 + ["main"] + ["own"] * 3


def test_sweeps_end_when_the_last_ones_brought_nothing() -> None:
    names = free_asks({2: 0.6}, 61, own=0.2)
    assert names[2:5] == ["sweep"] * 3
    assert names[40:] == ["own", "main", "own", "own", "own"] * 4


def test_a_new_idea_of_a_model_is_swept_again() -> None:
    names = free_asks({2: 0.6, 47: 0.9}, 61, own=0.2)
    assert names[46:50] == ["main", "sweep", "sweep", "sweep"]


def test_by_earlier_rules_a_new_best_is_swept_so_many_times_and_a_gain_is_swept_again() -> None:
    strategy = Evolve(problem(rules=2), EvolveOptions(sweep=3, explore=0))
    strategy.tell(scored(0, 0.1))  # a seed is not swept
    asks = follow(strategy, {1: 0.6, 3: 0.7}, 12)
    names = [ask.backend for ask in asks]
    # 1 is the model's, 2 and 3 sweep it; 3 is better, and is swept three times; then models again
    assert names[:7] == [MAIN, SWEEP, SWEEP, SWEEP, SWEEP, SWEEP, MAIN]
    assert [ask.parents for ask in asks[1:6]] == [(1,), (1,), (3,), (3,), (3,)]
    assert {ask.operator for ask in asks[1:6]} == {Operator.DIFF}
    assert names[7:].count(SWEEP) == 0


def test_sweeps_that_cost_something_come_after_a_new_best_only() -> None:
    dear = tuple(replace(b, max_cost_usd=0.001) if b.role is Role.SWEEP else b for b in BACKENDS)
    strategy = Evolve(problem(*dear), EvolveOptions(sweep=3, explore=0))
    strategy.tell(scored(0, 0.1))
    asks = follow(strategy, {1: 0.6, 3: 0.7, 8: 0.8}, 14)
    assert [n for n, ask in enumerate(asks, 1) if ask.only_if_better] == [2, 3, 4, 9, 10, 11]


def test_sweeps_that_do_not_help_leave_the_population_and_the_repairs_alone() -> None:
    strategy = Evolve(problem(), EvolveOptions(sweep=4, explore=0, population=4, repair=1.0, inspirations=5))
    strategy.tell(scored(0, 0.1))
    follow(strategy, {1: 0.6}, 5)
    asked = strategy.ask(5, 5)
    assert asked.backend == SWEEP
    strategy.tell(Result(5, None, failed=True))
    asked = strategy.ask(6, 6)
    assert (asked.backend, asked.operator is Operator.REPAIR) == (MAIN, False)
    assert {*asked.parents, *asked.inspirations} <= {0, 1}


def test_between_requests_that_cost_something_a_free_backend_goes_on_with_a_search_of_its_own() -> None:
    strategy = Evolve(problem(), EvolveOptions(sweep=0, explore=2, repair=0.0))
    strategy.tell(scored(0, 0.1))
    asks, own = [], set()
    for number in range(1, 40):
        asks.append(strategy.ask(number, number))
        if asks[-1].backend == SWEEP:
            own.add(number)
        strategy.tell(scored(number, 0.2 + number / 1000))
    assert [ask.backend for ask in asks[:9]] == [SWEEP, SWEEP, MAIN] * 3
    # it builds on what it made itself and the seed; what costs something sees it as an inspiration
    assert {p for ask in asks if ask.backend == SWEEP for p in ask.parents} <= own | {0}
    assert {p for ask in asks if ask.backend == SWEEP for p in ask.inspirations} <= own | {0}
    assert own & {p for ask in asks if ask.backend != SWEEP for p in ask.inspirations}


def test_changes_are_asked_for_from_the_first_good_parent_on_where_answers_cost_money() -> None:
    def operators(backend: BackendInfo, rules: int = RULES) -> set[Operator]:
        strategy = Evolve(problem(backend, rules=rules), EvolveOptions(repair=0.0))
        strategy.tell(scored(0, 0.1))
        return {ask.operator for ask in follow(strategy, {1: 0.5}, 6)}

    dear, free = BackendInfo("a", ALL, 0.05), BackendInfo("a", ALL, 0.0)
    assert operators(dear) == {Operator.FULL, Operator.DIFF}
    assert operators(free) == {Operator.FULL}
    assert operators(dear, rules=1) == {Operator.FULL}  # a search that began before


def test_a_request_that_costs_money_does_not_say_what_an_earlier_one_said() -> None:
    def repeated(rules: int) -> int:
        strategy = Evolve(problem(BackendInfo("a", ALL, 0.05), rules=rules), EvolveOptions(repair=0.0))
        for number in range(6):
            strategy.tell(scored(number, 0.1 + number / 100))
        asks = [strategy.ask(number, number) for number in range(6, 30)]  # all in flight together
        return len(asks) - len({(ask.operator, ask.parents, ask.inspirations) for ask in asks})

    assert repeated(1) > 3
    assert repeated(RULES) == 0


def test_a_request_that_costs_money_shows_no_two_policies_that_decide_the_same() -> None:
    def shown(backend: BackendInfo, rules: int) -> list[list[str]]:
        strategy, behaviors = Evolve(problem(backend, rules=rules), EvolveOptions(repair=0.0)), {}
        for number in range(12):
            result = replace(scored(number, 0.1 + number / 100), behavior=f"b{number % 4}")
            behaviors[number] = result.behavior
            strategy.tell(result)
        asks = [strategy.ask(number, number) for number in range(12, 24)]
        return [[behaviors[n] for n in dict.fromkeys((*ask.parents[:1], *ask.inspirations))] for ask in asks]

    dear = BackendInfo("a", ALL, 0.05)
    assert all(len(set(one)) == len(one) > 1 for one in shown(dear, RULES))
    assert any(len(set(one)) < len(one) for one in shown(dear, rules=2))


# --------------------------------------------------------------------------------------------------- whole searches


def mixed(**budget: int) -> tuple[SearchSpec, SearchContext]:
    spec = replace(make_spec("evolve", budget=Budget(**budget)), backends=(MAIN, STRONG, SWEEP))
    return spec, replace(CONTEXT, backends=assign(PROFILES, {}, spec), rules=RULES)


class Run:
    """A mixed search in memory; free backends' answers are free."""

    def __init__(self, spec: SearchSpec, context: SearchContext) -> None:
        self.spec, self.context, self.toy, self.told, self.done = spec, context, Toy(), 0, ""
        self.planner = make_planner(spec, context)
        self.stored: dict[int, Candidate] = {c.number: c for c in self.planner.begin()}

    def crash(self) -> None:
        self.planner = make_planner(self.spec, self.context)
        self.planner.restore(self.stored[number] for number in sorted(self.stored))
        self.planner.tell_up_to(self.told)

    def plan(self) -> None:
        while isinstance(step := self.planner.next(self.spec.budget), Asked | ResultTold):
            if isinstance(step, Asked):
                self.stored[step.candidate.number] = step.candidate
            self.told = self.planner.told
        self.done = step.reason if isinstance(step, Done) else ""

    def open(self) -> list[int]:
        return sorted(number for number, candidate in self.stored.items() if not candidate.state.settled)

    def settle(self, number: int) -> None:
        self.stored[number] = self.toy.settle(self.stored[number])
        self.planner.record(self.stored[number])


def in_order(*search: object) -> Run:
    run = Run(*search)  # type: ignore[arg-type]
    run.plan()
    while not run.done:
        run.settle(run.open()[0])
        run.plan()
    return run


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_any_order_and_any_crash_give_the_same_mixed_search(seed: int) -> None:
    chance = random.Random(seed)
    search = mixed(usd_nano=NANO // 5, candidates=200)
    run = Run(*search)
    run.plan()
    while not run.done:
        if chance.random() < 0.1:
            run.crash()
        if run.open():
            run.settle(chance.choice(run.open()))
        if chance.random() < 0.5:
            run.plan()
    assert run.stored == in_order(*search).stored


def test_money_that_is_too_little_for_the_dearest_backend_goes_to_the_others() -> None:
    run = in_order(*mixed(usd_nano=NANO // 5))
    plans = [candidate.plan for candidate in run.stored.values() if candidate.plan is not None]
    narrowed = {plan.narrowed for plan in plans}
    assert (MAIN, SWEEP) in narrowed
    assert all(plan.backend in plan.narrowed for plan in plans if plan.narrowed)
    assert run.done.startswith("budget used up: usd")
    spend = run.planner.ledger.spend()
    assert spend.usd_nano == sum(c.charge.usd_nano for c in run.stored.values())
    # less is left than one more request of the cheapest that writes would be held for
    assert NANO // 5 - 10_000_000 < spend.usd_nano <= NANO // 5


def test_candidates_bound_what_is_free_as_well() -> None:
    run = in_order(*mixed(candidates=40))
    assert len(run.stored) == 41
    assert {c.plan.backend for c in run.stored.values() if c.plan} >= {MAIN, SWEEP}
