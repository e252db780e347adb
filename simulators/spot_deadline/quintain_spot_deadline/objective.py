"""What a policy is scored by, and why it cannot be gamed.

Both objectives are the share of what could be saved: 0 for the price of on-demand without a launch, 100 for the price
of spot all the time without one, in dollars over the mean cost of the scenario's runs.

``adrs`` is the public table's score as published. It does not look at the deadline: a run that ends late costs what it
costs. ``never_late`` does: a late run has failed. It saves nothing, and it breaks a floor (every run in time), so that
no policy with a late run scores as much as the baseline does:

    share      = runs in time / runs
    normalized = min(normalized as measured, share * the baseline's normalized)        if a run is late

The bound of both is the clairvoyant optimum of each run (`quintain_spot_deadline.optimum`), for ``never_late`` the
cheapest run that is in time. `normalized` is 0 for a score of 0 or below, and 1 for the bound.
"""

from __future__ import annotations

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
from quintain_spot_deadline.rules import Job

ADRS = Objective(
    name="adrs",
    metric="adrs_score",
    unit="",
    direction=Direction.MAXIMIZE,
    description=(
        "The public table's score: the share, in percent, of what could be saved between on-demand (0) and spot without"
        " a launch (100). Late runs are not looked at."
    ),
)
NEVER_LATE = Objective(
    name="never_late",
    metric="in_time_score",
    unit="",
    direction=Direction.MAXIMIZE,
    description=(
        "The same share, but a run that ends after its deadline has failed: it saves nothing. Floor: every run ends in"
        " time."
    ),
)
OBJECTIVES = {objective.name: objective for objective in (ADRS, NEVER_LATE)}
_ROUNDING = 1e-9  # the optimum is summed up in another order than a run's bill


def saved(job: Job, cost: float) -> float:
    """The score of one run that cost `cost` dollars: 0 as on-demand, 100 as spot, both without a launch."""
    hours = job.duration / 3600
    dearest, cheapest = job.on_demand_price * hours, job.spot_price * hours
    return 100 * (dearest - cost) / (dearest - cheapest)


def score(objective: str, outcome: Outcome, baseline: Outcome, bound: float) -> ScenarioScore:
    """`bound`: the optimum's score under the objective, in its unit. Raises InvalidInput for an unknown objective."""
    if objective not in OBJECTIVES:
        raise InvalidInput("objective", unknown(objective, OBJECTIVES))
    if baseline.failure is not None:
        raise SimulatorFault(f"the baseline failed on {baseline.scenario}: {baseline.failure.message}")
    metric = OBJECTIVES[objective].metric
    bound = max(0.0, bound) + _ROUNDING
    reference = _clipped(baseline.metrics[metric])
    raw = outcome.metrics.get(metric)
    floors = () if objective == ADRS.name else (_in_time(outcome, baseline),)
    if outcome.failure is not None or raw is None:
        return ScenarioScore(0.0, raw, 0.0, reference, bound, floors)
    value = _clipped(raw)
    for floor in floors:
        if floor.reached < floor.required:
            value = min(value, reference * floor.reached / floor.required)
    return ScenarioScore(value, raw, min(1.0, value / bound), reference, bound, floors)


def _clipped(value: float) -> float:
    return min(100.0, max(0.0, value))


def _in_time(outcome: Outcome, baseline: Outcome) -> Floor:
    runs = baseline.metrics["runs"]
    if "late_runs" not in outcome.metrics:
        return Floor("runs in time", runs, 0.0)
    return Floor("runs in time", runs, outcome.metrics["runs"] - outcome.metrics["late_runs"])
