"""One run of one policy on one workload: the seam between the engine and whoever judges its result."""

from __future__ import annotations

from dataclasses import dataclass

from quintain.plugins.simulator import OpenPolicy, PolicyFailure
from quintain_faas.params import Params
from quintain_faas.statistics import Statistics
from quintain_faas.workload import Workload


@dataclass(frozen=True, slots=True)
class ContainerInterval:
    """Life of a container: ticks `start_tick` to `end_tick`, both included. `priority` is the class's name as in a
    trace (``QUERY``, ...); `end_reason` is one of ``completed``, ``OOM``, ``timeout``, ``suspended``, ``running``."""

    container_id: str
    pool: int
    start_tick: int
    end_tick: int
    cpu: float
    ram_gb: float
    priority: str
    pipeline_id: str
    end_reason: str


@dataclass(frozen=True, slots=True)
class Sample:
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


@dataclass(frozen=True, slots=True)
class RunResult:
    """`decisions_digest` is the sha256 (hex) over every non-empty decision in order; it does not depend on the calling
    mode or the process. `decision_log` has the first few thousand decisions as short strings. With a `failure`,
    `stats` say how far it came; `ended_tick` is the tick at which the run stopped (the horizon if it did not fail).
    """

    stats: Statistics
    calling_mode: str
    decisions_digest: str
    decision_log: tuple[str, ...]
    failure: PolicyFailure | None
    ended_tick: int
    timeline: Timeline | None


def run(
    params: Params,
    workload: Workload,
    open_policy: OpenPolicy,
    *,
    calling_mode: str = "",
    record_timeline: bool = False,
) -> RunResult:
    """Simulate to the horizon, or until the policy fails: a PolicyError never leaves, it becomes `failure` with step and
    time. `calling_mode` is ``guard``, ``fixed_point``, ``every_tick`` or empty (the cheapest that is safe).
    Raises InvalidInput for an unknown mode and where the workload does not fit the parameters.
    """
    raise NotImplementedError
