"""Counts, samples, and the timeline if asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from quintain_faas.engine.container import Container
from quintain_faas.engine.memory import ConsumedMemory, PoolValues, exact_sum
from quintain_faas.engine.state import PipelineRun
from quintain_faas.engine.timeline import ContainerInterval, Sample, Timeline
from quintain_faas.params import Params
from quintain_faas.statistics import ClassStatistics, Statistics
from quintain_faas.workload.model import PRIORITIES


class ObservedPool(Protocol):
    """What is read of a pool: what it has, what is free, what runs in it."""

    capacity_cpu: int | float
    available_cpu: int | float
    active: list[Container]
    suspending: list[Container]
    memory: ConsumedMemory

    @property
    def allocated_ram(self) -> int | float: ...

    def is_growing_after(self, tick: int) -> bool: ...


class Collector:
    def __init__(self, params: Params, record_timeline: bool) -> None:
        self._params = params
        self._total_ram = params.num_pools * params.ram_gb_per_pool
        self.created = 0
        self.replaced = 0
        self.assignments = 0
        self.suspensions = 0
        self.failure_counts: dict[str, int] = {}
        self.arrivals = dict.fromkeys(PRIORITIES, 0)
        self.timeouts = dict.fromkeys(PRIORITIES, 0)
        self.latencies: dict[str, list[int]] = {name: [] for name in PRIORITIES}
        self._lives: list[list[int]] = [[] for _ in range(params.num_pools)]
        self._completed = 0
        self._allocated: list[float] = []
        self._consumed: list[float] = []
        self._cpu_ticks = 0.0
        self._ram_ticks = 0.0
        self._intervals: list[ContainerInterval] | None = [] if record_timeline else None
        self._samples: list[Sample] = []
        self._percents = (0.0, 0.0)  # allocated and consumed memory in the last sample
        self._by_pool: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]] = ((), (), ())
        self.stale_pools: set[int] = set()  # where the values of the last sample no longer hold
        self._consumed_by_pool = PoolValues([0.0] * params.num_pools)
        self._allocated_by_pool = PoolValues([params.ram_gb_per_pool - params.ram_gb_per_pool] * params.num_pools)

    # ------------------------------------------------------------------------------------------------ containers

    def exited(self, container: Container, tick: int) -> None:
        ticks = tick - container.start_tick + 1
        self._lives[container.pool].append(ticks)
        if container.error is None:
            self._completed += 1
        else:
            self.failure_counts[container.error] = self.failure_counts.get(container.error, 0) + 1
        self._held(container, ticks)
        self.interval(container, tick, container.error or "completed")

    def released(self, container: Container, tick: int) -> None:
        """A suspended container gave back what it held."""
        self._held(container, tick - container.start_tick + 1)

    def _held(self, container: Container, ticks: int) -> None:
        self._cpu_ticks += container.cpu * ticks
        self._ram_ticks += container.ram * ticks

    def interval(self, container: Container, end_tick: int, reason: str) -> None:
        if self._intervals is None:
            return
        pipelines = {pipeline.spec.id for pipeline, _ in container.operators}
        self._intervals.append(
            ContainerInterval(
                f"c{container.number}",
                container.pool,
                container.start_tick,
                end_tick,
                container.cpu,
                container.ram,
                PRIORITIES[container.priority - 1],
                pipelines.pop() if len(pipelines) == 1 else "multiple_pipelines",
                reason,
                tuple([position for _, position in container.operators]),
            )
        )

    # --------------------------------------------------------------------------------------------------- samples

    def sample(self, tick: int, pools: Sequence[ObservedPool]) -> None:
        """After the work of `tick`, which opens a second. What no pool changed is as in the sample before."""
        if self.stale_pools or not self._allocated:
            self._look(tick, pools)
        self._allocated.append(self._percents[0])
        self._consumed.append(self._percents[1])
        if self._intervals is not None:
            arrived, latencies, timeouts = self.arrivals, self.latencies, self.timeouts
            query, interactive, batch = [arrived[p] - len(latencies[p]) - timeouts[p] for p in PRIORITIES]
            self._samples.append(Sample(tick, *self._by_pool, (query, interactive, batch)))

    def _look(self, tick: int, pools: Sequence[ObservedPool]) -> None:
        consumed, allocated = self._consumed_by_pool, self._allocated_by_pool
        for number in list(self.stale_pools):
            pool = pools[number]
            consumed[number] = pool.memory.up_to(tick)
            allocated[number] = pool.allocated_ram
            if not pool.is_growing_after(tick):
                self.stale_pools.discard(number)
        self._percents = 100.0 * allocated.total() / self._total_ram, 100.0 * consumed.total() / self._total_ram
        if self._intervals is not None:
            cpu = tuple([pool.capacity_cpu - pool.available_cpu for pool in pools])
            self._by_pool = tuple(allocated.values), tuple(consumed.values), cpu

    # ---------------------------------------------------------------------------------------------------- result

    def timeline(self, pools: Sequence[ObservedPool], ended_tick: int) -> Timeline | None:
        if self._intervals is None:
            return None
        for pool in pools:
            for container in pool.active:
                self.interval(container, max(container.start_tick, ended_tick - 1), "running")
        return Timeline(self._params.ticks_per_second, tuple(self._intervals), tuple(self._samples))

    def finished(self, pipeline: PipelineRun, tick: int) -> None:
        self.latencies[pipeline.spec.priority].append(tick - pipeline.arrival_tick)

    def statistics(self, pools: Sequence[ObservedPool], ended_tick: int) -> Statistics:
        """Final: what is still held counts up to `ended_tick` (exclusive)."""
        for pool in pools:
            for container in pool.active + pool.suspending:
                self._held(container, max(0, ended_tick - container.start_tick))
        tps = self._params.ticks_per_second
        lives = [ticks for pool in self._lives for ticks in pool]
        everyone = [latency for name in PRIORITIES for latency in self.latencies[name]]
        return Statistics(
            pipelines_created=self.created,
            containers_completed=self._completed,
            throughput=self._completed / self._params.duration,
            p99_latency=float(np.percentile(lives, 99) / tps) if lives else float("nan"),
            assignments=self.assignments,
            suspensions=self.suspensions,
            failures=sum(self.failure_counts.values()),
            failure_error_counts=dict(self.failure_counts),
            mean_memory_allocated_percent=_mean(self._allocated),
            mean_memory_consumed_percent=_mean(self._consumed),
            pipelines_all=self._class(sum(self.arrivals.values()), sum(self.timeouts.values()), everyone),
            pipelines_query=self._priority("QUERY"),
            pipelines_interactive=self._priority("INTERACTIVE"),
            pipelines_batch=self._priority("BATCH_PIPELINE"),
            cpu_seconds_allocated=self._cpu_ticks / tps,
            ram_gb_seconds_allocated=self._ram_ticks / tps,
            ram_gb_seconds_consumed=float(exact_sum(self._consumed)) * self._total_ram / 100.0,
            pipelines_replaced=self.replaced,
        )

    def _priority(self, name: str) -> ClassStatistics:
        return self._class(self.arrivals[name], self.timeouts[name], self.latencies[name])

    def _class(self, arrived: int, timed_out: int, latencies: list[int]) -> ClassStatistics:
        if not latencies:
            return ClassStatistics(arrived, 0, timed_out, float("nan"), float("nan"))
        tps = self._params.ticks_per_second
        return ClassStatistics(
            arrived,
            len(latencies),
            timed_out,
            float(np.mean(latencies) / tps),
            float(np.percentile(latencies, 99) / tps),
            tuple(latencies),
        )


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
