"""What is known about a run when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_WEIGHTS: Mapping[str, float] = {"query": 10, "interactive": 5, "batch": 1}


@dataclass(frozen=True, slots=True)
class ClassStatistics:
    """Pipelines of one class of work. Latencies are NaN where nothing completed.

    `latencies_ticks` are in the order of completion.
    """

    arrival_count: int
    completion_count: int
    timeout_count: int
    mean_latency_seconds: float
    p99_latency_seconds: float
    latencies_ticks: tuple[int, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Eudoxia's statistics (same names, same bits) and the cluster's use.

    `p99_latency` is a container's life in seconds, NaN if none has exited. Percentages are means over samples taken
    once per simulated second. `failure_error_counts` has the keys ``OOM`` and ``timeout`` where they happened.
    `*_seconds_allocated` integrate what containers hold (suspended ones while they still hold it);
    `ram_gb_seconds_consumed` integrates the pools' consumed totals by the once-a-second samples. `pipelines_replaced`:
    a pipeline arrived whose id an unfinished one had, so that the older one counts as neither completed nor timed out.
    """

    pipelines_created: int
    containers_completed: int
    throughput: float
    p99_latency: float
    assignments: int
    suspensions: int
    failures: int
    failure_error_counts: Mapping[str, int]
    mean_memory_allocated_percent: float
    mean_memory_consumed_percent: float
    pipelines_all: ClassStatistics
    pipelines_query: ClassStatistics
    pipelines_interactive: ClassStatistics
    pipelines_batch: ClassStatistics
    cpu_seconds_allocated: float
    ram_gb_seconds_allocated: float
    ram_gb_seconds_consumed: float
    pipelines_replaced: int = 0

    def by_class(self) -> dict[str, ClassStatistics]:
        return {
            "query": self.pipelines_query,
            "interactive": self.pipelines_interactive,
            "batch": self.pipelines_batch,
        }

    def adjusted_latency(
        self,
        weights: Mapping[str, float] | None = None,
        divide_by_completion_rate: bool = True,
        unfinished_penalty_seconds: float | None = None,
    ) -> float:
        """Weighted mean latency in seconds, corrected for what did not finish in one of two ways: divided by the share
        of completed pipelines, or with a penalty for each unfinished one. `weights` by class name; a missing weight
        is 1. Infinite when nothing completed and there is no penalty. Raises ValueError if both ways are asked for.
        """
        if divide_by_completion_rate and unfinished_penalty_seconds is not None:
            raise ValueError("divide_by_completion_rate and unfinished_penalty_seconds exclude each other")
        if self.pipelines_all.completion_count == 0 and unfinished_penalty_seconds is None:
            return math.inf
        chosen = DEFAULT_WEIGHTS if weights is None else weights
        numerator = denominator = 0.0
        for name, group in self.by_class().items():
            weight = chosen.get(name, 1)
            if group.completion_count > 0:
                completed = weight * group.completion_count
                numerator += completed * group.mean_latency_seconds
                denominator += completed
            unfinished = group.arrival_count - group.completion_count
            if unfinished_penalty_seconds is not None and unfinished > 0:
                numerator += (weight * unfinished) * unfinished_penalty_seconds
                denominator += weight * unfinished
        if denominator == 0:
            return math.inf
        result = numerator / denominator
        if divide_by_completion_rate:
            result = result / (self.pipelines_all.completion_count / self.pipelines_all.arrival_count)
        return result
