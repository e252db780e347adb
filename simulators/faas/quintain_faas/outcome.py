"""From the engine's result to the plain data that a verdict is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from quintain.plugins.simulator import Group, OpenPolicy, Outcome, RunOptions, Scenario, TimelineEvent
from quintain_faas.objective import penalised_latency
from quintain_faas.params import Params
from quintain_faas.run import ContainerInterval, RunResult, Sample, Timeline, run
from quintain_faas.scenario import FaasScenario, spec_of, workload_of
from quintain_faas.statistics import ClassStatistics, Statistics
from quintain_faas.worst_moment import worst_moment

# A timeline holds some numbers a pool for each second. Above this it is recorded only if the caller wants it, and
# without one there is neither a worst moment nor a mean container size.
MOST_POOL_SECONDS = 1_000_000


def run_scenario(scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
    spec = spec_of(scenario)
    result = run(
        spec.params,
        workload_of(spec),
        open_policy,
        calling_mode=options.calling_mode,
        record_timeline=options.timeline or spec.params.num_pools * spec.params.duration <= MOST_POOL_SECONDS,
    )
    return outcome_of(scenario.name, spec, result, whole_timeline=options.timeline)


def outcome_of(name: str, spec: FaasScenario, result: RunResult, *, whole_timeline: bool) -> Outcome:
    events: tuple[TimelineEvent, ...] = ()
    detail = ""
    if result.timeline is not None:
        events = worst_moment(result, result.timeline, spec.params)
        if whole_timeline:
            detail = timeline_json(name, result, result.timeline, spec.params)
    return Outcome(
        scenario=name,
        metrics=_finite(_metrics(result, spec.params)),
        groups=tuple(Group(name, _finite(_class_metrics(c))) for name, c in result.stats.by_class().items()),
        decisions_digest=result.decisions_digest,
        calling_mode=result.calling_mode,
        failure=result.failure,
        failures_by_reason=dict(sorted(result.stats.failure_error_counts.items())),
        timeline=events,
        decision_log=result.decision_log,
        detail=detail,
    )


def _metrics(result: RunResult, params: Params) -> dict[str, float]:
    stats = result.stats
    query = stats.pipelines_query
    return {
        "throughput": stats.throughput,
        "penalised_latency": penalised_latency(stats, params.duration),
        "adjusted_latency": stats.adjusted_latency(),
        "containers_completed": stats.containers_completed,
        "pipelines_arrived": stats.pipelines_all.arrival_count,
        "pipelines_completed": stats.pipelines_all.completion_count,
        "pipelines_timed_out": stats.pipelines_all.timeout_count,
        "mean_latency_seconds": stats.pipelines_all.mean_latency_seconds,
        "p99_latency_seconds": stats.pipelines_all.p99_latency_seconds,
        "p99_container_seconds": stats.p99_latency,
        "assignments": stats.assignments,
        "suspensions": stats.suspensions,
        "failures": stats.failures,
        "mean_memory_allocated_percent": stats.mean_memory_allocated_percent,
        "mean_memory_consumed_percent": stats.mean_memory_consumed_percent,
        **_use(stats, result, params),
        # behavioural descriptors exist for every run: none arrived counts as all done, none started as 0
        "query_completion_share": query.completion_count / query.arrival_count if query.arrival_count else 1.0,
        "suspensions_per_assignment": stats.suspensions / max(1, stats.assignments),
        "simulated_seconds": result.ended_tick / params.ticks_per_second,
        # only where a trace used one id for two pipelines at a time
        **({"pipelines_replaced": stats.pipelines_replaced} if stats.pipelines_replaced else {}),
    }


def _use(stats: Statistics, result: RunResult, params: Params) -> dict[str, float]:
    """Percentages of the cluster up to where the run ended; waste is what was held without being used."""
    seconds = result.ended_tick / params.ticks_per_second
    cpu = params.num_pools * params.cpus_per_pool * seconds
    held = stats.ram_gb_seconds_allocated
    sizes = math.nan
    if result.timeline is not None:
        containers = result.timeline.containers
        total = math.fsum(c.ram_gb for c in containers)
        sizes = 100.0 * total / params.ram_gb_per_pool / max(1, len(containers))
    return {
        "mean_cpu_allocated_percent": 100.0 * _share(stats.cpu_seconds_allocated, cpu),
        "memory_waste_percent": 100.0 * _share(max(0.0, held - stats.ram_gb_seconds_consumed), held),
        "mean_container_ram_percent": sizes,
    }


def _class_metrics(group: ClassStatistics) -> dict[str, float]:
    return {
        "arrivals": group.arrival_count,
        "completions": group.completion_count,
        "timeouts": group.timeout_count,
        "completion_share": _share(group.completion_count, group.arrival_count),
        "mean_latency_seconds": group.mean_latency_seconds,
        "p99_latency_seconds": group.p99_latency_seconds,
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """What does not exist (NaN, infinite) is left out."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def timeline_json(name: str, result: RunResult, timeline: Timeline, params: Params) -> str:
    """The document of `Outcome.detail`: the cluster, and the timeline by columns (see `quintain_faas.picture`)."""
    document = {
        "format": 1,
        "scenario": name,
        "duration_seconds": params.duration,
        "ended_tick": result.ended_tick,
        "ticks_per_second": timeline.ticks_per_second,
        "num_pools": params.num_pools,
        "cpus_per_pool": params.cpus_per_pool,
        "ram_gb_per_pool": params.ram_gb_per_pool,
        "containers": _columns(timeline.containers),
        "samples": _columns(timeline.samples),
    }
    return json.dumps(document, separators=(",", ":"))


def _columns(rows: Sequence[ContainerInterval] | Sequence[Sample]) -> dict[str, Sequence[object]]:
    return dict(zip(rows[0]._fields, zip(*rows, strict=True), strict=True)) if rows else {}
