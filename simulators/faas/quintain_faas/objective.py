"""What a policy is scored by, and why it cannot be gamed.

Throughput alone is won by starving every query, latency by dropping slow work (both measured), so both objectives have
*floors*: in no class may a policy complete fewer pipelines than the default baseline completes in the same scenario.
A search still needs a gradient below a floor, so a broken floor does not give the worst score but a capped one:

    share      = min over classes with a floor of reached / required, at most 1
    normalized = min(normalized as measured, share * the baseline's normalized)        if a floor is broken

and `value` is that share of the way in the metric's own unit. Every step towards the floor pays, yet no policy with
a broken floor scores as much as the baseline does.

`normalized` is 0 for the worst and 1 for the provable bound:

    throughput          value / bound                  worst: nothing completed, 0
    penalised latency   (P - value) / (P - bound)      worst: nothing completed, P = the scenario's duration

A run that failed has the worst value, however far it came. `adjusted_latency` is Eudoxia's own metric, as it is:
without floors, to compare with figures published for it; dropping work improves it, so no suite uses it.
"""

from __future__ import annotations

from collections.abc import Mapping

from quintain.plugins.naming import unknown
from quintain.plugins.simulator import (
    Direction,
    Floor,
    InvalidInput,
    Objective,
    Outcome,
    ScenarioScore,
    SimulatorFault,
)
from quintain_faas.statistics import DEFAULT_WEIGHTS, Statistics

CLASSES = ("query", "interactive", "batch")
CLASS_OF_PRIORITY: Mapping[str, str] = {"QUERY": "query", "INTERACTIVE": "interactive", "BATCH_PIPELINE": "batch"}
WEIGHTS = DEFAULT_WEIGHTS

THROUGHPUT = Objective(
    name="throughput",
    metric="throughput",
    unit="containers/s",
    direction=Direction.MAXIMIZE,
    description=(
        "Completed containers per second of simulated time. Floors: no class (query, interactive, batch) may complete "
        "fewer pipelines than the FIFO baseline completes in the same scenario."
    ),
)
PENALISED_LATENCY = Objective(
    name="penalised_latency",
    metric="penalised_latency",
    unit="s",
    direction=Direction.MINIMIZE,
    description=(
        "Mean latency of all pipelines that arrived, weighted by class (query 10, interactive 5, batch 1). A pipeline "
        "that did not complete (unfinished, dropped or timed out) counts with the scenario's whole duration. Floors: "
        "no class may complete fewer pipelines than the FIFO baseline completes in the same scenario."
    ),
)
ADJUSTED_LATENCY = Objective(
    name="adjusted_latency",
    metric="adjusted_latency",
    unit="s",
    direction=Direction.MINIMIZE,
    description=(
        "Eudoxia's own metric, for comparison only: mean latency of the completed pipelines, weighted by class (query "
        "10, interactive 5, batch 1), divided by the share completed. It has no floors and rewards dropping slow work."
    ),
)
OBJECTIVES: Mapping[str, Objective] = {o.name: o for o in (THROUGHPUT, PENALISED_LATENCY, ADJUSTED_LATENCY)}


def penalised_latency(statistics: Statistics, penalty_seconds: float) -> float:
    """Seconds. 0.0 if nothing arrived."""
    if statistics.pipelines_all.arrival_count == 0:
        return 0.0
    return statistics.adjusted_latency(divide_by_completion_rate=False, unfinished_penalty_seconds=penalty_seconds)


def score(
    objective: str, outcome: Outcome, baseline: Outcome, *, duration: float, bounds: Mapping[str, float]
) -> ScenarioScore:
    """`bounds` by objective: containers/s that cannot be exceeded, seconds that cannot be undercut."""
    if objective not in OBJECTIVES:
        raise InvalidInput("objective", unknown(objective, OBJECTIVES))
    if baseline.failure is not None:
        raise SimulatorFault(f"the baseline failed on {baseline.scenario}: {baseline.failure.message}")
    metric = OBJECTIVES[objective].metric
    raw = outcome.metrics.get(metric)
    if objective == "adjusted_latency":
        return _compared(outcome, baseline, raw, duration)
    bound = bounds[objective]
    worst = 0.0 if objective == "throughput" else duration
    base = baseline.metrics[metric]
    floors = completion_floors(outcome, baseline)
    if outcome.failure is not None or raw is None:
        return ScenarioScore(worst, raw, 0.0, base, bound, floors)
    value = raw
    share = floor_share(floors)
    if share < 1.0:
        capped = worst + share * (base - worst)
        value = min(raw, capped) if objective == "throughput" else max(raw, capped)
    return ScenarioScore(value, raw, _between(worst, bound, value), base, bound, floors)


def completion_floors(outcome: Outcome, baseline: Outcome) -> tuple[Floor, ...]:
    reached = {group.name: group.metrics["completions"] for group in outcome.groups}
    required = {group.name: group.metrics["completions"] for group in baseline.groups}
    return tuple(Floor(f"{name} pipelines completed", required[name], reached.get(name, 0.0)) for name in CLASSES)


def floor_share(floors: tuple[Floor, ...]) -> float:
    """How much of the worst floor was reached, at most 1 (no floor broken)."""
    return min([1.0, *(f.reached / f.required for f in floors if f.required > 0)])


def _between(worst: float, bound: float, value: float) -> float:
    """Where `value` lies on the way from the worst (0) to the bound (1)."""
    if bound == worst:
        return 1.0  # nothing could be gained here
    return min(1.0, max(0.0, (value - worst) / (bound - worst)))


def _compared(outcome: Outcome, baseline: Outcome, raw: float | None, duration: float) -> ScenarioScore:
    """Eudoxia's adjusted latency has no bound; `normalized` is 0.5 at the baseline, towards 1 as the value falls.

    Its worst finite value, used where nothing completed or the run failed: one completion, as late as can be.
    """
    arrivals = sum(group.metrics["arrivals"] for group in baseline.groups)
    worst = duration * max(arrivals, 1.0)
    base = baseline.metrics.get("adjusted_latency", worst)
    failed = outcome.failure is not None or raw is None
    value = worst if failed or raw is None else raw
    normalized = 0.0 if failed else base / (base + value) if base + value > 0 else 1.0
    return ScenarioScore(value, raw, normalized, base, None)
