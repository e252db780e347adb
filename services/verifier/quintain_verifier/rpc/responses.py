"""From what the use cases give to the contract's messages. Pure: equal verdicts give equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from quintain.plugins.simulator import (
    Aggregation,
    Description,
    Direction,
    FailureKind,
    Part,
    PolicyFailure,
    Scenario,
    Suite,
)
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_verifier.domain.verdict import PartScore, ScenarioVerdict, Status, Verdict
from quintain_verifier.execution import Progress
from quintain_verifier.records import Execution
from quintain_verifier.sandbox.inside.lockdown import REQUIRED
from quintain_verifier.sandbox.report import IsolationReport
from quintain_verifier.verification import Answer

STATUSES = {
    Status.OK: pb.VERDICT_STATUS_OK,
    Status.POLICY_FAILED: pb.VERDICT_STATUS_POLICY_FAILED,
    Status.NONDETERMINISTIC: pb.VERDICT_STATUS_NONDETERMINISTIC,
    Status.STOPPED_EARLY: pb.VERDICT_STATUS_STOPPED_EARLY,
}
KINDS = {kind: pb.FailureKind.Value(f"FAILURE_KIND_{kind.name}") for kind in FailureKind}
PARTS = {Part.TRAIN: type_pb2.PART_TRAIN, Part.HELD_OUT: type_pb2.PART_HELD_OUT}
DIRECTIONS = {
    Direction.MAXIMIZE: type_pb2.DIRECTION_MAXIMIZE,
    Direction.MINIMIZE: type_pb2.DIRECTION_MINIMIZE,
}
AGGREGATIONS = {
    Aggregation.MEDIAN_VALUE: type_pb2.AGGREGATION_MEDIAN_VALUE,
    Aggregation.MEAN_NORMALIZED: type_pb2.AGGREGATION_MEAN_NORMALIZED,
}


def progress_message(progress: Progress) -> pb.VerifyProgress:
    return pb.VerifyProgress(
        queue_position=progress.queue_position,
        scenarios_done=progress.scenarios_done,
        scenarios_total=progress.scenarios_total,
        scenario=progress.scenario,
        digest=progress.digest,
    )


def result_message(answer: Answer) -> pb.VerifyResult:
    changes = [
        pb.ScenarioChange(scenario=c.scenario, value=c.value, parent_value=c.parent_value) for c in answer.changes
    ]
    return pb.VerifyResult(
        verdict=verdict_message(answer.record.verdict),
        execution=_execution(answer.record.execution, cached=answer.cached, joined=answer.joined),
        feedback=pb.Feedback(text=answer.text, changes=changes),
    )


def verdict_message(verdict: Verdict) -> pb.Verdict:
    return pb.Verdict(
        digest=verdict.digest,
        policy_digest=verdict.policy_digest,
        simulator=verdict.simulator,
        simulator_build=verdict.build,
        status=STATUSES[verdict.status],
        objective=verdict.objective.name,
        aggregation=AGGREGATIONS[verdict.aggregation],
        direction=DIRECTIONS[verdict.direction],
        train=_part(verdict.train),
        held_out=_part(verdict.held_out),
        scenarios=[_scenario(s) for s in verdict.scenarios],
        failure=_failure(verdict.failure),
        seed=verdict.seed,
        behavior_digest=verdict.behavior_digest,
        determinism_checked=verdict.determinism_checked,
        confirmed=verdict.confirmed,
    )


def _part(part: PartScore | None) -> pb.PartScore | None:
    if part is None:
        return None
    return pb.PartScore(
        score=part.score,
        baseline_score=part.baseline_score,
        bound_score=part.bound_score,
        scenarios=part.scenarios,
        scenarios_failed=part.scenarios_failed,
        normalized=part.normalized,
    )


def _scenario(verdict: ScenarioVerdict) -> pb.ScenarioVerdict:
    score, outcome = verdict.score, verdict.outcome
    message = pb.ScenarioVerdict(
        scenario=verdict.scenario.name,
        scenario_digest=verdict.scenario.digest,
        part=PARTS[verdict.scenario.part],
        failure=_failure(verdict.failure),
        ran=outcome is not None,
        value=score.value,
        raw=score.raw,
        normalized=score.normalized,
        baseline=score.baseline,
        bound=score.bound,
        floors=[pb.Floor(name=f.name, required=f.required, reached=f.reached) for f in score.floors],
    )
    if outcome is not None:
        message.metrics.extend(_metrics(outcome.metrics))
        message.groups.extend(pb.Group(name=g.name, metrics=_metrics(g.metrics)) for g in outcome.groups)
        reasons = outcome.failures_by_reason.items()
        message.failures_by_reason.extend(pb.ReasonCount(reason=reason, count=count) for reason, count in reasons)
        message.calling_mode = outcome.calling_mode
        message.decisions_digest = outcome.decisions_digest
        message.timeline.extend(pb.TimelineEvent(time_seconds=e.time_seconds, text=e.text) for e in outcome.timeline)
        message.detail = outcome.detail
    return message


def _metrics(metrics: Mapping[str, float]) -> list[type_pb2.Metric]:
    return [type_pb2.Metric(name=name, value=value) for name, value in metrics.items()]


def _failure(failure: PolicyFailure | None) -> pb.Failure | None:
    if failure is None:
        return None
    return pb.Failure(
        kind=KINDS[failure.kind],
        message=failure.message,
        rule=failure.rule,
        step=failure.step,
        time_seconds=failure.time_seconds,
        line=failure.line,
        traceback=failure.traceback,
    )


def _execution(execution: Execution, *, cached: bool, joined: bool) -> pb.Execution:
    finished = Timestamp()
    finished.FromNanoseconds(int(execution.finished_at * 1e9))
    return pb.Execution(
        cached=cached,
        joined=joined,
        finished_at=finished,
        queue_seconds=execution.queue_seconds,
        wall_seconds=execution.wall_seconds,
        policy_cpu_seconds=execution.policy_cpu_seconds,
        policy_peak_memory_bytes=execution.policy_peak_memory_bytes,
        isolation=_isolation(execution.isolation),
    )


def _isolation(report: IsolationReport) -> pb.Isolation:
    layers = [
        pb.Layer(name=name, active=active, required=name in REQUIRED, note=report.errors.get(name, ""))
        for name, active in report.layers.items()
    ]
    return pb.Isolation(
        profile=report.profile,
        layers=layers,
        landlock_abi=report.landlock_abi,
        probes=[pb.Probe(name=name, result=result) for name, result in report.probes.items()],
    )


def description_message(name: str, description: Description) -> type_pb2.SimulatorDescription:
    return type_pb2.SimulatorDescription(
        name=name,
        title=description.title,
        build=description.build,
        policy_guide=description.policy_guide,
        required_definitions=[
            type_pb2.RequiredDefinition(kind=d.kind, name=d.name, description=d.description)
            for d in description.required_definitions
        ],
        objectives=[
            type_pb2.Objective(
                name=o.name, metric=o.metric, unit=o.unit, direction=DIRECTIONS[o.direction], description=o.description
            )
            for o in description.objectives
        ],
        suites=description.suites,
        baselines=[
            type_pb2.Baseline(name=b.name, description=b.description, source=b.source) for b in description.baselines
        ],
        descriptors=[type_pb2.Descriptor(metric=d.metric, edges=d.edges) for d in description.descriptors],
        grammar=description.grammar,
        calling_modes=description.calling_modes,
    )


def suite_message(suite: Suite, scenario: Callable[[str], Scenario]) -> type_pb2.Suite:
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
            )
            for e in suite.entries
        ],
    )
