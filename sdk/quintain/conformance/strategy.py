"""What every strategy must do, as checks that run on an installed one. No service is needed.

    for result in check_strategy(plugin):
        print(result.name, "ok" if result.passed else result.message)

A strategy is asked and told as a search would, with results that are made up: ones that get better, ones that are all
alike, and ones that all failed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError

from quintain.conformance.simulator import CheckResult, Nonconformance
from quintain.plugins.simulator import Descriptor
from quintain.plugins.strategy import (
    Ask,
    BackendInfo,
    Note,
    Operator,
    Options,
    Problem,
    Result,
    Strategy,
    StrategyPlugin,
)

CANDIDATES = 60
WINDOW = 4
PARENTS_NEEDED = {Operator.FULL: 1, Operator.DIFF: 1, Operator.REPAIR: 1, Operator.CROSSOVER: 2}

ALL = (Operator.FULL, Operator.DIFF, Operator.CROSSOVER, Operator.REPAIR)
PROBLEMS = {
    "one backend that can do everything": Problem((BackendInfo("a", ALL, 0.1),), ("s1", "s2", "s3"), (), 2, 60),
    "two backends, one scenario, descriptors": Problem(
        (BackendInfo("cheap", ALL, None), BackendInfo("dear", (Operator.FULL, Operator.DIFF), 2.0)),
        ("s1",),
        (Descriptor("x", (0.3, 0.6)),),
        1,
        None,
    ),
    "a backend that only writes anew": Problem((BackendInfo("a", (Operator.FULL,)),), ("s1", "s2"), (), 1, 60),
}

Outcomes = Callable[[int, Problem], Result]


def getting_better(number: int, problem: Problem) -> Result:
    rng = random.Random(number)
    values = tuple(rng.uniform(0, 0.3) + 0.01 * number for _ in problem.scenarios)
    return Result(
        number,
        (sum(values) / len(values),),
        values=values,
        metrics={"x": rng.random()},
        behavior=f"b{number}",
        cost_usd=0.05,
    )


def all_alike(number: int, problem: Problem) -> Result:
    return Result(number, (0.5,), values=(0.5,) * len(problem.scenarios), metrics={"x": 0.5}, behavior="same")


def all_failed(number: int, problem: Problem) -> Result:
    return Result(number, None, failed=number % 2 == 0)


OUTCOMES: tuple[Outcomes, ...] = (getting_better, all_alike, all_failed)


def check_strategy(plugin: StrategyPlugin[Any], name: str = "") -> list[CheckResult]:
    """Run all checks; never raises for what a strategy does. `name`: the entry point's, if it has one."""
    results = []
    for check in CHECKS:
        title = check.__name__
        try:
            check(plugin, name)
        except Nonconformance as finding:
            results.append(CheckResult(title, False, str(finding)))
        except Exception as error:  # noqa: BLE001 - the boundary to the strategy's code
            results.append(CheckResult(title, False, f"{type(error).__name__}: {error}"))
        else:
            results.append(CheckResult(title, True))
    return results


def _demand(condition: bool, message: str) -> None:
    if not condition:
        raise Nonconformance(message)


def it_says_what_it_is(plugin: StrategyPlugin[Any], name: str) -> None:
    _demand(bool(plugin.name and plugin.description), "name or description is empty")
    _demand(not name or plugin.name == name, f"it calls itself {plugin.name!r}, its entry point is {name!r}")
    _demand(plugin.max_window is None or plugin.max_window >= 1, f"max_window is {plugin.max_window}")


def its_options_are_documented_and_refuse_unknown_keys(plugin: StrategyPlugin[Any], name: str) -> None:
    _demand(issubclass(plugin.options, Options), "options is no subclass of quintain.plugins.strategy.Options")
    plugin.options()  # each has a default
    json.dumps(plugin.options.model_json_schema())
    bare = [key for key, field in plugin.options.model_fields.items() if not field.description]
    _demand(not bare, f"options without a description: {', '.join(bare)}")
    try:
        plugin.options.model_validate({"no_such_option": 1})
    except ValidationError:
        return
    raise Nonconformance("an unknown option is taken without a word")


