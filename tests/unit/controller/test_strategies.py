from __future__ import annotations

import time

import pytest

from quintain.plugins.strategy import BackendInfo, Operator, Problem, Result
from quintain_controller.domain.strategies.archive import Grid, Island, ScenarioBests
from quintain_controller.domain.strategies.bandit import Bandit
from quintain_controller.domain.strategies.evolve import Evolve, EvolveOptions
from quintain_controller.usecases.strategies import parse_options, plugin, window

FULL = (Operator.FULL, Operator.DIFF, Operator.CROSSOVER)


def result(number: int, score: float, **fields: object) -> Result:
    return Result(number, (score,), values=(score, 1 - score), behavior=f"b{number}", **fields)  # type: ignore[arg-type]


def test_the_bandit_comes_to_prefer_the_arm_that_succeeds() -> None:
    bandit = Bandit((BackendInfo("a", FULL),), frozenset(FULL))
    pulled: list[Operator] = []
    for number in range(200):
        _, operator = bandit.pull(number)
        pulled.append(operator)
        bandit.tell(number, 1.0 if operator is Operator.DIFF else 0.1, 0.0)
    assert pulled[:3] == list(FULL)
    assert pulled[100:].count(Operator.DIFF) > 60


def test_the_bandit_prefers_the_cheap_backend_at_equal_success_and_the_dear_one_at_much_better() -> None:
    backends = (BackendInfo("cheap", (Operator.FULL,)), BackendInfo("dear", (Operator.FULL,)))
    costs = {"cheap": 0.01, "dear": 0.04}
    for rewards, winner in (({"cheap": 0.3, "dear": 0.3}, "cheap"), ({"cheap": 0.05, "dear": 0.9}, "dear")):
        bandit = Bandit(backends, frozenset({Operator.FULL}))
        pulls = []
        for number in range(300):
            name, _ = bandit.pull(number)
            pulls.append(name)
            bandit.tell(number, rewards[name], costs[name])
        assert pulls[150:].count(winner) > 90


def test_requests_under_way_spread_over_the_arms() -> None:
    bandit = Bandit((BackendInfo("a", FULL),), frozenset(FULL))
    assert {bandit.pull(number)[1] for number in range(3)} == set(FULL)


def test_a_backend_without_a_wanted_operator_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the backends a offers any of the operators full"):
        Bandit((BackendInfo("a", (Operator.REPAIR,)),), frozenset({Operator.FULL}))


def test_an_island_keeps_the_best_and_one_of_each_behaviour() -> None:
    island = Island(2)
    assert island.add(result(1, 0.1))
    assert island.add(result(2, 0.3))
    assert not island.add(Result(3, (0.3,), behavior="b2"))
    assert island.add(result(4, 0.2))
    assert not island.add(result(5, 0.1))
    assert [m.number for m in island.members] == [2, 4]


def test_the_grid_keeps_one_elite_for_each_cell() -> None:
    from quintain.plugins.simulator import Descriptor

    grid = Grid([Descriptor("x", (0.5,))])
    for number, score, x in ((1, 0.1, 0.2), (2, 0.4, 0.3), (3, 0.2, 0.9), (4, 0.3, 0.1)):
        grid.add(result(number, score, metrics={"x": x}))
    assert sorted(e.number for e in grid.elites) == [2, 3]


def test_the_complement_is_strong_where_the_parent_is_weak() -> None:
    bests = ScenarioBests(2)
    strong_first, strong_second = result(1, 0.9), result(2, 0.2)
    bests.add(strong_first)
    bests.add(strong_second)
    assert bests.complement(strong_first) == strong_second
    assert bests.complement(strong_second) == strong_first


def test_stagnation_is_said_and_can_end_a_search() -> None:
    problem = Problem((BackendInfo("a", FULL),), ("s1", "s2"), (), 1, 100)
    evolve = Evolve(problem, EvolveOptions(patience=5, stop_after_stagnation=12))
    evolve.tell(result(0, 0.9))
    notes = [evolve.tell(result(number, 0.1)) for number in range(1, 13)]
    assert [n.candidates_without_improvement for n in notes if n] == [5, 10]
    assert evolve.stop() == "no improvement in 12 candidates"


@pytest.mark.parametrize("name", ["chain", "best-of-n", "evolve", "tree"])
def test_the_cost_of_a_step_does_not_grow_with_the_archive(name: str) -> None:
    kind = plugin(name)
    problem = Problem((BackendInfo("a", FULL),), ("s1", "s2"), (), 1, None)
    strategy = kind.create(problem, kind.options())

    def cpu(first: int, count: int) -> float:
        begin = time.process_time()
        for number in range(first, first + count):
            strategy.tell(result(number, (number * 7919 % 1000) / 1000))
            strategy.ask(number + 1, number)
        return time.process_time() - begin

    early = min(cpu(0, 500), cpu(500, 500))
    cpu(1000, 8000)
    late = min(cpu(9000, 500), cpu(9500, 500))
    assert late < 4 * early + 0.01


def test_chain_needs_each_result_before_the_next_request() -> None:
    assert window("chain", parse_options("chain", {}), 8) == 1
    assert window("evolve", parse_options("evolve", {}), 2) == 4
    assert window("evolve", parse_options("evolve", {}), 8) == 8
    assert window("evolve", parse_options("evolve", {"window": 2}), 8) == 2


def test_a_crossover_succeeds_when_it_beats_the_better_of_its_parents() -> None:
    """Else mating a poor parent with a good one looks like progress, and little else is asked for."""
    backends = (BackendInfo("a", (Operator.FULL, Operator.CROSSOVER)),)
    problem = Problem(backends, ("s",), (), seeds=1, planned=100)
    strategy = Evolve(problem, EvolveOptions(repair=0.0, population=2))
    for number in range(2):
        strategy.tell(Result(number, (0.5 + 0.1 * number,), values=(0.5,), behavior=f"b{number}"))
    asked = []
    for number in range(2, 120):
        ask = strategy.ask(number, number)
        asked.append(ask.operator)
        # a child of two parents is as good as the better one of them, any other is a little better than its parent
        score = 0.6 if ask.operator is Operator.CROSSOVER else 0.6 + number / 10_000
        strategy.tell(Result(number, (score,), values=(0.5,), behavior=f"b{min(number, 118)}"))
    assert asked[40:].count(Operator.FULL) > 2 * asked[40:].count(Operator.CROSSOVER)
