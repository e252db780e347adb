"""The data of `quintain.plugins.simulator` as the contracts' messages, and back. Lossless."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quintain.plugins.simulator import (
    Aggregation,
    Baseline,
    Description,
    Descriptor,
    Direction,
    FailureKind,
    Fidelity,
    Floor,
    Group,
    Objective,
    Outcome,
    Part,
    PolicyFailure,
    RequiredDefinition,
    Scenario,
    ScenarioScore,
    Suite,
    SuiteEntry,
    TimelineEvent,
)
from quintain.simulator.v1 import simulator_pb2
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2

KINDS = {kind: verifier_pb2.FailureKind.Value(f"FAILURE_KIND_{kind.name}") for kind in FailureKind}
MOST_NOTED = 40  # scenarios: nobody reads the notes of more
PARTS = {part: type_pb2.Part.Value(f"PART_{part.name}") for part in Part}
DIRECTIONS = {direction: type_pb2.Direction.Value(f"DIRECTION_{direction.name}") for direction in Direction}
AGGREGATIONS = {a: type_pb2.Aggregation.Value(f"AGGREGATION_{a.name}") for a in Aggregation}
FIDELITIES: Mapping[Fidelity | None, type_pb2.Fidelity.ValueType] = {
    None: type_pb2.FIDELITY_UNSPECIFIED,
    **{fidelity: type_pb2.Fidelity.Value(f"FIDELITY_{fidelity.name}") for fidelity in Fidelity},
}
_KINDS_BACK = {value: kind for kind, value in KINDS.items()}
_PARTS_BACK = {value: part for part, value in PARTS.items()}
_DIRECTIONS_BACK = {value: direction for direction, value in DIRECTIONS.items()}
_FIDELITIES_BACK = {value: fidelity for fidelity, value in FIDELITIES.items()}
_AGGREGATIONS_BACK = {value: aggregation for aggregation, value in AGGREGATIONS.items()}


def metrics_message(metrics: Mapping[str, float]) -> list[type_pb2.Metric]:
    return [type_pb2.Metric(name=name, value=value) for name, value in metrics.items()]


def failure_message(failure: PolicyFailure | None) -> verifier_pb2.Failure | None:
    if failure is None:
        return None
    return verifier_pb2.Failure(
        kind=KINDS[failure.kind],
        message=failure.message,
        rule=failure.rule,
        step=failure.step,
        time_seconds=failure.time_seconds,
        line=failure.line,
        traceback=failure.traceback,
    )


def failure_from(message: verifier_pb2.Failure) -> PolicyFailure:
    """Raises ValueError for a kind that is none."""
    if message.kind not in _KINDS_BACK:
        raise ValueError(f"failure kind {message.kind} is not one of the contract's")
    return PolicyFailure(
        kind=_KINDS_BACK[message.kind],
        message=message.message,
        rule=message.rule,
        step=message.step if message.HasField("step") else None,
        time_seconds=message.time_seconds if message.HasField("time_seconds") else None,
        line=message.line if message.HasField("line") else None,
        traceback=message.traceback,
    )


def groups_message(groups: tuple[Group, ...]) -> list[verifier_pb2.Group]:
    return [verifier_pb2.Group(name=g.name, metrics=metrics_message(g.metrics)) for g in groups]


def reasons_message(reasons: Mapping[str, int]) -> list[verifier_pb2.ReasonCount]:
    return [verifier_pb2.ReasonCount(reason=reason, count=count) for reason, count in reasons.items()]


def timeline_message(timeline: tuple[TimelineEvent, ...]) -> list[verifier_pb2.TimelineEvent]:
    return [verifier_pb2.TimelineEvent(time_seconds=e.time_seconds, text=e.text) for e in timeline]


def floors_message(floors: tuple[Floor, ...]) -> list[verifier_pb2.Floor]:
    return [verifier_pb2.Floor(name=f.name, required=f.required, reached=f.reached) for f in floors]


def outcome_message(outcome: Outcome) -> simulator_pb2.Outcome:
    return simulator_pb2.Outcome(
        scenario=outcome.scenario,
        metrics=metrics_message(outcome.metrics),
        groups=groups_message(outcome.groups),
        decisions_digest=outcome.decisions_digest,
        calling_mode=outcome.calling_mode,
        failure=failure_message(outcome.failure),
        failures_by_reason=reasons_message(outcome.failures_by_reason),
        timeline=timeline_message(outcome.timeline),
        decision_log=outcome.decision_log,
        detail=outcome.detail,
        told_log=outcome.told_log,
    )


def outcome_from(message: simulator_pb2.Outcome) -> Outcome:
    return Outcome(
        scenario=message.scenario,
        metrics={m.name: m.value for m in message.metrics},
        groups=tuple(Group(g.name, {m.name: m.value for m in g.metrics}) for g in message.groups),
        decisions_digest=message.decisions_digest,
        calling_mode=message.calling_mode,
        failure=failure_from(message.failure) if message.HasField("failure") else None,
        failures_by_reason={r.reason: r.count for r in message.failures_by_reason},
        timeline=tuple(TimelineEvent(e.time_seconds, e.text) for e in message.timeline),
        decision_log=tuple(message.decision_log),
        detail=message.detail,
        told_log=tuple(message.told_log),
    )


def score_message(score: ScenarioScore) -> simulator_pb2.ScoreResponse:
    return simulator_pb2.ScoreResponse(
        value=score.value,
        raw=score.raw,
        normalized=score.normalized,
        baseline=score.baseline,
        bound=score.bound,
        floors=floors_message(score.floors),
    )


def score_from(message: simulator_pb2.ScoreResponse) -> ScenarioScore:
    return ScenarioScore(
        value=message.value,
        raw=message.raw if message.HasField("raw") else None,
        normalized=message.normalized,
        baseline=message.baseline,
        bound=message.bound if message.HasField("bound") else None,
        floors=tuple(Floor(f.name, f.required, f.reached) for f in message.floors),
    )


def objective_message(objective: Objective) -> type_pb2.Objective:
    return type_pb2.Objective(
        name=objective.name,
        metric=objective.metric,
        unit=objective.unit,
        direction=DIRECTIONS[objective.direction],
        description=objective.description,
    )


def description_message(description: Description) -> type_pb2.SimulatorDescription:
    return type_pb2.SimulatorDescription(
        name=description.name,
        title=description.title,
        build=description.build,
        policy_guide=description.policy_guide,
        required_definitions=[
            type_pb2.RequiredDefinition(kind=d.kind, name=d.name, description=d.description)
            for d in description.required_definitions
        ],
        objectives=[objective_message(o) for o in description.objectives],
        suites=description.suites,
        baselines=[
            type_pb2.Baseline(name=b.name, description=b.description, source=b.source) for b in description.baselines
        ],
        descriptors=[type_pb2.Descriptor(metric=d.metric, edges=d.edges) for d in description.descriptors],
        grammar=description.grammar,
        calling_modes=description.calling_modes,
        hints=description.hints,
        unavailable_suites=[
            type_pb2.UnavailableSuite(name=name, reason=reason)
            for name, reason in description.unavailable_suites.items()
        ],
        fidelity=FIDELITIES[description.fidelity],
        fidelity_reason=description.fidelity_reason,
    )


def description_from(message: type_pb2.SimulatorDescription) -> Description:
    """Raises KeyError for an enum value that the contract does not have."""
    return Description(
        name=message.name,
        title=message.title,
        build=message.build,
        policy_guide=message.policy_guide,
        required_definitions=tuple(
            RequiredDefinition(d.kind, d.name, d.description) for d in message.required_definitions
        ),
        objectives=tuple(
            Objective(o.name, o.metric, o.unit, _DIRECTIONS_BACK[o.direction], o.description)
            for o in message.objectives
        ),
        suites=tuple(message.suites),
        baselines=tuple(Baseline(b.name, b.description, b.source) for b in message.baselines),
        descriptors=tuple(Descriptor(d.metric, tuple(d.edges)) for d in message.descriptors),
        grammar=message.grammar,
        calling_modes=tuple(message.calling_modes),
        hints=message.hints,
        unavailable_suites={suite.name: suite.reason for suite in message.unavailable_suites},
        fidelity=_FIDELITIES_BACK[message.fidelity],
        fidelity_reason=message.fidelity_reason,
    )


def suite_message(
    suite: Suite, scenario: Callable[[str], Scenario], notes: Callable[[Scenario], str] | None = None
) -> type_pb2.Suite:
    """`scenario` by name: the entries carry its digest and description, and those of the first MOST_NOTED
    train scenarios their `notes`."""
    noted = {e.scenario for e in [e for e in suite.entries if e.part is Part.TRAIN][:MOST_NOTED]}
    return type_pb2.Suite(
        name=suite.name,
        description=suite.description,
        objective=suite.objective,
        aggregation=AGGREGATIONS[suite.aggregation],
        entries=[
            type_pb2.SuiteEntry(
                scenario=e.scenario,
                part=PARTS[e.part],
                digest=scenario(e.scenario).digest,
                description=scenario(e.scenario).description,
                notes=notes(scenario(e.scenario)) if notes is not None and e.scenario in noted else "",
                group=e.group,
                model=e.model,
                section=e.section,
            )
            for e in suite.entries
        ],
    )


def suite_from(message: type_pb2.Suite) -> Suite:
    """Raises KeyError for an enum value that the contract does not have."""
    return Suite(
        name=message.name,
        description=message.description,
        objective=message.objective,
        aggregation=_AGGREGATIONS_BACK[message.aggregation],
        entries=tuple(
            SuiteEntry(e.scenario, _PARTS_BACK[e.part], e.group, e.model, e.section) for e in message.entries
        ),
    )