def it_asks_only_for_what_there_is(plugin: StrategyPlugin[Any], name: str) -> None:
    for title, problem in PROBLEMS.items():
        for outcomes in OUTCOMES:
            told = problem.seeds
            for number, ask, told in _search(plugin, problem, outcomes):
                where = f"{title}, {outcomes.__name__.replace('_', ' ')}, candidate {number}"
                _check_ask(ask, problem, told, where)


def _check_ask(ask: object, problem: Problem, told: int, where: str) -> None:
    if not isinstance(ask, Ask):
        raise Nonconformance(f"{where}: ask returned {type(ask).__name__}, not an Ask")
    backends = {backend.name: backend for backend in problem.backends}
    _demand(ask.backend in backends, f"{where}: backend {ask.backend!r} is not in the problem")
    _demand(ask.operator in backends[ask.backend].operators, f"{where}: {ask.backend} cannot do {ask.operator.value}")
    needed = PARENTS_NEEDED.get(ask.operator, 1)
    _demand(len(ask.parents) >= needed, f"{where}: {ask.operator.value} needs {needed} parents, got {ask.parents}")
    _demand(len(set(ask.parents)) == len(ask.parents), f"{where}: a parent is named twice: {ask.parents}")
    unknown = [n for n in (*ask.parents, *ask.inspirations) if not 0 <= n < told]
    _demand(not unknown, f"{where}: candidates {unknown} were not told yet ({told} were)")


def it_is_a_function_of_what_it_was_told(plugin: StrategyPlugin[Any], name: str) -> None:
    """Two searches with the same results ask the same, whatever the global random state; so a killed one goes on."""
    for title, problem in PROBLEMS.items():
        random.seed(1)
        first = list(_search(plugin, problem, getting_better))
        random.seed(2)
        second = list(_search(plugin, problem, getting_better))
        for (number, a, _), (_, b, _) in zip(first, second, strict=True):
            _demand(a == b, f"{title}, candidate {number}: asked {a}, then {b} for the same results")


def two_searches_do_not_disturb_one_another(plugin: StrategyPlugin[Any], name: str) -> None:
    (_, one), (_, other) = list(PROBLEMS.items())[:2]
    alone = [ask for _, ask, _ in _search(plugin, one, getting_better)]
    beside = []
    for (_, ask, _), _ in zip(_search(plugin, one, getting_better), _search(plugin, other, all_alike), strict=False):
        beside.append(ask)
    _demand(alone[: len(beside)] == beside, "a search asks for something else when another one runs in the process")


def it_says_why_it_stops(plugin: StrategyPlugin[Any], name: str) -> None:
    problem = PROBLEMS["one backend that can do everything"]
    patient = plugin.create(problem, plugin.options(stop_after_stagnation=5))
    for number in range(CANDIDATES):
        note = patient.tell(all_alike(number, problem))
        _demand(note is None or isinstance(note, Note), f"tell returned {type(note).__name__}, not a Note or None")
        reason = patient.stop()
        if reason is not None:
            _demand(isinstance(reason, str) and bool(reason.strip()), f"stop returned {reason!r}, not a reason")
            return
        if number + 1 >= problem.seeds:
            patient.ask(number + 1, number)
    raise Nonconformance(f"stop_after_stagnation=5 is ignored: {CANDIDATES} candidates alike, and it goes on")


CHECKS: tuple[Callable[[StrategyPlugin[Any], str], None], ...] = (
    it_says_what_it_is,
    its_options_are_documented_and_refuse_unknown_keys,
    it_asks_only_for_what_there_is,
    it_is_a_function_of_what_it_was_told,
    two_searches_do_not_disturb_one_another,
    it_says_why_it_stops,
)


def _search(plugin: StrategyPlugin[Any], problem: Problem, outcomes: Outcomes) -> Iterator[tuple[int, Ask, int]]:
    """(number, what was asked for, how many were told then), with as many under way as the strategy may have."""
    strategy: Strategy = plugin.create(problem, plugin.options())
    window = min(WINDOW, plugin.max_window or WINDOW)
    told = 0
    for _ in range(problem.seeds):
        strategy.tell(outcomes(told, problem))
        told += 1
    for number in range(problem.seeds, CANDIDATES):
        while told <= number - window:
            strategy.tell(outcomes(told, problem))
            told += 1
        if strategy.stop() is not None:
            return
        yield number, strategy.ask(number, 1000 + number), told
