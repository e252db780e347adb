"""One policy in one run: loads it, applies the engine's messages to the mirror, calls it, tells its decisions."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from quintain_faas.guest.cluster import Clock, Container, Executor, Pool, Scheduler
from quintain_faas.guest.effects import instrument
from quintain_faas.guest.guard import is_guarded, parse
from quintain_faas.guest.journal import Journal
from quintain_faas.guest.known import POLICY_MODULE
from quintain_faas.guest.names import Registry, namespace
from quintain_faas.guest.objects import (
    ASSIGNED,
    STATES,
    Assignment,
    ExecutionResult,
    Operator,
    Pipeline,
    Priority,
    Suspend,
)
from quintain_faas.guest.refusals import NotInstrumentable
from quintain_faas.guest.sight import sees_only_the_mirror
from quintain_faas.protocol import EVERY_TICK, FIXED_POINT, GUARD, NO_POOL, STATE_FACTOR

POLICY_FILENAME = "policy.py"

_MAX_EXACT_INT = 2**53
_MAX_TEXT = 100


class _Malformed(Exception):
    """The policy returned something that is no decision."""


def load(source: str, setup: Any, query: Callable[[Any], Any]) -> Session:
    """Look at a policy's source and compile it. Nothing of it runs before the message ``start``, so that what the
    session says of it until then is not the policy's word."""
    return Session(_prepare(source, setup["calling_mode"]), setup, query)


@dataclass(frozen=True)
class _Prepared:
    mode: str
    code: Any
    journal: Journal | None  # of an instrumented source
    runs_ahead: bool
    reason: str  # for which line it is every tick, if that was not asked for


def _prepare(source: str, forced: str) -> _Prepared:
    """Choose the calling mode and compile. Raises ValueError if the forced mode is not safe for this policy."""
    code: Any = compile(source, POLICY_FILENAME, "exec", dont_inherit=True)
    if forced in ("", GUARD) and is_guarded(source):
        return _Prepared(GUARD, code, None, False, "")
    if forced == GUARD:
        raise ValueError("cannot be called in guard mode: it is not evident that it does nothing on idle ticks")
    runs_ahead = sees_only_the_mirror(parse(source))
    reason = ""
    if forced in ("", FIXED_POINT):
        try:
            tree, journal = instrument(source, POLICY_FILENAME)
        except NotInstrumentable as error:
            if forced:
                raise ValueError(f"cannot be called in fixed_point mode: {error}") from error
            reason = str(error)
        else:
            instrumented = compile(tree, POLICY_FILENAME, "exec", dont_inherit=True)
            return _Prepared(FIXED_POINT, instrumented, journal, runs_ahead, "")
    return _Prepared(EVERY_TICK, code, None, runs_ahead, reason)


