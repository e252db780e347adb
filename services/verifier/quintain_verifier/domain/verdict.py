"""How outcomes become a verdict: scores, aggregation, stopping early."""

from __future__ import annotations

import enum
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from quintain.plugins.simulator import (
    Aggregation,
    Direction,
    FailureKind,
    Fidelity,
    Objective,
    Outcome,
    Part,
    PolicyFailure,
    ScenarioScore,
)
from quintain_verifier.domain.plan import PlannedScenario, RunPlan

TIMELINE_EVENTS = 200
# How far a policy came before these depends on the machine's speed, so it is no part of a verdict.
_MACHINE_DEPENDENT = TIME_LIMITS = (FailureKind.CPU_LIMIT, FailureKind.WALL_LIMIT)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")


class Status(enum.Enum):
    OK = "ok"
    POLICY_FAILED = "policy_failed"
    NONDETERMINISTIC = "nondeterministic"
    STOPPED_EARLY = "stopped_early"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a scenario's scores are measured with: the score of a policy that failed, and the default baseline's."""

    worst: ScenarioScore
    baseline_normalized: float


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """One scenario, run and scored."""

    outcome: Outcome
    score: ScenarioScore
    baseline_normalized: float


@dataclass(frozen=True, slots=True)
class ScenarioVerdict:
    """`outcome` is None if the scenario did not run (stopped early); its score is then the worst."""

    scenario: PlannedScenario
    outcome: Outcome | None
    score: ScenarioScore
    baseline_normalized: float

    @property
    def failure(self) -> PolicyFailure | None:
        return self.outcome.failure if self.outcome else None


@dataclass(frozen=True, slots=True)
class SectionScore:
    """Of the scenarios of one section, by the suite's aggregation; 0 the worst, 1 the bound."""

    normalized: float
    baseline_normalized: float


@dataclass(frozen=True, slots=True)
class PartScore:
    score: float
    baseline_score: float
    bound_score: float | None
    scenarios: int
    scenarios_failed: int
    normalized: float
    models: Mapping[str, float] = field(default_factory=dict)  # the score in each model alone, if there are several
    sections: Mapping[str, SectionScore] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    digest: str
    policy_digest: str
    simulator: str
    build: str
    status: Status
    objective: Objective
    aggregation: Aggregation
    direction: Direction
    train: PartScore | None
    held_out: PartScore | None
    scenarios: tuple[ScenarioVerdict, ...]
    failure: PolicyFailure | None
    seed: int
    behavior_digest: str
    determinism_checked: bool
    confirmed: bool
    other_metrics: tuple[str, ...] = ()  # of other objectives: measured, but not what this is about
    fidelity: Fidelity | None = None  # of the model that it was made in, and why it is no better
    fidelity_reason: str = ""


def canonical(outcome: Outcome, source: str) -> Outcome:
    """`outcome` without what varies from run to run (memory addresses in messages, how far a policy came before its
    time was up), and with the policy's own lines in the traceback."""
    failure = outcome.failure
    if failure is None:
        return replace(outcome, timeline=outcome.timeline[:TIMELINE_EVENTS], decision_log=(), told_log=())
    failure = replace(
        failure,
        message=_ADDRESS.sub("0x...", failure.message),
        traceback=_ADDRESS.sub("0x...", with_source_lines(failure, source)),
    )
    if failure.kind in _MACHINE_DEPENDENT:
        failure = replace(failure, step=None, time_seconds=None, line=None, traceback="")
        return Outcome(outcome.scenario, {}, (), "", outcome.calling_mode, failure)
    return replace(outcome, failure=failure, timeline=outcome.timeline[:TIMELINE_EVENTS], decision_log=(), told_log=())


def with_source_lines(failure: PolicyFailure, source: str) -> str:
    """The traceback with each frame's line of the policy below it."""
    lines = source.splitlines()
    frames = failure.traceback.splitlines() or ([f"  line {failure.line}"] if failure.line else [])
    shown: list[str] = []
    for frame in frames:
        shown.append(frame)
        found = re.search(r"\bline (\d+)\b", frame)
        if found and 1 <= int(found[1]) <= len(lines) and lines[int(found[1]) - 1].strip():
            shown.append(f"    {lines[int(found[1]) - 1].strip()[:200]}")
    return "\n".join(shown)


