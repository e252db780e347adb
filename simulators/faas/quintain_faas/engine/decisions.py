"""A policy's decision as the guest tells it: checked, resolved and digested. Nothing in it is believed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from quintain.plugins.simulator import JsonValue
from quintain_faas.engine.rules import protocol_violation, rejected
from quintain_faas.engine.state import OperatorRef, OperatorStates, PipelineRun
from quintain_faas.protocol import ASSIGNED, NO_POOL

MAX_ITEMS = 100_000
MAX_TEXT = 200
MAX_EXACT_INT = 2**53  # above it, integers and floats part
MAX_LOG_ENTRIES = 2000
MAX_LOG_ENTRY = 160
_NO_ITEMS: list[Any] = []


class NewContainer(NamedTuple):
    operators: list[OperatorRef]
    cpu: int | float
    ram: int | float
    priority: int


@dataclass(slots=True)
class Decision:
    """A checked decision. Suspensions and assignments by pool; `counts` are those of the whole lists (suspensions,
    assignments), dropped items included."""

    tick: int
    sleep: bool = False
    counts: tuple[int, int] = (0, 0)
    suspensions: dict[int, list[int | str]] = field(default_factory=dict)
    assignments: dict[int, list[NewContainer]] = field(default_factory=dict)


class DecisionReader:
    """Reads answers of the guest. `owners` maps an operator's number to its pipeline and grows with the arrivals."""

    def __init__(self, num_pools: int, owners: list[PipelineRun], states: OperatorStates) -> None:
        self._num_pools = num_pools
        self._owners = owners
        self._states = states

    def read(self, answer: JsonValue, first: int, until: int, record: DecisionRecord) -> Decision:
        """Check `answer`, given for the ticks first..until-1, move the assigned operators to ASSIGNED, record it.

        Raises PolicyError: PROTOCOL for what no honest guest sends, REJECTED for what breaks a rule.
        """
        if not isinstance(answer, dict):
            raise protocol_violation(f"a decision is an object, not {type(answer).__name__}")
        tick = answer.get("tick")
        if type(tick) is not int or not first <= tick < until:
            raise protocol_violation(f"a decision for ticks {first} to {until - 1} is dated otherwise")
        malformed = answer.get("malformed")
        if malformed is not None:
            raise rejected("malformed_decision", str(malformed)[:MAX_TEXT])
        decision = Decision(tick, sleep=answer.get("sleep") is True)
        suspensions = _items(answer, "suspensions")
        assignments = _items(answer, "assignments")
        if not suspensions and not assignments:
            return decision
        decision.counts = (len(suspensions), len(assignments))
        record.open(tick)
        for item in suspensions:
            self._read_suspension(item, decision, record)
        for item in assignments:
            self._read_assignment(item, decision, record)
        record.close()
        return decision

    def _read_suspension(self, item: Any, decision: Decision, record: DecisionRecord) -> None:
        if not isinstance(item, list) or len(item) != 2:
            raise protocol_violation("a suspension is [container, pool]")
        container, pool = item
        if type(container) is not int and not (type(container) is str and len(container) <= MAX_TEXT):
            raise protocol_violation("a suspension's container is a number or a short string")
        self._check_pool(pool)
        record.suspension(container, pool)
        if pool != NO_POOL:
            decision.suspensions.setdefault(pool, []).append(container)

    def _read_assignment(self, item: Any, decision: Decision, record: DecisionRecord) -> None:
        if not isinstance(item, list) or len(item) != 5:
            raise protocol_violation("an assignment is [operators, cpu, ram, priority, pool]")
        numbers, cpu, ram, priority, pool = item
        self._check_pool(pool)
        if type(priority) is not int or not 1 <= priority <= 3:
            raise rejected("unknown_priority", f"an assignment has priority {str(priority)[:MAX_TEXT]}")
        _check_amount("cpu", cpu)
        _check_amount("ram", ram)
        if not isinstance(numbers, list):
            raise protocol_violation("an assignment's operators are a list")
        if not numbers:
            raise rejected("no_operators", "an assignment is empty")
        if len(numbers) > len(self._owners):
            raise rejected("too_many_items", f"an assignment has {len(numbers)} operators")
        operators = [self._operator(number) for number in numbers]
        record.assignment(numbers, cpu, ram, priority, pool)
        if pool == NO_POOL:
            return  # dropped: nothing happens to its operators
        for operator in operators:
            self._states.move(operator, ASSIGNED)
        decision.assignments.setdefault(pool, []).append(NewContainer(operators, cpu, ram, priority))

    def _check_pool(self, pool: Any) -> None:
        if type(pool) is not int or not NO_POOL <= pool < self._num_pools:
            raise protocol_violation("a pool is the number of a pool or -1")

    def _operator(self, number: Any) -> OperatorRef:
        if type(number) is not int or not 0 <= number < len(self._owners):
            raise rejected("unknown_operator", f"an assignment names operator {str(number)[:MAX_TEXT]}")
        pipeline = self._owners[number]
        return pipeline, number - pipeline.first_operator


def _items(answer: dict[str, Any], name: str) -> list[Any]:
    items = answer.get(name, _NO_ITEMS)
    if not isinstance(items, list):
        raise protocol_violation(f"{name} are a list")
    if len(items) > MAX_ITEMS:
        raise rejected("too_many_items", f"{len(items)} {name} in one decision")
    return items


def _check_amount(name: str, value: Any) -> None:
    exact = type(value) is int and abs(value) <= MAX_EXACT_INT
    if not exact and not (type(value) is float and math.isfinite(value)):
        raise rejected("not_a_number", f"an assignment has {name} {str(value)[:MAX_TEXT]}")
    if value <= 0:
        raise rejected("not_positive", f"an assignment has {name} {value}")


class DecisionRecord:
    """The digest over all decisions, and the beginning of them as text.

    One line a decision: ``tick s container@pool ... a operators cpu ram priority@pool ...``. Numbers are written by
    `repr`, which is the same on every Python.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._parts: list[str] = []
        self.log: list[str] = []

    def open(self, tick: int) -> None:
        self._parts = [str(tick)]

    def suspension(self, container: int | str, pool: int) -> None:
        self._parts.append(f"s {container!r}@{pool}")

    def assignment(
        self, operators: Sequence[int], cpu: int | float, ram: int | float, priority: int, pool: int
    ) -> None:
        self._parts.append(f"a {'+'.join(map(str, operators))} {cpu!r} {ram!r} {priority}@{pool}")

    def close(self) -> None:
        line = " ".join(self._parts)
        self._hash.update(line.encode("utf-8", "backslashreplace"))
        self._hash.update(b"\n")
        if len(self.log) < MAX_LOG_ENTRIES:
            self.log.append(line if len(line) <= MAX_LOG_ENTRY else line[: MAX_LOG_ENTRY - 3] + "...")

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