class Session:
    """Satisfies quintain.plugins.simulator.GuestSession."""

    _schedule: Callable[..., Any]

    def __init__(self, prepared: _Prepared, setup: Any, query: Callable[[Any], Any]) -> None:
        params = setup["params"]
        self.info: Any = {"calling_mode": prepared.mode, "runs_ahead": prepared.runs_ahead}
        if prepared.reason:
            self.info["reason"] = prepared.reason
        self._code: Any = prepared.code  # None once the policy has been started
        self._journal = prepared.journal
        self._at_rest_before = False  # the last call had no effect but new lists for equal ones
        self._max_job_ticks = setup["max_job_ticks"]
        self._query = query
        self._clock = Clock(params["ticks_per_second"])
        executor = Executor(self._clock, params, query)
        self._pools: list[Pool] = list(executor.pools)
        # By number, until they are finished: nothing more is told of them then, and a day has a million operators.
        self._pipelines: dict[int, Pipeline] = {}
        self._owners: dict[int, Pipeline] = {}  # by operator number
        self._arrived_pipelines = self._arrived_operators = 0
        self._containers: dict[int, Container] = {}  # active and suspending
        self._last_container = 0
        self.scheduler = Scheduler()
        self.scheduler.clock = self._clock
        self.scheduler.executor = executor
        self.scheduler.params = dict(params)

    def _run_module(self) -> None:
        """Run the policy's module and its init function. Whatever it raises is the policy's failure to load."""
        registry = Registry()
        policy = ModuleType(POLICY_MODULE)
        policy.__dict__.update(namespace(registry))
        if self._journal is not None:
            self._journal.module = policy.__dict__
            policy.__dict__.update(self._journal.names)
        sys.modules[POLICY_MODULE] = policy  # where dataclasses and typing look for a class's module
        code, self._code = self._code, None
        exec(code, policy.__dict__)
        key, init, self._schedule = registry.only_pair()
        self.scheduler.algo_name = key
        self.scheduler.algo_func = self._schedule
        init(self.scheduler)

    # ------------------------------------------------------------------------------------------------------- answer

    def answer(self, message: Any) -> Any:
        """One step: see `quintain_faas.protocol`."""
        if self._code is not None:
            try:
                self._run_module()
            except BaseException:
                self._query({"failed_to_load": True})
                raise
            return {"tick": -1}
        tick = message["tick"]
        until = message.get("until", tick + 1)
        clock = self._clock
        clock._tick = tick
        results = self._apply(message, tick)
        arrivals = [self._arrive(item, tick) for item in message.get("arrivals", ())]
        if len(message) > 1 + ("until" in message):
            self._at_rest_before = False
        schedule, scheduler, journal = self._schedule, self.scheduler, self._journal
        while True:
            if journal is not None:
                reads, watched = clock.reads, not results and not arrivals
                journal.begin(watched)
            try:
                suspensions, assignments = _unpack(schedule(scheduler, results, arrivals))
                decided = len(suspensions) or len(assignments)
            except _Malformed as error:
                return {"tick": tick, "malformed": str(error)}
            except Exception:
                self._query({"raised_at": tick})
                raise
            if decided:
                self._at_rest_before = False
                return self._tell(tick, suspensions, assignments)
            if journal is not None and watched and clock.reads == reads and self._is_at_rest(journal):
                return {"tick": tick, "sleep": True}
            tick += 1
            if tick >= until:
                return {"tick": tick - 1}
            clock._tick = tick
            results, arrivals = [], []

    def _is_at_rest(self, journal: Journal) -> bool:
        """Whether repeating the call that has just ended changes nothing."""
        changed, renewed = journal.end()
        before = self._at_rest_before
        self._at_rest_before = not changed
        return not changed and (before or not renewed)

    # -------------------------------------------------------------------------------------------- engine -> mirror

    def _apply(self, message: Any, tick: int) -> list[ExecutionResult]:
        """Bring the mirror up to date; returns the results of the exits, as the policy gets them."""
        owners = self._owners
        for code in message.get("states", ()):
            number, state = divmod(code, STATE_FACTOR)
            pipeline = owners[number]
            operator = pipeline.operator_at(number - pipeline._first_operator)
            (pipeline._status or pipeline.runtime_status()).set_state(operator, STATES[state])
        for number, completed, boundary_tick in message.get("boundaries", ()):
            container = self._containers[number]
            container._current_op_idx = completed
            container._boundary_tick = boundary_tick
        for number in message.get("released", ()):
            container = self._containers.pop(number)
            container.pool.release(container)
        results = []
        for number, error, can_suspend in message.get("exits", ()):
            container = self._containers.pop(number)
            container.pool.leave(container, tick - 1, error, can_suspend)
            a = container.assignment
            results.append(
                ExecutionResult(a.ops, a.cpu, a.ram, a.priority, container.pool_id, container.container_id, error)
            )
        for pool_number, cpu, ram in message.get("pools", ()):
            pool = self._pools[pool_number]
            pool.avail_cpu_pool = cpu
            pool.avail_ram_pool = ram
        for number, finish_tick in message.get("finished", ()):
            pipeline = self._pipelines.pop(number)
            pipeline.runtime_status().finish_tick = finish_tick
            for operator_number in range(pipeline._first_operator, pipeline._first_operator + len(pipeline._made)):
                owners.pop(operator_number, None)
        return results

    def _arrive(self, item: Any, tick: int) -> Pipeline:
        arrival = (self._clock, tick, self._max_job_ticks)
        first = self._arrived_operators
        pipeline = Pipeline.arrived(self._arrived_pipelines, item, first, arrival)
        self._pipelines[self._arrived_pipelines] = pipeline
        self._arrived_pipelines += 1
        self._arrived_operators += len(item[2])
        self._owners.update(dict.fromkeys(range(first, self._arrived_operators), pipeline))
        return pipeline

    # -------------------------------------------------------------------------------------------- policy -> engine

    def _tell(self, tick: int, suspensions: Any, assignments: Any) -> Any:
        """Encode a decision, and do to the mirror what the engine will do first with it."""
        try:
            told_suspensions = [self._tell_suspension(item) for item in suspensions]
            told_assignments = [self._tell_assignment(item) for item in assignments]
        except _Malformed as error:
            return {"tick": tick, "malformed": str(error)}
        for number, pool in told_suspensions:
            container = self._containers.get(number) if isinstance(number, int) else None
            if container is not None and pool != NO_POOL and container._end_tick is None:
                container.pool.suspend(container, tick)
        self._start(tick, list(assignments), told_assignments)
        answer: dict[str, Any] = {"tick": tick}
        if told_suspensions:
            answer["suspensions"] = told_suspensions
        if told_assignments:
            answer["assignments"] = told_assignments
        return answer

    def _start(self, tick: int, assignments: list[Assignment], told: list[Any]) -> None:
        """Number the new containers as the engine does: pool by pool, in order."""
        by_pool: dict[int, list[Assignment]] = {}
        for assignment, (_, _, _, _, pool) in zip(assignments, told, strict=True):
            if pool != NO_POOL:
                by_pool.setdefault(pool, []).append(assignment)
        for pool_number in sorted(by_pool):
            for assignment in by_pool[pool_number]:
                self._last_container += 1
                container = Container(self._last_container, assignment, self._pools[pool_number], tick)
                self._containers[container.number] = container
                container.pool.start(container)

    def _tell_suspension(self, item: Any) -> list[Any]:
        if not isinstance(item, Suspend):
            raise _Malformed(f"{_short(item)} among the suspensions is no Suspend")
        container_id = item.container_id
        number: int | str = _short(container_id)
        if isinstance(container_id, str) and container_id[:1] == "c" and container_id[1:].isdecimal():
            found = self._containers.get(int(container_id[1:19]))
            if found is not None and found.container_id == container_id:
                number = found.number
        return [number, self._pool_number(item.pool_id)]

    def _tell_assignment(self, item: Any) -> list[Any]:
        if not isinstance(item, Assignment):
            raise _Malformed(f"{_short(item)} among the assignments is no Assignment")
        pool = self._pool_number(item.pool_id)
        operators = []
        for operator in item.ops:
            if not isinstance(operator, Operator):
                raise _Malformed(f"{_short(operator)} among an assignment's operators is no Operator")
            if operator.current_state is not ASSIGNED and pool != NO_POOL:
                state = operator.current_state.value
                raise _Malformed(f"operator {operator.id} of an assignment is {state}: was it returned before?")
            operators.append(operator.number)
        priority = item.priority._value_ if isinstance(item.priority, Priority) else _short(item.priority)
        return [operators, _number(item.cpu), _number(item.ram), priority, pool]

    def _pool_number(self, pool_id: Any) -> int:
        """The number that equals `pool_id`."""
        if type(pool_id) is int:
            return pool_id if 0 <= pool_id < len(self._pools) else NO_POOL
        for number in range(len(self._pools)):
            if pool_id == number:
                return number
        return NO_POOL


def _unpack(decision: Any) -> Any:
    """Raises _Malformed unless it is a pair of sized things."""
    if type(decision) is tuple and len(decision) == 2:
        suspensions, assignments = decision
    else:
        try:
            suspensions, assignments = decision
        except (TypeError, ValueError):
            raise _Malformed(f"the policy returned {_short(decision)}, not a pair (suspensions, assignments)") from None
    if type(suspensions) is list and type(assignments) is list:
        return suspensions, assignments
    for part in (suspensions, assignments):
        if not hasattr(part, "__len__"):
            raise _Malformed(f"the policy returned {_short(part)} where a list should be")
    return suspensions, assignments


def _number(value: Any) -> int | float | str:
    """An int or float of the plain type, or text for what is none."""
    if type(value) is int or (isinstance(value, int) and not isinstance(value, bool)):
        return int(value) if -_MAX_EXACT_INT <= value <= _MAX_EXACT_INT else _short(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if not isinstance(value, bool) and hasattr(value, "__index__"):
        return _number(value.__index__())
    return _short(value)


def _short(value: Any) -> str:
    return repr(value)[:_MAX_TEXT]
