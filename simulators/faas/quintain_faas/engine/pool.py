"""One pool of resources: what happens in it on one tick, in Eudoxia's order.

Per tick: suspensions, assignments, ends of suspensions, work of the containers, memory killer, time killer, exits. A
tick is executed only if something can happen on it; between such ticks memory merely grows, which `memory` replays.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from quintain.plugins.simulator import PolicyError
from quintain_faas.engine.collector import Collector
from quintain_faas.engine.container import COMPLETES, OUTGROWS, STARTS, Container, Timings
from quintain_faas.engine.curve import ReadingCurve
from quintain_faas.engine.decisions import NewContainer
from quintain_faas.engine.memory import ConsumedMemory
from quintain_faas.engine.outbox import Outbox
from quintain_faas.engine.rules import rejected
from quintain_faas.engine.state import OperatorStates
from quintain_faas.params import Params
from quintain_faas.protocol import (
    COMPLETED,
    FAILED,
    OOM,
    PENDING,
    RUNNING,
    SCAN_GB_PER_SECOND,
    SUSPENDING,
    TIMEOUT,
)

# Kinds of heap entries (tick, pool, container, kind). The order of the kinds does not matter: a pool sorts them out.
OPERATOR_EVENT, DEADLINE, SUSPENSION_ENDS, MEMORY_CHECK = range(4)
NO_CONTAINER = -1

# How near (relatively) a bound may come to the capacity before totals are followed exactly. Far above rounding errors.
MARGIN = 1e-6
# Of a pool's capacity: an excess so small comes from adding fractions, not from wanting more.
ROUNDING = 1e-9


@dataclass(slots=True)
class Shared:
    """What all pools of a run share."""

    params: Params
    heap: list[tuple[int, int, int, int]]
    containers: dict[int, Container]
    states: OperatorStates
    outbox: Outbox
    collector: Collector
    timings: Timings
    curve: ReadingCurve
    last_number: int = 0


class Pool:
    def __init__(self, number: int, shared: Shared) -> None:
        params = shared.params
        self.number = number
        self._shared = shared
        self._heap = shared.heap
        self._states = shared.states
        self.capacity_ram = params.ram_gb_per_pool
        self.capacity_cpu = params.cpus_per_pool
        self.available_cpu: int | float = params.cpus_per_pool
        self.available_ram: int | float = params.ram_gb_per_pool
        self.active: list[Container] = []
        self.suspending: list[Container] = []
        self.memory = ConsumedMemory(self.active, shared.curve)
        self._bound = 0.0  # on the memory of the active containers
        self._ghost = 0.0  # memory of suspended containers that the total still holds
        self._safe = self.capacity_ram * (1 - MARGIN)
        self._check_tick = -1  # of the one memory check that counts; others on the heap are stale

    @property
    def allocated_ram(self) -> int | float:
        return self.capacity_ram - self.available_ram

    def is_growing_after(self, tick: int) -> bool:
        """Whether memory still changes after `tick` without an event."""
        for container in self.active:  # noqa: SIM110 - asked for every second of every pool
            if container.changes_until > tick:
                return True
        return False

    def step(
        self,
        tick: int,
        suspensions: Sequence[int | str],
        assignments: Sequence[NewContainer],
        due: Sequence[tuple[int, int, int, int]],
    ) -> bool:
        """Execute one tick; `due` are this pool's heap entries. Returns whether anything observable happened. Raises
        PolicyError for a decision that breaks a rule."""
        containers = self._shared.containers
        working: list[Container] = []
        released: list[Container] = []
        deadlines: list[Container] = []
        stale_check = bool(due) and due[-1][3] == MEMORY_CHECK and tick != self._check_tick  # nothing sorts before it
        if stale_check and not suspensions and not assignments:
            return False
        if suspensions:
            released += self._suspend(tick, suspensions)
        fresh = self._assign(tick, assignments) if assignments else []
        for _, _, number, kind in due:
            container = containers.get(number)
            if container is None:
                continue
            if kind == OPERATOR_EVENT and container.is_active and container.event_tick == tick:
                working.append(container)
            elif kind == DEADLINE and container.is_active:
                deadlines.append(container)
            elif kind == SUSPENSION_ENDS:
                released.append(container)
        if released:
            self._release(tick, released)
        working += fresh
        ended, outgrown = self._work(tick, working) if working else ([], [])
        tight = self._bound + self._ghost > self._safe
        if tight:
            self._kill_exactly(tick, outgrown, ended)
        else:
            for container in outgrown:
                self._kill(container, OOM, tick, ended, outgrew=True)
        if fresh and self._shared.params.max_job_ticks > 0:
            deadlines += fresh
        if deadlines:
            self._kill_late(tick, deadlines, ended)
        if ended:
            self._leave(tick, ended)
        if tight or self._bound + self._ghost > self._safe:
            self._plan_check(tick)
        return bool(suspensions or working or released or ended)

    # ------------------------------------------------------------------------------------------------- decisions

    def _suspend(self, tick: int, suspensions: Sequence[int | str]) -> list[Container]:
        """Returns the containers whose suspension ends on this very tick."""
        chosen: list[Container] = []
        for number in suspensions:
            container = self._shared.containers.get(number) if isinstance(number, int) else None
            if container is None or not container.is_active or container.pool != self.number:
                name = f"c{number}" if isinstance(number, int) else number
                raise rejected("unknown_container", f"suspension of {name!r} in pool {self.number}")
            if container.boundary_tick != tick - 1:
                raise rejected("container_not_suspendable", f"suspension of c{number} in pool {self.number}")
            chosen.append(container)
        self.memory.up_to(tick - 1)
        released = []
        for container in chosen:
            if not container.is_active:
                raise rejected("container_suspended_twice", f"suspension of c{container.number}")
            ticks = int(container.ram / SCAN_GB_PER_SECOND / self._shared.params.tick_length_seconds)
            for operator in container.operators[container.completed :]:
                self._states.move(operator, SUSPENDING)
            container.frozen_memory = container.memory_at(tick - 1)
            container.is_active = False
            self.active.remove(container)
            self.suspending.append(container)
            self._ghost += max(container.frozen_memory, 0.0)
            self._bound -= container.most_memory
            self._shared.collector.interval(container, tick - 1, "suspended")
            if ticks == 1:
                released.append(container)
            elif ticks > 1:
                heapq.heappush(self._heap, (tick + ticks - 1, self.number, container.number, SUSPENSION_ENDS))
        return released

    def _assign(self, tick: int, assignments: Sequence[NewContainer]) -> list[Container]:
        cpu: int | float = 0
        ram: int | float = 0
        for assignment in assignments:
            cpu += assignment.cpu
            ram += assignment.ram
        params = self._shared.params
        if cpu > self.available_cpu:
            raise self._over_allocated("over_allocated_cpu", "cpus", cpu, self.available_cpu)
        if ram > self.available_ram and not params.allow_memory_overcommit:
            raise self._over_allocated("over_allocated_ram", "GB", ram, self.available_ram)
        fresh = []
        for assignment in assignments:
            if not params.multi_operator_containers and len(assignment.operators) != 1:
                raise rejected("one_operator_per_container", f"{len(assignment.operators)} operators in an assignment")
            self._shared.last_number += 1
            container = Container(
                self._shared.last_number,
                self.number,
                assignment.operators,
                assignment.cpu,
                assignment.ram,
                assignment.priority,
                tick,
                self._shared.curve,
            )
            self.available_cpu -= assignment.cpu
            self.available_ram -= assignment.ram
            self._shared.containers[container.number] = container
            self.active.append(container)
            fresh.append(container)
        self._shared.outbox.changed_pools.add(self.number)
        return fresh

    def _over_allocated(self, rule: str, unit: str, assigned: int | float, available: int | float) -> PolicyError:
        message = f"pool {self.number}: {assigned} {unit} assigned, {available} available"
        capacity = self.capacity_cpu if unit == "cpus" else self.capacity_ram
        if assigned - available <= ROUNDING * capacity:
            message += (
                f". Only rounding parts them: fractions of {unit} were added or taken off one by one; assign whole "
                "numbers, or round down"
            )
        return rejected(rule, message)

    def _release(self, tick: int, released: list[Container]) -> None:
        """Ends of suspensions, in the order in which they were suspended."""
        for container in [c for c in self.suspending if c in released]:
            for operator in container.operators[container.completed :]:
                self._states.move(operator, PENDING)
            self.available_cpu += container.cpu
            self.available_ram += container.ram
            self.suspending.remove(container)
            self._shared.outbox.released.append(container.number)
            self._shared.collector.released(container, tick)
        self._shared.outbox.changed_pools.add(self.number)

    # ------------------------------------------------------------------------------------------------------ work

    def _work(self, tick: int, working: list[Container]) -> tuple[list[Container], list[Container]]:
        """Advance the containers with an event, in list order. Returns those that completed, those that outgrew."""
        completed: list[Container] = []
        outgrown: list[Container] = []
        for container in working:
            if container.event == STARTS:
                self._start_operator(container, tick)
            if container.event_tick > tick:
                heapq.heappush(self._heap, (container.event_tick, self.number, container.number, OPERATOR_EVENT))
            elif container.event == COMPLETES:
                self._states.move(container.operators[container.current], COMPLETED)
                container.completed += 1
                container.current += 1
                if container.current == len(container.operators):
                    container.is_done = True
                    completed.append(container)
                else:
                    container.boundary_tick = tick
                    container.event = STARTS
                    container.event_tick = tick + 1
                    self._shared.outbox.boundaries.append([container.number, container.completed, tick])
                    heapq.heappush(self._heap, (tick + 1, self.number, container.number, OPERATOR_EVENT))
            elif container.event == OUTGROWS:
                outgrown.append(container)
        return completed, outgrown

    def _start_operator(self, container: Container, tick: int) -> None:
        """Start the current operator; one that takes no tick stays running for ever and the next starts at once."""
        if container.current and container.changes_until > self.memory.known_tick:
            self.memory.up_to(tick - 1)  # while the container still knows the memory of the operator before
        while container.current < len(container.operators):
            pipeline, position = operator = container.operators[container.current]
            self._states.move(operator, RUNNING)
            needs = pipeline.spec.operators[position]
            timing = self._shared.timings.of(needs, container.cpu, container.ram)
            if timing.ticks > 0:
                self._bound += timing.most_memory - container.most_memory
                container.begin(tick, needs, timing)
                return
            container.current += 1
        raise rejected("operator_takes_no_tick", f"c{container.number} with {container.cpu} cpus")

    # --------------------------------------------------------------------------------------------------- killers

    def _kill(self, container: Container, error: str, tick: int, ended: list[Container], outgrew: bool = False) -> None:
        for operator in container.operators[container.completed :]:
            self._states.move(operator, FAILED)
        container.error = error
        container.is_done = True
        if not container.may_be_suspended_after(tick, outgrew):
            container.boundary_tick = -2
        elif outgrew:
            container.boundary_tick = tick
        ended.append(container)

    def _kill_exactly(self, tick: int, outgrown: list[Container], ended: list[Container]) -> None:
        """The memory killer on a tick on which the total may exceed the capacity: follow it step by step."""
        total = self.memory.up_to(tick - 1)
        for container in self.active:
            if container.changes_until >= tick or container.is_done:
                memory = container.memory_at(tick)
                total += memory - (container.memory_at(tick - 1) if container.start_tick < tick else 0.0)
                if container.is_done:
                    total += 0.0 - memory
        for container in outgrown:
            total += 0.0 - container.memory_at(tick)
            self._kill(container, OOM, tick, ended, outgrew=True)
        if total > self.capacity_ram:
            scored = []
            for container in self.active:
                memory = container.memory_at(tick)
                if not container.is_done and memory > 0:
                    scored.append((memory * (memory / container.ram), memory, container))
            scored.sort(key=lambda item: item[0], reverse=True)
            for _, memory, container in scored:
                if total <= self.capacity_ram:
                    break
                total += 0.0 - memory
                self._kill(container, OOM, tick, ended)
        self.memory.set(tick, total)

    def _kill_late(self, tick: int, candidates: list[Container], ended: list[Container]) -> None:
        """The time killer: containers that hold an operator of a pipeline past its deadline."""
        for container in sorted(candidates, key=_by_number):
            if container.is_done:
                continue
            pipelines = [pipeline for pipeline, _ in container.operators]
            if any(pipeline.timed_out(tick) for pipeline in pipelines):
                self._kill(container, TIMEOUT, tick, ended)
                continue
            later = [p.deadline for p in pipelines if p.deadline is not None and p.deadline > tick]
            if later:
                heapq.heappush(self._heap, (min(later), self.number, container.number, DEADLINE))

    def _plan_check(self, tick: int) -> None:
        """Look again on the first tick on which the total could exceed the capacity, if no event comes first."""
        self._check_tick = -1
        growing = sum(1 for c in self.active if c.changes_until > tick)
        if not growing:
            return
        room = self._safe - self.memory.up_to(tick)
        per_tick = growing * self._shared.curve.at(0) * (1 + MARGIN)
        check = tick + max(1, int(room / per_tick))
        if check < min(c.event_tick for c in self.active):
            self._check_tick = check
            heapq.heappush(self._heap, (check, self.number, NO_CONTAINER, MEMORY_CHECK))

    # ----------------------------------------------------------------------------------------------------- exits

    def _leave(self, tick: int, ended: list[Container]) -> None:
        ended.sort(key=_by_number)
        outbox = self._shared.outbox
        for container in ended:
            self.available_cpu += container.cpu
            self.available_ram += container.ram
            container.is_active = False
            self._bound -= container.most_memory
            outbox.exits.append([container.number, container.error, container.boundary_tick == tick])
            self._shared.collector.exited(container, tick)
            self.active.remove(container)
            del self._shared.containers[container.number]
        outbox.changed_pools.add(self.number)
        self._ghost = 0.0
        if not self.active:
            self._bound = 0.0
        self.memory.recompute_at(tick)


def _by_number(container: Container) -> int:
    return container.number
