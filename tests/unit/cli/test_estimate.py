"""What a budget is enough for is said before anything is spent."""

from __future__ import annotations

import pytest
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController
from tests.unit.cli.test_search import finished

from quintain.controller.v1 import controller_pb2 as pb
from quintain_cli.commands.estimate import Habits, affordable, learn_habits


def search(backend: str, candidates: int, usd: float, seconds: float) -> pb.Search:
    spec = pb.SearchSpec(simulator="faas", suite="smoke", backends=[backend])
    return pb.Search(spec=spec, spend=pb.Spend(candidates=candidates, usd=usd, wall_seconds=seconds))


def test_habits_are_learned_from_searches_with_the_same_backends() -> None:
    spec = pb.SearchSpec(simulator="faas", suite="smoke", backends=["llm"])
    past = [search("llm", 10, 1.0, 100.0), search("llm", 30, 1.0, 100.0), search("other", 1, 50.0, 1.0)]
    assert learn_habits(spec, past) == Habits(searches=2, usd=0.05, tokens=0.0, seconds=5.0)
    assert learn_habits(spec, past[2:]) is None


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (pb.Budget(candidates=7), 7),
        (pb.Budget(usd=1.0), 20),
        (pb.Budget(usd=1.0, wall_seconds=50), 10),
        (pb.Budget(tokens=1000), float("inf")),  # nothing is known of tokens
    ],
)
def test_the_tightest_bound_counts(budget: pb.Budget, expected: float) -> None:
    assert affordable(budget, Habits(searches=1, usd=0.05, tokens=0.0, seconds=5.0)) == expected


def test_a_budget_that_cannot_be_a_search_is_warned_of_before_it_starts(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    controller.search.spec.CopyFrom(pb.SearchSpec(simulator="faas", suite="smoke", backends=["llm"]))
    controller.search.spend.CopyFrom(pb.Spend(candidates=20, usd=1.0, wall_seconds=400))
    search = ("search", "--suite", "smoke", "--backend", "llm")
    few = quintain(*search, "--usd", "0.1")
    assert "the budget is enough for about 2 candidates, $0.1000, 40 s, by 1 earlier search like this one" in few.err
    assert "too few for a search" in few.err
    assert "estimate: about 100 candidates, $5.00, 33 min 20 s" in quintain(*search, "--usd", "5").err
