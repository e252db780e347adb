"""Plain data of a workload."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_OPERATORS = 5_000_000  # of a workload
MAX_REPEATED_VISITS = 10_000

PRIORITIES = ("QUERY", "INTERACTIVE", "BATCH_PIPELINE")

TRACE_COLUMNS = (
    "pipeline_id",
    "arrival_seconds",
    "priority",
    "operator_id",
    "parents",
    "baseline_cpu_seconds",
    "cpu_scaling",
    "memory_gb",
    "storage_read_gb",
)


@dataclass(frozen=True, slots=True)
class OperatorSpec:
    """One operator and its true needs. `parents` are positions in the pipeline's operators, all earlier ones, in the
    order of the edges (a doubled edge stays doubled). `memory_gb` None: memory grows with what has been read."""

    id: str
    parents: tuple[int, ...]
    baseline_cpu_seconds: int | float
    cpu_scaling: str
    memory_gb: int | float | None
    storage_read_gb: int | float

    @property
    def peak_memory_gb(self) -> int | float:
        return self.storage_read_gb if self.memory_gb is None else self.memory_gb


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """`priority` is one of PRIORITIES. `visiting_order` are positions of the operators in topological order, in which
    an operator behind a doubled edge appears twice."""

    id: str
    arrival_seconds: float
    priority: str
    operators: tuple[OperatorSpec, ...]
    visiting_order: tuple[int, ...] = field(repr=False, compare=False)


def visiting_order(parents: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Breadth first from the roots; a child is appended whenever the last of its parents is taken off the front.

    Behind doubled edges visits multiply: raises OverflowError where they get out of hand."""
    children: list[list[int]] = [[] for _ in parents]
    for child, above in enumerate(parents):
        for parent in above:
            children[parent].append(child)
    missing = [len(set(above)) for above in parents]
    queue = [position for position, above in enumerate(parents) if not above]
    taken = bytearray(len(parents))
    most = 2 * len(parents) + MAX_REPEATED_VISITS
    for current in queue:  # grows while it is walked
        if not taken[current]:
            taken[current] = True
            for child in set(children[current]):
                missing[child] -= 1
        queue.extend(child for child in children[current] if not taken[child] and not missing[child])
        if len(queue) > most:
            raise OverflowError("doubled edges behind doubled edges")
    return tuple(queue)


def arrival_tick(arrival_seconds: float, tick_length_seconds: float, not_before: int) -> int:
    """The first tick that is not earlier than the arrival, and not before the batch ahead."""
    return max(math.ceil(arrival_seconds / tick_length_seconds), not_before)
