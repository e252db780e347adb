"""A decision that breaks a rule ends the run with the rule's name and the tick; nothing the guest says is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.fuzz.answers import run_with_a_liar

from quintain.plugins.simulator import FailureKind, JsonValue
from quintain_faas import Workload
from quintain_faas.engine.rules import RULES
from quintain_faas.run import run

from .policies import HEADER, PARAMS, TWO_STEPS, policy, simulate_on

READY = (
    "ops = pipelines[0].runtime_status().get_ops(ASSIGNABLE_STATES) if pipelines else []\nif not ops: return [], []\n"
)


def assign(
    ops: str = "ops[:1]", cpu: str = "1", ram: str = "8", priority: str = "Priority.QUERY", pool: str = "0"
) -> str:
    return policy(READY + f"return [], [Assignment({ops}, {cpu}, {ram}, {priority}, {pool}, 'p')]")


MUTATED = READY + "a = Assignment(ops[:1], 1, 8, Priority.QUERY, 0, 'p')\n{change}\nreturn [], [a]"


@pytest.mark.parametrize(
    ("rule", "source", "tick"),
    [
        ("over_allocated_cpu", assign(cpu="8.5"), 2),
        ("over_allocated_ram", assign(ram="32.001"), 2),
        ("unknown_priority", assign(priority="'urgent'"), 2),
        ("unknown_priority", assign(priority="None"), 2),
        ("not_a_number", assign(cpu="True"), 2),
        ("not_a_number", assign(ram="float('inf')"), 2),
        ("not_a_number", policy(MUTATED.format(change="a.ram = float('nan')")), 2),
        ("not_a_number", policy(MUTATED.format(change="a.cpu = 'all'")), 2),
        ("not_positive", policy(MUTATED.format(change="a.cpu = -1")), 2),
        ("not_positive", policy(MUTATED.format(change="a.ram = 0")), 2),
        ("no_operators", policy(MUTATED.format(change="a.ops = []")), 2),
        ("dependencies_not_satisfied", assign(ops="ops[1:]"), 2),
        ("unknown_operator", assign(ops="[pipelines[0].new_operator()]"), 2),
        ("unknown_container", policy("return ([Suspend('c9', 0)], []) if pipelines else ([], [])"), 2),
        ("unknown_container", policy("return ([Suspend(None, 0)], []) if pipelines else ([], [])"), 2),
        ("malformed_decision", policy("return 42"), 0),
        ("malformed_decision", policy("return None"), 0),
        ("malformed_decision", policy("return ([], 7)"), 0),
        ("malformed_decision", policy("return ([], ['all of them'])"), 0),
        ("malformed_decision", policy("return (['c1'], [])"), 0),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named_with_its_tick(rule: str, source: str, tick: int) -> None:
    result = simulate_on(source)
    assert result.failure is not None
    assert (result.failure.kind, result.failure.rule) == (FailureKind.REJECTED, rule)
    assert RULES[rule] in result.failure.message
    assert result.failure.step == result.ended_tick == tick
    assert result.failure.time_seconds == tick / 10


def test_an_excess_that_only_rounding_made_is_said_to_be_one() -> None:
    def message(sizes: str, change: dict[str, Any]) -> str:
        source = policy(
            READY + f"return [], [Assignment([op], 1, r, Priority.QUERY, 0, '') for op, r in zip(ops, {sizes})]"
        )
        trace = HEADER + "\n" + "".join(f"{'p1,0.2,QUERY' if i == 0 else 'p1,,'},o{i},,1,const,1,0\n" for i in range(3))
        result = simulate_on(source, trace, params=replace(PARAMS, **change))
        assert result.failure is not None
        assert result.failure.rule == "over_allocated_ram"
        return result.failure.message

    rounding = message("[0.1, 0.2, 0.0001]", {"ram_gb_per_pool": 0.3001})
    assert "0.30010000000000003 GB assigned, 0.3001 available" in rounding
    assert "Only rounding parts them" in rounding
    assert "whole numbers" in rounding
    assert "rounding" not in message("[16, 16, 0.001]", {})


def test_a_container_takes_one_operator_where_it_must() -> None:
    source = policy(READY + "return [], [Assignment(ops, 1, 8, Priority.QUERY, 0, '')]")
    assert simulate_on(source).failure is None
    result = simulate_on(source, params=replace(PARAMS, multi_operator_containers=False))
    assert result.failure is not None
    assert result.failure.rule == "one_operator_per_container"


def test_a_running_container_cannot_be_suspended_and_none_twice() -> None:
    start = READY + "return [], [Assignment(ops, 1, 12, Priority.QUERY, 0, '')]"
    early = policy(f"if s.clock.now_ticks() == 4: return [Suspend('c1', 0)], []\n{start}")
    result = simulate_on(early)
    assert result.failure is not None
    assert (result.failure.rule, result.failure.step) == ("container_not_suspendable", 4)
    twice = policy(
        "for c in s.executor.pools[0].active_containers:\n"
        "    if c.can_suspend_container(): return [Suspend('c1', 0), Suspend('c1', 0)], []\n" + start
    )
    result = simulate_on(twice)
    assert result.failure is not None
    assert result.failure.rule == "container_suspended_twice"


def test_an_operator_that_takes_no_tick_cannot_be_the_last() -> None:
    result = simulate_on(assign(), trace=f"{HEADER}\np1,0.2,QUERY,a,,0.01,const,,0\n")
    assert result.failure is not None
    assert result.failure.rule == "operator_takes_no_tick"


def test_an_endless_duration_is_rejected() -> None:
    result = simulate_on(assign(cpu="0.36787944117144233"), trace=f"{HEADER}\np1,0.2,QUERY,a,,1,log,,10\n")
    assert result.failure is None or result.failure.rule == "duration_not_finite"


@pytest.mark.parametrize("calling_mode", ["", "every_tick"])
def test_a_policy_that_raises_is_reported_with_tick_and_line(calling_mode: str) -> None:
    source = policy("s.n += 1\nif s.n == 124:\n    raise KeyError('lost')\nreturn [], []", init="s.n = 0")
    result = simulate_on(source, calling_mode=calling_mode)
    assert result.failure is not None
    assert result.failure.kind is FailureKind.RAISED
    assert (result.failure.step, result.failure.time_seconds, result.failure.line) == (123, 12.3, 8)
    assert result.stats.pipelines_created == 2


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("x = 1", "nothing is registered"),
        (
            policy("return [], []").replace('scheduler_init(key="test")', 'scheduler_init(key="other")'),
            "'other', 'test'",
        ),
        (policy("return [], []").replace('@register_scheduler_init(key="test")', ""), "@register_scheduler_init"),
        (policy("return [], []", init="s.missing.append(1)"), "AttributeError"),
        ("from eudoxia.nowhere import x", "eudoxia.nowhere"),
    ],
)
def test_a_policy_that_does_not_load_is_a_failure_before_the_first_tick(source: str, says: str) -> None:
    result = simulate_on(source + "\n")
    assert result.failure is not None
    assert result.failure.kind is FailureKind.LOAD
    assert says in result.failure.message
    assert result.failure.step is None
    assert result.ended_tick == 0


def test_items_for_no_pool_are_counted_and_dropped() -> None:
    result = simulate_on(
        policy(READY + "return [Suspend('c1', 5)], [Assignment(ops[:1], 1, 8, Priority.QUERY, 'x', '')]")
    )
    assert result.failure is None
    assert (result.stats.suspensions, result.stats.assignments, result.stats.containers_completed) == (2, 2, 0)


# --------------------------------------------------------------------------------------------------------- lying guests


class Liar:
    """A policy process that answers what it likes."""

    info: JsonValue = {"calling_mode": "every_tick", "algorithm_key": "x"}  # noqa: RUF012

    def __init__(self, reply: Callable[[Any, Any], Any]) -> None:
        self._reply = reply

    def ask(self, message: JsonValue, on_query: Any = None) -> JsonValue:
        return self._reply(message, on_query)  # type: ignore[no-any-return]


def answer(**decision: Any) -> Callable[[Any, Any], Any]:
    return lambda message, query: {"tick": message["tick"], **decision}


@pytest.mark.parametrize(
    "reply",
    [
        lambda message, query: None,
        lambda message, query: {},
        lambda message, query: {"tick": message["tick"] + 50},
        lambda message, query: {"tick": True},
        answer(suspensions="c1"),
        answer(suspensions=[[1]]),
        answer(suspensions=[[1.5, 0]]),
        answer(suspensions=[["c" * 500, 0]]),
        answer(assignments={"a": 1}),
        answer(assignments=[[[0], 1, 1, 1, 3]]),
        answer(assignments=[[[0], 1, 1, 1, -2]]),
        answer(assignments=[["0", 1, 1, 1, 0]]),
        lambda message, query: query({"memory": 9, "tick": message["tick"]}),
        lambda message, query: query({"memory": 0, "tick": message["tick"] + 1000}),
        lambda message, query: query({"memory": 0, "tick": message["tick"] - 1}),
        lambda message, query: query({"container": 1, "tick": message["tick"]}),
        lambda message, query: query("score"),
    ],
)
def test_what_no_honest_guest_says_is_a_protocol_failure(reply: Callable[[Any, Any], Any]) -> None:
    result = run(PARAMS, Workload.from_trace_text(TWO_STEPS), lambda setup: Liar(reply))
    assert result.failure is not None
    assert result.failure.kind is FailureKind.PROTOCOL


@pytest.mark.parametrize(
    ("rule", "reply"),
    [
        ("unknown_operator", lambda m, _: {"tick": m["tick"], "assignments": [[[2], 1, 1, 1, 0]] * ("arrivals" in m)}),
        ("too_many_items", answer(suspensions=[[1, 0]] * 100_001)),
        ("too_many_items", answer(assignments=[[[0] * 10, 1, 1, 1, 0]])),
        ("not_a_number", answer(assignments=[[[0], float("nan"), 1, 1, 0]])),
        ("not_a_number", answer(assignments=[[[0], 1, 10**400, 1, 0]])),
        ("unknown_priority", answer(assignments=[[[0], 1, 1, 4, 0]])),
    ],
)
def test_a_lie_about_a_decision_breaks_a_rule(rule: str, reply: Callable[[Any, Any], Any]) -> None:
    result = run(PARAMS, Workload.from_trace_text(TWO_STEPS), lambda setup: Liar(reply))
    assert result.failure is not None
    assert result.failure.rule == rule


def test_an_operator_is_assigned_once() -> None:
    def reply(message: Any, query: Any) -> Any:
        assignments = [[[0], 1, 1, 1, 0], [[0], 1, 1, 1, 0]] if "arrivals" in message else []
        return {"tick": message["tick"], "assignments": assignments}

    result = run(PARAMS, Workload.from_trace_text(TWO_STEPS), lambda setup: Liar(reply))
    assert result.failure is not None
    assert result.failure.rule == "operator_not_assignable"


def test_a_question_about_a_later_tick_forbids_an_earlier_answer() -> None:
    def reply(message: Any, query: Any) -> Any:
        if "until" in message:
            query({"memory": 0, "tick": message["until"] - 1})
        return {"tick": message["tick"]}

    class FarSeeing(Liar):
        info: JsonValue = {"calling_mode": "every_tick", "runs_ahead": True}  # noqa: RUF012

    params = replace(PARAMS, duration=200)
    result = run(params, Workload.from_trace_text(TWO_STEPS), lambda setup: FarSeeing(reply))
    assert result.failure is not None
    assert result.failure.kind is FailureKind.PROTOCOL


def test_a_guest_that_lies_at_random_never_breaks_the_engine() -> None:
    failures = [run_with_a_liar(seed).failure for seed in range(12)]
    assert sum(failure is not None for failure in failures) > 6
    assert {failure.kind for failure in failures if failure} <= {FailureKind.PROTOCOL, FailureKind.REJECTED}
