"""The mirror of the cluster: clock, pools, containers, executor.

`Clock.reads` counts how often a policy looked at something that changes from tick to tick; a call that read nothing of
the kind may be a fixed point (see `effects`). Memory is asked from the engine when a policy looks at it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quintain_faas.guest.objects import Assignment, Priority
from quintain_faas.guest.summation import policy_sum
from quintain_faas.protocol import SCAN_GB_PER_SECOND


class Clock:
    __slots__ = ("__dict__", "__weakref__", "_tick", "reads", "ticks_per_second")

    def __init__(self, ticks_per_second: int) -> None:
        self.ticks_per_second = ticks_per_second
        self._tick = -1
        self.reads = 0

    @property
    def _current_tick(self) -> int:
        return self.now_ticks()

    def now_ticks(self) -> int:
        self.reads += 1
        return self._tick

    def now_seconds(self) -> float:
        self.reads += 1
        return self._tick / self.ticks_per_second


class Container:
    """A container as seen from outside. `_boundary_tick` is the tick after which it may be suspended, `_end_tick` the
    last tick on which it worked."""

    __slots__ = (
        "__dict__", "__weakref__", "_boundary_tick", "_can_suspend_for_ever", "_completed", "_current_op_idx",
        "_end_tick", "_frozen_memory", "_start_tick", "_suspended_tick", "_suspension_ended", "assignment",
        "container_id", "error", "number", "pool", "suspend_ticks",
    )  # fmt: skip

    def __init__(self, number: int, assignment: Assignment, pool: Pool, tick: int) -> None:
        self.number = number
        self.container_id = f"c{number}"
        self.assignment = assignment
        self.pool = pool
        self.error: str | None = None
        self.suspend_ticks: int | None = None
        self._start_tick = tick
        self._end_tick: int | None = None
        self._boundary_tick = -2
        self._current_op_idx = 0
        self._suspended_tick = -1
        self._suspension_ended = False
        self._completed = False
        self._can_suspend_for_ever = False
        self._frozen_memory: float | None = None

    def __hash__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"<Container {self.container_id} in pool {self.pool_id}>"

    @property
    def pool_id(self) -> int:
        return self.pool.pool_id

    @property
    def priority(self) -> Priority:
        return self.assignment.priority

    @property
    def operators(self) -> list[Any]:
        return self.assignment.ops

    @property
    def ticks_per_second(self) -> int:
        return self.pool.ticks_per_second

    @property
    def tick_length_secs(self) -> float:
        return self.pool.tick_length_secs

    @property
    def _ticks_elapsed(self) -> int:
        return self.ticks_elapsed()

    def ticks_elapsed(self) -> int:
        if self._end_tick is not None:
            return self._end_tick - self._start_tick + 1
        return self.pool.clock.now_ticks() - self._start_tick

    def is_completed(self) -> bool:
        return self._completed

    @property
    def _can_suspend(self) -> bool:
        return self.can_suspend_container()

    def can_suspend_container(self) -> bool:
        if self._end_tick is not None:
            return self._can_suspend_for_ever
        return self._boundary_tick == self.pool.clock._tick - 1

    @property
    def _suspend_ticks_left(self) -> int | None:
        if self.suspend_ticks is None:
            return None
        if self._suspension_ended:
            return 0
        return self.suspend_ticks - (self.pool.clock.now_ticks() - self._suspended_tick)

    def is_suspended(self) -> bool:
        return self._suspension_ended

    @property
    def _current_memory(self) -> float:
        return self.get_current_memory_usage()

    def get_current_memory_usage(self) -> float:
        if self._completed:
            return 0.0
        return self.pool.memory_of(self)

    def get_pipeline_id(self) -> str:
        ids = {op.pipeline.pipeline_id for op in self.assignment.ops if op.pipeline and op.pipeline.pipeline_id}
        if not ids:
            return "no_pipeline"
        return ids.pop() if len(ids) == 1 else "multiple_pipelines"

    def to_dict(self) -> dict[str, Any]:
        return {
            "container_id": self.container_id,
            "pipeline_id": self.get_pipeline_id(),
            "operator_ids": [str(op.id) for op in self.assignment.ops],
            "cpu": self.assignment.cpu,
            "ram_gb": self.assignment.ram,
            "current_memory_gb": self.get_current_memory_usage(),
            "priority": self.priority.name,
        }


class Pool:
    cost = 0

    def __init__(self, pool_id: int, clock: Clock, params: dict[str, Any], query: Callable[[Any], Any]) -> None:
        self.pool_id = pool_id
        self.clock = clock
        self.ticks_per_second: int = params["ticks_per_second"]
        self.tick_length_secs: float = 1.0 / self.ticks_per_second
        self.multi_operator_containers = params["multi_operator_containers"]
        self.allow_memory_overcommit = params["allow_memory_overcommit"]
        self.max_cpu_pool = self.avail_cpu_pool = params["cpus_per_pool"]
        self.max_ram_pool = self.avail_ram_pool = params["ram_gb_per_pool"]
        self.active_containers: list[Container] = []
        self.suspending_containers: list[Container] = []
        self.suspended_containers: list[Container] = []
        self.num_completed = 0
        self.container_tick_times: list[int] = []
        self._query = query
        self._seen: tuple[float, dict[Container, float], bool] | None = None  # consumed, memory, steady
        self._seen_tick = -1
        self._true_active: list[Container] = []  # what the engine has, whatever the policy did to the list above

    @property
    def i(self) -> int:
        return max(0, self.clock.now_ticks())

    # ------------------------------------------------------------------------------------------------------ memory

    def _look(self) -> tuple[float, dict[Container, float], bool]:
        tick = self.clock._tick
        if self._seen is None or self._seen_tick != tick:
            if tick < 0:
                self._seen = (0.0, {}, True)
            else:
                consumed, memory, steady = self._query({"memory": self.pool_id, "tick": tick})
                self._seen = (consumed, dict(zip(self._true_active, memory, strict=True)), steady)
            self._seen_tick = tick
        if not self._seen[2]:
            self.clock.reads += 1
        return self._seen

    def memory_of(self, container: Container) -> float:
        if container._end_tick is None:
            return self._look()[1][container]
        if container._frozen_memory is None:
            question = {"container": container.number, "tick": self.clock._tick}
            container._frozen_memory = self._query(question)
        return container._frozen_memory

    @property
    def consumed_ram_gb(self) -> float:
        return self._look()[0]

    def get_consumed_ram_gb(self) -> float:
        return self._look()[0]

    def get_allocated_ram_gb(self) -> float:
        return self.max_ram_pool - self.avail_ram_pool  # type: ignore[no-any-return]

    # ------------------------------------------------------------------------------------------------------ lookups

    def get_container_by_id(self, container_id: str) -> Container | None:
        for container in self.active_containers:
            if container.container_id == container_id:
                return container
        return None

    def to_dict(self) -> dict[str, Any]:
        return {
            "pool_id": self.pool_id,
            "max_cpu": self.max_cpu_pool,
            "max_ram_gb": self.max_ram_pool,
            "avail_cpu": self.avail_cpu_pool,
            "avail_ram_gb": self.avail_ram_pool,
            "consumed_ram_gb": self.consumed_ram_gb,
            "active_containers": [container.to_dict() for container in self.active_containers],
            "suspending_containers": [container.to_dict() for container in self.suspending_containers],
            "suspended_containers": [container.to_dict() for container in self.suspended_containers],
        }

    # --------------------------------------------------------------------------------------- what the engine reports

    def start(self, container: Container) -> None:
        self.active_containers.append(container)
        self._true_active.append(container)

    def suspend(self, container: Container, tick: int) -> None:
        container.suspend_ticks = int(container.assignment.ram / SCAN_GB_PER_SECOND / self.tick_length_secs)
        container._suspended_tick = tick
        container._end_tick = tick - 1
        container._can_suspend_for_ever = True
        _take_out(self.active_containers, container)
        _take_out(self._true_active, container)
        self.suspending_containers.append(container)

    def release(self, container: Container) -> None:
        container._suspension_ended = True
        _take_out(self.suspending_containers, container)
        self.suspended_containers.append(container)

    def leave(self, container: Container, tick: int, error: str | None, can_suspend: bool) -> None:
        """`container` exited on `tick`."""
        container._end_tick = tick
        container._completed = True
        container._can_suspend_for_ever = can_suspend
        container.error = error
        if error is None:
            self.num_completed += 1
            container._current_op_idx += 1
        self.container_tick_times.append(tick - container._start_tick + 1)
        _take_out(self.active_containers, container)
        _take_out(self._true_active, container)


def _take_out(containers: list[Container], container: Container) -> None:
    """The list is the policy's to play with; it may have taken the container out itself."""
    if container in containers:
        containers.remove(container)


