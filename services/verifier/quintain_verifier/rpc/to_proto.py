"""From what the use cases give to the contract's messages. Pure: equal verdicts give equal bytes."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from quintain.verifier.v1 import verifier_pb2 as pb
from quintain.wire.simulator_messages import (
    AGGREGATIONS,
    DIRECTIONS,
    FIDELITIES,
    PARTS,
    failure_message,
    floors_message,
    groups_message,
    metrics_message,
    reasons_message,
    timeline_message,
)
from quintain_verifier.domain.record import Execution
from quintain_verifier.domain.verdict import PartScore, ScenarioVerdict, Status, Verdict
from quintain_verifier.sandbox.inside.lockdown import REQUIRED
from quintain_verifier.sandbox.report import IsolationReport
from quintain_verifier.usecases.run_plan import VerificationProgress
from quintain_verifier.usecases.verify import VerifyAnswer

STATUSES = {
    Status.OK: pb.VERDICT_STATUS_OK,
    Status.POLICY_FAILED: pb.VERDICT_STATUS_POLICY_FAILED,
    Status.NONDETERMINISTIC: pb.VERDICT_STATUS_NONDETERMINISTIC,
    Status.STOPPED_EARLY: pb.VERDICT_STATUS_STOPPED_EARLY,
}


def progress_message(progress: VerificationProgress) -> pb.VerifyProgress:
    return pb.VerifyProgress(
        queue_position=progress.queue_position,
        scenarios_done=progress.scenarios_done,
        scenarios_total=progress.scenarios_total,
        scenario=progress.scenario,
        digest=progress.digest,
    )


def result_message(answer: VerifyAnswer) -> pb.VerifyResult:
    changes = [
        pb.ScenarioChange(scenario=c.scenario, value=c.value, parent_value=c.parent_value) for c in answer.changes
    ]
    return pb.VerifyResult(
        verdict=verdict_message(answer.record.verdict),
        execution=_execution(answer.record.execution, cached=answer.cached, joined=answer.joined),
        feedback=pb.Feedback(text=answer.text, changes=changes, details=answer.details),
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
        failure=failure_message(verdict.failure),
        seed=verdict.seed,
        behavior_digest=verdict.behavior_digest,
        determinism_checked=verdict.determinism_checked,
        confirmed=verdict.confirmed,
        fidelity=FIDELITIES[verdict.fidelity],
        fidelity_reason=verdict.fidelity_reason,
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
        models=metrics_message(part.models),
        sections=[
            pb.SectionScore(name=name, normalized=of.normalized, baseline_normalized=of.baseline_normalized)
            for name, of in part.sections.items()
        ],
    )


def _scenario(verdict: ScenarioVerdict) -> pb.ScenarioVerdict:
    score, outcome = verdict.score, verdict.outcome
    message = pb.ScenarioVerdict(
        scenario=verdict.scenario.name,
        scenario_digest=verdict.scenario.digest,
        part=PARTS[verdict.scenario.part],
        failure=failure_message(verdict.failure),
        ran=outcome is not None,
        value=score.value,
        raw=score.raw,
        normalized=score.normalized,
        baseline=score.baseline,
        bound=score.bound,
        floors=floors_message(score.floors),
        group=verdict.scenario.group,
        model=verdict.scenario.model,
    )
    if outcome is not None:
        message.metrics.extend(metrics_message(outcome.metrics))
        message.groups.extend(groups_message(outcome.groups))
        message.failures_by_reason.extend(reasons_message(outcome.failures_by_reason))
        message.calling_mode = outcome.calling_mode
        message.decisions_digest = outcome.decisions_digest
        message.timeline.extend(timeline_message(outcome.timeline))
        message.detail = outcome.detail
    return message


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
