"""What a run is worth under an objective, and why it cannot be gamed.

A run that failed has the worst value. A broken floor does not give the worst, but a capped score, so that a search has
a gradient below it: with `share` the least of reached / required over the floors,

    normalized = min(normalized as measured, share * the baseline's normalized)

and `value` is that share of the way from the worst to the baseline. `normalized` is 0 for the worst and 1 for the
bound, in a straight line or (a time that is minimised) as bound / value does. Without a bound it is relative to the
baseline: 0.5 where the value is the baseline's, towards 1 as it gets better.
"""

from __future__ import annotations

from collections.abc import Mapping

from quintain.plugins.simulator import Floor, Outcome, ScenarioScore, SimulatorFault
from quintain_system.form.formula import Formula
from quintain_system.form.spec import FloorSpec, Late, ObjectiveSpec, SystemSpec, Time


def score(
    spec: SystemSpec, objective: ObjectiveSpec, outcome: Outcome, baseline: Outcome, names: Mapping[str, float]
) -> ScenarioScore:
    """`names`: what formulas may use. Raises SimulatorFault if the baseline or a formula has no value."""
    if baseline.failure is not None:
        raise SimulatorFault(f"the baseline failed on {baseline.scenario}: {baseline.failure.message}")
    maximize = objective.direction == "maximize"
    worst = _worst(spec, objective, names)
    base = baseline.metrics.get(objective.metric, worst)
    bound = _number("bound", objective.bound, names) if objective.bound is not None else None
    if bound is not None:  # a baseline that is better than it shows that it is none; nothing may leave [0, 1]
        bound = max(bound, worst) if maximize else min(bound, worst)
    floors = tuple(found for floor in objective.floors for found in _floors(floor, outcome, baseline))
    raw = outcome.metrics.get(objective.metric)
    if outcome.failure is not None or raw is None:
        return ScenarioScore(worst, raw, 0.0, base, bound, floors)
    value = max(raw, worst) if maximize else min(raw, worst)
    share = min([1.0, *(max(0.0, f.reached) / f.required for f in floors if f.required > 0)])
    if share < 1.0:
        capped = worst + share * (base - worst)
        value = min(value, capped) if maximize else max(value, capped)
    normalized = _normalized(
        objective, worst, base, bound, value, is_time=isinstance(spec.metrics[objective.metric], Time)
    )
    return ScenarioScore(value, raw, normalized, base, bound, floors)


def _worst(spec: SystemSpec, objective: ObjectiveSpec, names: Mapping[str, float]) -> float:
    if objective.worst is not None:
        return _number("worst", objective.worst, names)
    if objective.direction == "maximize":
        return 0.0
    return 1.0 if isinstance(spec.metrics[objective.metric], Late) else names["duration"]


def _number(what: str, text: str | float, names: Mapping[str, float]) -> float:
    value = Formula(text).value(names)
    if value is None:
        raise SimulatorFault(f"the objective's {what}, {text!r}, has no value in this scenario")
    return value


def _normalized(
    objective: ObjectiveSpec, worst: float, base: float, bound: float | None, value: float, *, is_time: bool
) -> float:
    minimize = objective.direction == "minimize"
    if bound is None:
        if minimize and worst >= value >= 0 and base >= 0:
            return 0.0 if value >= worst > 0 else base / (base + value) if base + value > 0 else 1.0
        gained, reference = abs(value - worst), abs(base - worst)
        return 0.0 if gained == 0.0 else gained / (gained + reference)
    if bound == worst:
        return 1.0  # nothing could be gained here
    scale = objective.scale or ("ratio" if minimize and is_time else "linear")
    if scale == "ratio" and min(bound, value, worst) > 0:
        worst, bound, value = 1 / worst, 1 / bound, 1 / value
    return min(1.0, max(0.0, (value - worst) / (bound - worst)))


def _floors(floor: FloorSpec, outcome: Outcome, baseline: Outcome) -> list[Floor]:
    if not floor.each_class:
        required = _required(floor, baseline.metrics)
        return [] if required is None else [Floor(floor.metric, required, outcome.metrics.get(floor.metric, 0.0))]
    reached = {group.name: group.metrics for group in outcome.groups}
    found = []
    for group in baseline.groups:
        required = _required(floor, group.metrics)
        if required is not None:
            value = reached.get(group.name, {}).get(floor.metric, 0.0)
            found.append(Floor(f"{floor.metric} of {group.name}", required, value))
    return found


def _required(floor: FloorSpec, baseline: Mapping[str, float]) -> float | None:
    if floor.at_least != "baseline":
        return floor.at_least * floor.share
    value = baseline.get(floor.metric)
    return None if value is None else value * floor.share
