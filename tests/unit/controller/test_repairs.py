"""What is near goes to repair before what is hopeless."""

from __future__ import annotations

import pytest

from quintain.plugins.strategy import Ask, BackendInfo, Operator, Problem, Result, Strategy
from quintain_controller.domain.model import candidate_seed
from quintain_controller.usecases.strategies import parse_options, plugin

SCENARIOS = tuple(f"s{index}" for index in range(12))
ALWAYS_REPAIRS = {"evolve": {"repair": 1.0}, "tree": {}}


def strategy(name: str) -> Strategy:
    problem = Problem(
        backends=(BackendInfo("llm", (Operator.FULL, Operator.REPAIR)),),
        scenarios=SCENARIOS,
        descriptors=(),
        seeds=1,
        planned=100,
    )
    made: Strategy = plugin(name).create(problem, parse_options(name, ALWAYS_REPAIRS[name]))
    made.tell(Result(0, (0.5, 0.5), values=(0.5,) * 12, behavior="seed"))
    return made


def asked(made: Strategy, number: int) -> Ask:
    return made.ask(number, candidate_seed(1, number))


def spoiled(number: int) -> Result:
    """Best on seven of twelve scenarios, and one floor broken by a little: its score is the worst there is."""
    return Result(number, (0.0, 0.0), values=(0.9,) * 7 + (0.4,) * 4 + (0.0,), behavior=f"b{number}")


def hopeless(number: int) -> Result:
    return Result(number, None, failed=True, values=(0.0,) * 12)


@pytest.mark.parametrize("name", ["evolve", "tree"])
def test_a_candidate_that_little_spoils_is_repaired_before_a_later_one_that_does_nothing(name: str) -> None:
    made = strategy(name)
    asked(made, 1), asked(made, 2)
    made.tell(spoiled(1))
    made.tell(hopeless(2))
    first, second = asked(made, 3), asked(made, 4)
    assert (first.operator, first.parents) == (Operator.REPAIR, (1,))
    assert (second.operator, second.parents) == (Operator.REPAIR, (2,))


@pytest.mark.parametrize("name", ["evolve", "tree"])
def test_of_two_that_are_near_the_nearer_comes_first_and_each_once(name: str) -> None:
    made = strategy(name)
    for number in (1, 2):
        asked(made, number)
    made.tell(Result(1, None, failed=True, values=(0.9,) * 4 + (0.1,) * 7 + (0.0,)))
    made.tell(Result(2, None, failed=True, values=(0.9,) * 10 + (0.1, 0.0)))
    assert [asked(made, 3).parents, asked(made, 4).parents] == [(2,), (1,)]
    assert asked(made, 5).operator is not Operator.REPAIR


@pytest.mark.parametrize("name", ["evolve", "tree"])
def test_a_candidate_that_is_merely_bad_is_not_sent_back(name: str) -> None:
    made = strategy(name)
    asked(made, 1)
    made.tell(Result(1, (0.1, 0.1), values=(0.1,) * 11 + (0.0,), behavior="bad"))
    assert asked(made, 2).operator is not Operator.REPAIR
