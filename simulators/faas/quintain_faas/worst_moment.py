"""The slice of a timeline that says most: around the failure, or where the most important queue was longest."""

from __future__ import annotations

import math

from quintain.plugins.simulator import TimelineEvent
from quintain_faas.objective import CLASSES
from quintain_faas.params import Params
from quintain_faas.run import ContainerInterval, RunResult, Sample, Timeline

MOST_EVENTS = 24
WINDOW_SECONDS = 5.0


def worst_moment(result: RunResult, timeline: Timeline, params: Params) -> tuple[TimelineEvent, ...]:
    """Events in order of time, at most `MOST_EVENTS` plus the state of the cluster; empty if nothing ever waited."""
    tick = _worst_tick(result, timeline)
    if tick is None:
        return ()
    window = WINDOW_SECONDS * params.ticks_per_second
    near: list[tuple[int, int, str]] = []  # tick, number (starts before ends), text
    for container in timeline.containers:
        if abs(container.start_tick - tick) <= window:
            near.append((container.start_tick, len(near), _started(container)))
        if abs(container.end_tick - tick) <= window and container.end_reason != "running":
            near.append((container.end_tick, len(near), _ended(container, params)))
    near.sort(key=lambda event: (abs(event[0] - tick), event))
    chosen = near[:MOST_EVENTS]
    sample = max((s for s in timeline.samples if s.tick <= tick), key=lambda s: s.tick, default=None)
    if sample is not None:
        chosen.append((sample.tick, -1, _state(sample, params)))
    return tuple(TimelineEvent(at / params.ticks_per_second, text) for at, _, text in sorted(chosen))


def _worst_tick(result: RunResult, timeline: Timeline) -> int | None:
    if result.failure is not None:
        return result.ended_tick
    for position in range(len(CLASSES)):
        worst = max(timeline.samples, key=lambda s: s.outstanding[position], default=None)
        if worst is not None and worst.outstanding[position] > 0:
            return worst.tick
    return None


def _state(sample: Sample, params: Params) -> str:
    waiting = ", ".join(f"{n} {name}" for n, name in zip(sample.outstanding, CLASSES, strict=True))
    memory = params.num_pools * params.ram_gb_per_pool
    return (
        f"outstanding pipelines: {waiting}; memory held {math.fsum(sample.ram_gb_allocated):.0f} and used "
        f"{math.fsum(sample.ram_gb_consumed):.0f} of {memory:g} GB; CPUs held {math.fsum(sample.cpu_allocated):.0f} of "
        f"{params.num_pools * params.cpus_per_pool:g}"
    )


def _started(container: ContainerInterval) -> str:
    return (
        f"{container.container_id} starts in pool {container.pool}: {container.priority} {container.pipeline_id}, "
        f"{container.cpu:g} CPU, {container.ram_gb:g} GB"
    )


def _ended(container: ContainerInterval, params: Params) -> str:
    lived = (container.end_tick - container.start_tick + 1) / params.ticks_per_second
    return (
        f"{container.container_id} {container.end_reason} after {lived:g} s: {container.priority} "
        f"{container.pipeline_id}, {container.ram_gb:g} GB"
    )