class Executor:
    def __init__(self, clock: Clock, params: dict[str, Any], query: Callable[[Any], Any]) -> None:
        self.clock = clock
        self.num_pools = params["num_pools"]
        self.cpus_per_pool = params["cpus_per_pool"]
        self.ram_gb_per_pool = params["ram_gb_per_pool"]
        self.ticks_per_second = params["ticks_per_second"]
        self.tick_length_secs = 1.0 / self.ticks_per_second
        self.pools = [Pool(pool_id, clock, params, query) for pool_id in range(self.num_pools)]

    def get_pool_id_with_max_avail_ram(self) -> int:
        best, chosen = -1, -1
        for pool_id in range(self.num_pools):
            available = self.pools[pool_id].avail_ram_pool
            if best < available:
                best, chosen = available, pool_id
        return chosen

    def num_completed(self) -> int:
        return sum(pool.num_completed for pool in self.pools)

    def container_tick_times(self) -> list[int]:
        return [ticks for pool in self.pools for ticks in pool.container_tick_times]

    def get_total_ram_gb(self) -> float:
        return self.num_pools * self.ram_gb_per_pool  # type: ignore[no-any-return]

    def get_allocated_ram_gb(self) -> float:
        return policy_sum(pool.get_allocated_ram_gb() for pool in self.pools)  # type: ignore[no-any-return]

    def get_consumed_ram_gb(self) -> float:
        return policy_sum(pool.get_consumed_ram_gb() for pool in self.pools)  # type: ignore[no-any-return]


class Scheduler:
    """What a policy gets as its first argument; it may add attributes of its own."""

    clock: Clock
    executor: Executor
    params: dict[str, Any]
    algo_name: str
    algo_func: Callable[..., Any]
