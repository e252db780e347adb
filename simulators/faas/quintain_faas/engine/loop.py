"""One run: which ticks matter, when the policy is called, what it is told.

Event-driven: the clock jumps to the next tick on which something can happen. That is a tick with an entry on the heap,
an arrival, or a call of the policy; which ticks are calls depends on the calling mode:

* ``guard``: on ticks with results or arrivals (on all others the policy provably does nothing);
* ``fixed_point``: after every observable change, and on until the guest says that repeating the call changes nothing;
* ``every_tick``: always.

Where a policy is called on idle ticks, many may be granted at once, up to the next event. A message that says how many
tells the future, so only a guest gets it whose policy has no way to see one; it says so before any of the policy runs.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from quintain.plugins.simulator import FailureKind, JsonValue, OpenPolicy, Policy, PolicyError, PolicyFailure
from quintain_faas.engine.collector import Collector
from quintain_faas.engine.container import Timings
from quintain_faas.engine.curve import reading_curve
from quintain_faas.engine.decisions import Decision, DecisionReader, DecisionRecord
from quintain_faas.engine.estimator import Estimator
from quintain_faas.engine.outbox import Outbox
from quintain_faas.engine.pool import Pool, Shared
from quintain_faas.engine.rules import protocol_violation
from quintain_faas.engine.state import OperatorStates, PipelineRun
from quintain_faas.params import Params
from quintain_faas.protocol import CALLING_MODES, FIXED_POINT, GUARD
from quintain_faas.workload.model import PRIORITIES
from quintain_faas.workload.workload import Batch

MOST_TICKS_AHEAD = 1000  # in one grant: a slow policy shall not run into the time limit of one answer
NEVER = 1 << 62
_NOTHING: tuple[dict[int, Any], dict[int, Any]] = ({}, {})  # neither suspensions nor assignments

_PRIORITY_CODE = {name: code for code, name in enumerate(PRIORITIES, start=1)}


class Simulation:
    """One run. Call `run` once, then read the attributes."""

    def __init__(self, params: Params, batches: Sequence[Batch], record_timeline: bool) -> None:
        self._params = params
        self._batches = batches
        self._next_batch = 0
        self._arrival_tick = batches[0][0] if batches else NEVER  # of the next batch
        self._tps = params.ticks_per_second
        self._max_ticks = params.max_ticks
        self._max_job_ticks = params.max_job_ticks
        self._estimator = Estimator.of(params)
        self._outbox = Outbox()
        self._states = OperatorStates(self._outbox)
        self._owners: list[PipelineRun] = []
        self._outstanding: dict[str, PipelineRun] = {}
        self._deadlines: deque[PipelineRun] = deque()  # of pipelines not yet swept, by arrival
        self._alarms: deque[int] = deque()  # deadlines not yet reached
        self._heap: list[tuple[int, int, int, int]] = []
        self._next_sample = 0
        self._asked_tick = 0  # no answer or question of the guest may be about an earlier tick
        self.collector = Collector(params, record_timeline)
        self.record = DecisionRecord()
        curve = reading_curve(params.tick_length_seconds)
        self._shared = Shared(
            params,
            self._heap,
            {},
            self._states,
            self._outbox,
            self.collector,
            Timings(params.tick_length_seconds, curve),
            curve,
        )
        self.pools = [Pool(number, self._shared) for number in range(params.num_pools)]
        self._reader = DecisionReader(params.num_pools, self._owners, self._states)
        self.calling_mode = ""
        self._runs_ahead = False
        self.ended_tick = 0

    # ------------------------------------------------------------------------------------------------------- run

    def run(self, open_policy: OpenPolicy, calling_mode: str) -> PolicyFailure | None:
        """Simulate to the horizon. Returns how the policy failed, if it did."""
        try:
            policy = open_policy(
                {
                    "params": self._params.visible_to_policy(),
                    "max_job_ticks": self._max_job_ticks,
                    "calling_mode": calling_mode,
                }
            )
            self.calling_mode = _mode_of(policy.info, calling_mode)
            self._runs_ahead = isinstance(policy.info, dict) and policy.info.get("runs_ahead") is True
            self._start(policy)
        except PolicyError as error:
            return error.failure
        self._asked_tick = -1
        try:
            self._run(policy)
        except PolicyError as error:
            failure = error.failure
            step = self._asked_tick if failure.step is None else failure.step
            self.ended_tick = max(0, step)
            return replace(failure, step=step, time_seconds=step / self._tps)
        self.ended_tick = self._max_ticks
        return None

    @staticmethod
    def _start(policy: Policy) -> None:
        """Have the policy run its module and its init function: what fails there failed to load."""
        failed_to_load = False

        def on_query(question: JsonValue) -> JsonValue:
            nonlocal failed_to_load
            if question != {"failed_to_load": True}:
                raise protocol_violation("before the first tick there is nothing to ask")
            failed_to_load = True
            return None

        try:
            answer = policy.ask({"tick": -1, "start": True}, on_query)
        except PolicyError as error:
            if failed_to_load and error.failure.kind is FailureKind.RAISED:
                raise PolicyError(replace(error.failure, kind=FailureKind.LOAD)) from error
            raise
        if not isinstance(answer, dict) or answer.get("tick") != -1:
            raise protocol_violation("the first answer says that the policy has started")

    def _run(self, policy: Policy) -> None:
        heap, mode = self._heap, self.calling_mode
        tick = -1  # the last tick that is done
        awake = self.calling_mode != GUARD  # whether the next tick is a call, event or not
        while True:
            event_tick = heap[0][0] if heap else NEVER
            arrival_tick = self._arrival_tick
            call_tick = tick + 1 if awake else min(arrival_tick, self._next_alarm(tick))
            now = min(call_tick, event_tick)
            if now >= self._max_ticks:
                self._house_keeping(self._max_ticks)
                self._sweep(self._max_ticks - 1)
                return
            self._house_keeping(now)
            decision = None
            if now == call_tick:
                arrivals = self._arrive() if now == arrival_tick else ()
                decision = self._ask(policy, now, arrivals, event_tick)
                now = decision.tick
                self._house_keeping(now)
            self._asked_tick = now
            observable, exits = self._execute(now, decision)
            if exits and self._states.newly_complete:
                self._finish(now)
            self._house_keeping(now + 1)
            tick = now
            if mode == GUARD:
                awake = exits
            elif mode == FIXED_POINT:
                if decision is not None:
                    awake = not decision.sleep
                awake = awake or observable
            else:
                awake = True

    def _next_alarm(self, tick: int) -> int:
        """The next deadline of a pipeline: the policy can see it pass (fixed_point only)."""
        if self.calling_mode != FIXED_POINT:
            return NEVER
        alarms = self._alarms
        while alarms and alarms[0] <= tick:
            alarms.popleft()
        return alarms[0] if alarms else NEVER

    # -------------------------------------------------------------------------------------------------- arrivals

    def _arrive(self) -> list[JsonValue]:
        """Deliver the next batch; returns how the guest is told."""
        tick, specs = self._batches[self._next_batch]
        self._next_batch += 1
        self._arrival_tick = self._batches[self._next_batch][0] if self._next_batch < len(self._batches) else NEVER
        told: list[JsonValue] = []
        for spec in specs:
            pipeline = PipelineRun(spec, self.collector.created, len(self._owners), tick, self._max_job_ticks)
            self.collector.created += 1
            self.collector.arrivals[spec.priority] += 1
            older = self._outstanding.get(spec.id)
            if older is not None:
                pipeline.rank = older.rank
                self.collector.replaced += 1
            self._outstanding[spec.id] = pipeline
            self._owners.extend([pipeline] * len(spec.operators))
            if pipeline.deadline is not None:
                self._deadlines.append(pipeline)
                self._alarms.append(pipeline.deadline)
            estimates = self._estimator.estimate(spec) if self._estimator is not None else None
            parents = [operator.parents for operator in spec.operators]
            told.append([spec.id, _PRIORITY_CODE[spec.priority], parents, estimates])
        return told

    # ---------------------------------------------------------------------------------------------------- policy

    def _ask(self, policy: Policy, tick: int, arrivals: Sequence[JsonValue], event_tick: int) -> Decision:
        message: dict[str, Any] = {"tick": tick}
        until = tick + 1
        if self._runs_ahead and self.calling_mode != GUARD:
            until = self._quiet_until(tick, event_tick)
            if until > tick + 1:
                message["until"] = until
        self._outbox.take(message, self.pools)
        if arrivals:
            message["arrivals"] = arrivals
        self._asked_tick = tick

        def on_query(question: JsonValue) -> JsonValue:
            return self._answer(question, until)

        answer = policy.ask(message, on_query)
        decision = self._reader.read(answer, self._asked_tick, until, self.record)
        self.collector.suspensions += decision.counts[0]
        self.collector.assignments += decision.counts[1]
        return decision

    def _quiet_until(self, tick: int, event_tick: int) -> int:
        """The first tick after `tick` on which something new may be seen: what happens in the executor on a tick is
        seen on the next."""
        return min(event_tick + 1, self._arrival_tick, self._max_ticks, tick + MOST_TICKS_AHEAD)

    def _answer(self, question: JsonValue, until: int) -> JsonValue:
        """A question of the guest in the middle of a step. Raises PolicyError for a question out of turn."""
        if not isinstance(question, dict):
            raise protocol_violation("a query is an object")
        tick = question.get("raised_at", question.get("tick"))
        if type(tick) is not int or not self._asked_tick <= tick < until:
            raise protocol_violation("a query is about a tick that is not granted")
        self._asked_tick = tick
        self._house_keeping(tick)  # samples of earlier ticks, before the memory moves on
        if "raised_at" in question:
            return None
        pool = question.get("memory")
        if type(pool) is int and 0 <= pool < len(self.pools):
            active = self.pools[pool].active
            consumed = self.pools[pool].memory.up_to(tick - 1)
            steady = all(c.changes_until < tick - 1 for c in active)
            return [consumed, [c.memory_at(tick - 1) for c in active], steady]
        number = question.get("container")
        container = self._shared.containers.get(number) if type(number) is int else None
        if container is None or container.is_active:
            raise protocol_violation("a query names neither a pool nor a suspended container")
        return container.frozen_memory

    # -------------------------------------------------------------------------------------------------- executor

    def _execute(self, tick: int, decision: Decision | None) -> tuple[bool, bool]:
        """Execute one tick in every pool concerned. Returns whether anything observable happened, whether containers
        exited."""
        due: dict[int, list[tuple[int, int, int, int]]] = {}
        heap = self._heap
        while heap and heap[0][0] == tick:
            entry = heapq.heappop(heap)
            due.setdefault(entry[1], []).append(entry)
        suspensions, assignments = (decision.suspensions, decision.assignments) if decision else _NOTHING
        observable = False
        exits_before = len(self._outbox.exits)
        for number in sorted({*due, *suspensions, *assignments}):
            self.collector.stale_pools.add(number)
            observable |= self.pools[number].step(
                tick, suspensions.get(number, ()), assignments.get(number, ()), due.get(number, ())
            )
        return observable, len(self._outbox.exits) > exits_before

    def _finish(self, tick: int) -> None:
        """Record the pipelines that became complete, in the order in which they are outstanding."""
        complete = self._states.newly_complete
        for pipeline in sorted(complete, key=lambda p: p.rank):
            if self._outstanding.get(pipeline.spec.id) is pipeline:
                del self._outstanding[pipeline.spec.id]
                pipeline.finish_tick = tick
                self.collector.finished(pipeline, tick)
                self._outbox.finished.append([pipeline.number, tick])
        complete.clear()

    def _house_keeping(self, until: int) -> None:
        """Samples and the sweep of timed-out pipelines for the ticks before `until` that open a second. Not observable,
        so it may be done late, but not later than the next event."""
        while self._next_sample < until:
            tick = self._next_sample
            self._sweep(tick)
            self.collector.sample(tick, self.pools)
            self._next_sample += self._tps

    def _sweep(self, tick: int) -> None:
        while self._deadlines and self._deadlines[0].arrival_tick + self._max_job_ticks <= tick:
            pipeline = self._deadlines.popleft()
            if self._outstanding.get(pipeline.spec.id) is pipeline and pipeline.timed_out(tick):
                del self._outstanding[pipeline.spec.id]
                self.collector.timeouts[pipeline.spec.priority] += 1


def _mode_of(info: JsonValue, forced: str) -> str:
    mode = info.get("calling_mode") if isinstance(info, dict) else None
    if not isinstance(mode, str) or mode not in CALLING_MODES or (forced and mode != forced):
        raise protocol_violation("the guest names no calling mode")
    return mode
