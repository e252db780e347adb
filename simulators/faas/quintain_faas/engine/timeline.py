"""A run's timeline: everything that a picture or a slice of feedback needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class ContainerInterval(NamedTuple):
    """Life of a container: ticks `start_tick` to `end_tick`, both included. `priority` is the class's name as in a
    trace (``QUERY``, ...); `end_reason` is one of ``completed``, ``OOM``, ``timeout``, ``suspended``, ``running``;
    `operators` are positions among the pipeline's operators."""

    container_id: str
    pool: int
    start_tick: int
    end_tick: int
    cpu: float
    ram_gb: float
    priority: str
    pipeline_id: str
    end_reason: str
    operators: tuple[int, ...]


class Sample(NamedTuple):
    """The cluster after the tick that opens a simulated second. Tuples are by pool; `outstanding` counts the pipelines
    that arrived and neither finished nor timed out, by class (query, interactive, batch)."""

    tick: int
    ram_gb_allocated: tuple[float, ...]
    ram_gb_consumed: tuple[float, ...]
    cpu_allocated: tuple[float, ...]
    outstanding: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Timeline:
    ticks_per_second: int
    containers: tuple[ContainerInterval, ...]
    samples: tuple[Sample, ...]
