"""One run of one policy on one workload: the seam between the engine and whoever judges its result."""

from __future__ import annotations

from dataclasses import dataclass

from quintain.plugins.simulator import InvalidInput, OpenPolicy, PolicyFailure
from quintain_faas.engine.loop import Simulation
from quintain_faas.engine.timeline import ContainerInterval, Sample, Timeline
from quintain_faas.params import Params
from quintain_faas.protocol import CALLING_MODES
from quintain_faas.statistics import Statistics
from quintain_faas.workload import Workload

__all__ = ["ContainerInterval", "RunResult", "Sample", "Timeline", "run"]


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
    """Simulate to the horizon, or until the policy fails: a PolicyError never leaves, it becomes `failure` with step
    and time. `calling_mode` is ``guard``, ``fixed_point``, ``every_tick`` or empty (the cheapest that is safe).
    Raises InvalidInput for an unknown mode and where the workload does not fit the parameters.
    """
    if calling_mode and calling_mode not in CALLING_MODES:
        raise InvalidInput("calling_mode", f"{calling_mode!r} is unknown; known: {', '.join(CALLING_MODES)}")
    simulation = Simulation(params, workload.batches(params), record_timeline)
    failure = simulation.run(open_policy, calling_mode)
    return RunResult(
        stats=simulation.collector.statistics(simulation.pools, simulation.ended_tick),
        calling_mode=simulation.calling_mode,
        decisions_digest=simulation.record.hexdigest(),
        decision_log=tuple(simulation.record.log),
        failure=failure,
        ended_tick=simulation.ended_tick,
        timeline=simulation.collector.timeline(simulation.pools, simulation.ended_tick),
    )
