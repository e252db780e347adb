"""The strategies' conformance suite: the built-in ones keep it, and each kind of wrong one is found out."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pydantic import ConfigDict

from quintain.conformance.strategy import check_strategy
from quintain.plugins.doors import STRATEGIES
from quintain.plugins.strategy import Ask, Operator, Options, Problem, Result, Strategy, StrategyPlugin


@pytest.mark.parametrize("name", ["best-of-n", "chain", "evolve", "tree"])
def test_the_built_in_strategies_keep_the_contract(name: str) -> None:
    assert {r.name: r.message for r in check_strategy(STRATEGIES.load(name), name) if not r.passed} == {}


class FirstSeed(Strategy):
    """A right one: always the first seed, written anew."""

    def __init__(self, problem: Problem, options: Options) -> None:
        self.problem, self.options, self.told = problem, options, 0

    def tell(self, result: Result) -> None:
        self.told += 1

    def ask(self, number: int, seed: int) -> Ask:
        return Ask(self.problem.backends[0].name, Operator.FULL, (0,))

    def stop(self) -> str | None:
        bound = self.options.stop_after_stagnation
        return f"{bound} candidates" if bound is not None and self.told >= bound else None


class FutureParent(FirstSeed):
    def ask(self, number: int, seed: int) -> Ask:
        return Ask(self.problem.backends[0].name, Operator.FULL, (number,))


class GlobalRandom(FirstSeed):
    def ask(self, number: int, seed: int) -> Ask:
        return Ask(self.problem.backends[0].name, Operator.FULL, (random.randrange(self.problem.seeds),))


class WrongOperator(FirstSeed):
    def ask(self, number: int, seed: int) -> Ask:
        return Ask(self.problem.backends[0].name, Operator.DIFF, (0,))


class OneParentCrossover(FirstSeed):
    def ask(self, number: int, seed: int) -> Ask:
        chosen = self.problem.backends[0]
        operator = Operator.CROSSOVER if Operator.CROSSOVER in chosen.operators else Operator.FULL
        return Ask(chosen.name, operator, (0,))


class NeverStops(FirstSeed):
    def stop(self) -> str | None:
        return None


class SharedState(FirstSeed):
    count = 0

    def ask(self, number: int, seed: int) -> Ask:
        SharedState.count += 1
        inspirations = (0,) if SharedState.count % 2 else ()
        return Ask(self.problem.backends[0].name, Operator.FULL, (0,), inspirations)


class Lax(Options):
    model_config = ConfigDict(extra="ignore")


def wrapped(kind: type[FirstSeed], options: type[Options] = Options, called: str = "mine") -> StrategyPlugin[Any]:
    class Plugin(StrategyPlugin[Any]):
        name = called
        description = "for the tests"

        def create(self, problem: Problem, options: Options) -> Strategy:
            return kind(problem, options)

    Plugin.options = options
    return Plugin()


def failed(plugin: StrategyPlugin[Any]) -> set[str]:
    return {result.name for result in check_strategy(plugin, "mine") if not result.passed}


def test_a_right_one_passes() -> None:
    assert failed(wrapped(FirstSeed)) == set()


@pytest.mark.parametrize(
    ("plugin", "check"),
    [
        (wrapped(FutureParent), "it_asks_only_for_what_there_is"),
        (wrapped(WrongOperator), "it_asks_only_for_what_there_is"),
        (wrapped(OneParentCrossover), "it_asks_only_for_what_there_is"),
        (wrapped(GlobalRandom), "it_is_a_function_of_what_it_was_told"),
        (wrapped(SharedState), "two_searches_do_not_disturb_one_another"),
        (wrapped(NeverStops), "it_says_why_it_stops"),
        (wrapped(FirstSeed, Lax), "its_options_are_documented_and_refuse_unknown_keys"),
        (wrapped(FirstSeed, called="other"), "it_says_what_it_is"),
    ],
    ids=["future", "operator", "crossover", "random", "shared", "endless", "lax", "name"],
)
def test_each_kind_of_wrong_one_is_found_out(plugin: StrategyPlugin[Any], check: str) -> None:
    assert check in failed(plugin)