def assemble(plan: RunPlan, results: Mapping[str, ScenarioResult], references: Mapping[str, Reference]) -> Verdict:
    """The verdict. `results` by scenario name; a scenario without a result did not run and has a reference."""
    scenarios = tuple(_scenario_verdict(s, results, references) for s in plan.scenarios)
    failures = [s.failure for s in scenarios if s.failure is not None]
    status = _status(plan, scenarios, failures)
    scored = status is not Status.NONDETERMINISTIC
    return Verdict(
        digest=plan.digest,
        policy_digest=plan.policy_digest,
        simulator=plan.simulator,
        build=plan.build,
        status=status,
        objective=plan.objective,
        aggregation=plan.aggregation,
        direction=plan.direction,
        train=_part_score(plan, scenarios, Part.TRAIN) if scored else None,
        held_out=_part_score(plan, scenarios, Part.HELD_OUT) if scored else None,
        scenarios=scenarios,
        failure=failures[0] if failures else None,
        seed=plan.seed,
        behavior_digest=_behavior_digest(scenarios),
        determinism_checked=plan.check_determinism,
        confirmed=plan.confirm and status is Status.OK,
        other_metrics=plan.other_metrics,
        fidelity=plan.fidelity,
        fidelity_reason=plan.fidelity_reason,
    )


def first_stop(plan: RunPlan, results: Mapping[str, ScenarioResult], references: Mapping[str, Reference]) -> int | None:
    """How many scenarios of the running order are enough to know that `stop_below_score` is out of reach.

    Looks at the longest prefix of the running order that has results, and returns the shortest prefix that settles it:
    the answer does not depend on how many scenarios ran side by side. None: not settled yet, or all are needed.
    """
    if plan.stop_below_score is None:
        return None
    order = plan.running_order
    for count in range(1, len(order)):
        if order[count - 1].name not in results:
            return None
        ran = {s.name: results[s.name] for s in order[:count]}
        if _out_of_reach(plan, ran, references):
            return count
    return None


def first_time_limit(plan: RunPlan, results: Mapping[str, ScenarioResult]) -> int | None:
    """How many scenarios of the running order count, if a time limit ended the policy on one of `results`: those up to
    the first such one. Earlier ones that still run may make it fewer; later ones that ran ahead do not count. None: no
    time limit was met, or the caller wants all scenarios."""
    if plan.continue_after_time_limit:
        return None
    for count, scenario in enumerate(plan.running_order, 1):
        result = results.get(scenario.name)
        if result is not None and result.outcome.failure and result.outcome.failure.kind in TIME_LIMITS:
            return count
    return None


def _out_of_reach(plan: RunPlan, ran: Mapping[str, ScenarioResult], references: Mapping[str, Reference]) -> bool:
    assert plan.stop_below_score is not None
    maximize = plan.direction is Direction.MAXIMIZE
    hoped: list[float] = []
    below_floor: list[float] = []
    deciding = [scenario for scenario in plan.scenarios if scenario.part is plan.deciding_part]
    for scenario in deciding:
        if scenario.name in ran:
            score = ran[scenario.name].score
            hoped.append(score.normalized if plan.aggregation is Aggregation.MEAN_NORMALIZED else score.value)
            if score.broken_floors:
                below_floor.append(hoped[-1])
        elif plan.aggregation is Aggregation.MEAN_NORMALIZED:
            hoped.append(1.0)
        else:
            bound = references[scenario.name].worst.bound
            hoped.append(bound if bound is not None else math.inf if maximize else -math.inf)
    best = aggregate(
        plan.aggregation,
        worst_of([s.situation for s in deciding], hoped, maximize=maximize),
        below_floor,
        maximize=maximize,
    )
    return best < plan.stop_below_score if maximize else best > plan.stop_below_score


def worst_of(situations: Sequence[str], values: Sequence[float], *, maximize: bool = True) -> list[float]:
    """A value for each situation: of those that are one situation (in several models) the worst."""
    found: dict[str, float] = {}
    worse = min if maximize else max
    for situation, value in zip(situations, values, strict=True):
        found[situation] = worse(found.get(situation, value), value)
    return list(found.values())


def aggregate(
    aggregation: Aggregation, values: Sequence[float], below_floor: Sequence[float] = (), *, maximize: bool = True
) -> float:
    """Median of the values, or their exactly rounded mean: the order never matters. `values` is not empty.

    `below_floor`: those of the scenarios with a broken floor. A mean feels each of them, a median would not: it is at
    most as good as the worst of them, so that floors bind in every scenario.
    """
    if aggregation is Aggregation.MEAN_NORMALIZED:
        return math.fsum(values) / len(values)
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    median = low if low == high else (low + high) / 2
    return min([median, *below_floor]) if maximize else max([median, *below_floor])


def aggregate_scores(
    aggregation: Aggregation,
    direction: Direction,
    scores: Sequence[ScenarioScore],
    situations: Sequence[str] | None = None,
) -> tuple[float, float]:
    """The score of a part and the same normalised (0 the worst, 1 the bound), both by `aggregation`; `direction` is the
    score's. `situations` of the scores, of which the worst counts; None: each is one of its own."""
    if situations is None:
        situations = [str(number) for number in range(len(scores))]
    broken = [score for score in scores if score.broken_floors]
    each = worst_of(situations, [s.normalized for s in scores])
    normalized = aggregate(aggregation, each, [s.normalized for s in broken])
    if aggregation is Aggregation.MEAN_NORMALIZED:
        return normalized, normalized
    maximize = direction is Direction.MAXIMIZE
    each = worst_of(situations, [s.value for s in scores], maximize=maximize)
    return aggregate(aggregation, each, [s.value for s in broken], maximize=maximize), normalized


def _scenario_verdict(
    scenario: PlannedScenario, results: Mapping[str, ScenarioResult], references: Mapping[str, Reference]
) -> ScenarioVerdict:
    result = results.get(scenario.name)
    if result is None:
        reference = references[scenario.name]
        return ScenarioVerdict(scenario, None, reference.worst, reference.baseline_normalized)
    return ScenarioVerdict(scenario, result.outcome, result.score, result.baseline_normalized)


def _status(plan: RunPlan, scenarios: Sequence[ScenarioVerdict], failures: Sequence[PolicyFailure]) -> Status:
    if any(f.kind is FailureKind.NONDETERMINISTIC for f in failures):
        return Status.NONDETERMINISTIC
    if not plan.continue_after_time_limit and any(f.kind in TIME_LIMITS for f in failures):
        return Status.POLICY_FAILED
    if any(s.outcome is None for s in scenarios):
        return Status.STOPPED_EARLY
    return Status.POLICY_FAILED if failures else Status.OK


def _part_score(plan: RunPlan, scenarios: Sequence[ScenarioVerdict], part: Part) -> PartScore | None:
    members = [s for s in scenarios if s.scenario.part is part]
    if not members:
        return None
    mean = plan.aggregation is Aggregation.MEAN_NORMALIZED
    situations, maximize = [s.scenario.situation for s in members], plan.direction is Direction.MAXIMIZE
    score, normalized = aggregate_scores(plan.aggregation, plan.direction, [s.score for s in members], situations)
    bounds = [s.score.bound for s in members if s.score.bound is not None]
    all_bounded = len(bounds) == len(members)
    if mean:
        bound_score = 1.0 if all_bounded else None
    else:
        bound_score = (
            aggregate(plan.aggregation, worst_of(situations, bounds, maximize=maximize)) if all_bounded else None
        )
    baselines = [s.baseline_normalized if mean else s.score.baseline for s in members]
    return PartScore(
        score=score,
        baseline_score=aggregate(plan.aggregation, worst_of(situations, baselines, maximize=maximize)),
        bound_score=bound_score,
        scenarios=len(members),
        scenarios_failed=sum(s.failure is not None or s.outcome is None for s in members),
        normalized=normalized,
        models=_by_model(plan, members),
        sections=_by_section(plan, members),
    )


def _by_model(plan: RunPlan, members: Sequence[ScenarioVerdict]) -> dict[str, float]:
    """The score in each model alone; empty unless there are several."""
    names = dict.fromkeys(s.scenario.model for s in members if s.scenario.model)
    found = {}
    for name in names if len(names) > 1 else ():
        own = [s.score for s in members if s.scenario.model == name]
        found[name] = aggregate_scores(plan.aggregation, plan.direction, own)[0]
    return found


def _by_section(plan: RunPlan, members: Sequence[ScenarioVerdict]) -> dict[str, SectionScore]:
    found = {}
    for name in dict.fromkeys(s.scenario.section for s in members if s.scenario.section):
        own = [s for s in members if s.scenario.section == name]
        situations = [s.scenario.situation for s in own]
        normalized = aggregate_scores(plan.aggregation, plan.direction, [s.score for s in own], situations)[1]
        baseline = aggregate(plan.aggregation, worst_of(situations, [s.baseline_normalized for s in own]))
        found[name] = SectionScore(normalized, baseline)
    return found


def _behavior_digest(scenarios: Sequence[ScenarioVerdict]) -> str:
    digest = hashlib.sha256()
    for verdict in scenarios:
        if verdict.outcome is not None:
            digest.update(f"{verdict.scenario.digest}:{verdict.outcome.decisions_digest}\n".encode())
    return digest.hexdigest()
