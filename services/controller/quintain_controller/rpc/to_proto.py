"""What the use cases give into messages of the contract."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import json_format, struct_pb2, timestamp_pb2

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain.wording import enum_name
from quintain_controller.domain import events
from quintain_controller.domain.estimate import Estimate
from quintain_controller.domain.model import (
    NANO,
    AgentOptions,
    Budget,
    Candidate,
    Gate,
    Prediction,
    SearchSpec,
    SearchState,
    Spend,
    StopRules,
    ToolUse,
    candidate_id,
)
from quintain_controller.domain.notebook import lesson, outcome_of
from quintain_controller.domain.records import CandidateRecord, SearchRecord, UnreadableSearch
from quintain_controller.mapping import OPERATORS, encode_limits
from quintain_controller.usecases.replay import ReplayReport

# ------------------------------------------------------------------------------------------------------------ outwards


def encode_budget(budget: Budget) -> pb.Budget:
    return pb.Budget(
        usd=None if budget.usd_nano is None else budget.usd_nano / NANO,
        tokens=budget.tokens,
        candidates=budget.candidates,
        verifications=budget.verifications,
        wall_seconds=budget.wall_seconds,
        tool_seconds=budget.tool_seconds,
    )


def encode_spend(spend: Spend) -> pb.Spend:
    return pb.Spend(
        usd=spend.usd_nano / NANO,
        reserved_usd=spend.reserved_usd_nano / NANO,
        at_risk_usd=spend.at_risk_usd_nano / NANO,
        tokens=spend.tokens,
        reserved_tokens=spend.reserved_tokens,
        candidates=spend.candidates,
        verifications=spend.verifications,
        wall_seconds=spend.wall_seconds,
        unpriced_generations=spend.unpriced_generations,
        tool_runs=spend.tool_runs,
        reserved_tool_runs=spend.reserved_tool_runs,
        tool_seconds=spend.tool_seconds,
        reserved_tool_seconds=spend.reserved_tool_seconds,
    )


def encode_spec(spec: SearchSpec) -> pb.SearchSpec:
    options, roles = struct_pb2.Struct(), spec.backend_roles
    json_format.ParseDict(dict(spec.strategy_options), options)
    return pb.SearchSpec(
        simulator=spec.simulator,
        suite=spec.suite,
        objective=spec.objective,
        strategy=spec.strategy,
        strategy_options=options,
        backends=spec.backends,
        budget=encode_budget(spec.budget),
        seed=spec.seed,
        seed_policies=[type_pb2.Policy(source=source) for source in spec.seed_policies],
        parallel_generations=spec.parallel_generations,
        parallel_verifications=spec.parallel_verifications,
        limits=encode_limits(spec.limits),
        assume_usd_per_generation=None if spec.assume_usd_nano is None else spec.assume_usd_nano / NANO,
        title=spec.title,
        winner_rule=pb.WinnerRule.ValueType(spec.winner_rule),
        further_objectives=spec.further_objectives,
        stop=_encode_stop(spec.stop),
        backend_roles={name: pb.BackendRole.Value(f"BACKEND_ROLE_{role.upper()}") for name, role in roles.items()},
        suite_files=verifier_pb2.SuiteFiles(digest=spec.suite_digest) if spec.suite_digest else None,
        hints=spec.hints,
        carried_lessons=spec.carried_lessons,
        agent=None if spec.agent is None else _encode_agent(spec.agent),
        allowance=generator_pb2.Allowance(
            max_output_tokens=spec.allowance.max_output_tokens,
            max_cost_usd=spec.allowance.max_cost_usd,
            effort=spec.allowance.effort,
        ),
    )


def _encode_agent(agent: AgentOptions) -> pb.AgentOptions:
    return pb.AgentOptions(max_turns=agent.max_turns, max_runs=agent.max_runs, max_seconds=agent.max_seconds)


def _encode_stop(rules: StopRules) -> pb.StopRules | None:
    if rules == StopRules():
        return None
    return pb.StopRules(
        near_bound=rules.near_bound,
        score=rules.score,
        candidates_without_improvement=rules.candidates_without_improvement,
    )


def encode_summary(search_id: str, candidate: Candidate) -> pb.CandidateSummary:
    plan, train, held_out, charge = candidate.plan, candidate.train, candidate.held_out, candidate.booked
    return pb.CandidateSummary(
        candidate_id=candidate_id(search_id, candidate.number),
        search_id=search_id,
        number=candidate.number,
        state=pb.CandidateState.ValueType(candidate.state),
        parent_ids=[candidate_id(search_id, parent) for parent in plan.parents] if plan else [],
        backend=plan.backend if plan else "",
        operator=OPERATORS[plan.operator] if plan else generator_pb2.OPERATOR_UNSPECIFIED,
        generation_outcome=generator_pb2.Outcome.ValueType(candidate.outcome),
        verdict_status=verifier_pb2.VerdictStatus.ValueType(candidate.status),
        score=train.score if train else None,
        baseline_score=train.baseline_score if train else None,
        bound_score=train.bound_score if train else None,
        normalized=train.normalized if train else None,
        held_out_score=held_out.score if held_out else None,
        held_out_baseline_score=held_out.baseline_score if held_out else None,
        verdict_digest=candidate.verdict_digest,
        cost=generator_pb2.Cost(
            usd=charge.usd_nano / NANO, unpriced=charge.unpriced, at_risk_usd=charge.at_risk_usd_nano / NANO
        ),
        summary=candidate.summary,
        island=plan.island if plan else 0,
        further_values=candidate.further,
        hypothesis=candidate.hypothesis,
        predictions=encode_predictions(candidate.predictions),
    )


def encode_predictions(predictions: Iterable[Prediction]) -> list[pb.PredictionOutcome]:
    return [
        pb.PredictionOutcome(scenario=p.scenario, predicted=p.change, measured=p.measured, outcome=outcome_of(p))
        for p in predictions
    ]


def encode_notebook(candidates: Iterable[Candidate], lessons: Iterable[str]) -> pb.GetNotebookResponse:
    entries = [
        pb.NotebookEntry(
            number=candidate.number,
            parent_number=candidate.plan.parents[0] if candidate.plan else 0,
            hypothesis=candidate.hypothesis,
            predictions=encode_predictions(candidate.predictions),
            change=candidate.change,
            text=lesson(candidate),
        )
        for candidate in candidates
    ]
    return pb.GetNotebookResponse(entries=entries, lessons=lessons)


def encode_gate(search_id: str, gate: Gate) -> pb.Gate:
    return pb.Gate(
        name=gate.name, passed=gate.passed, detail=gate.detail, candidate_id=candidate_id(search_id, gate.number)
    )


def encode_search(record: SearchRecord, best: Candidate | None, winner: Candidate | None) -> pb.Search:
    objective = type_pb2.Objective.FromString(record.context.objective)
    simulator = type_pb2.SimulatorDescription.FromString(record.context.simulator)
    state = record.state
    spec = encode_spec(record.spec)
    spec.budget.CopyFrom(encode_budget(record.budget))
    return pb.Search(
        search_id=record.search_id,
        spec=spec,
        state=pb.SearchState.ValueType(state),
        pause_reason=record.reason if state is SearchState.PAUSED else "",
        error=record.reason if state is SearchState.FAILED else "",
        stop_reason=record.reason if state in (SearchState.FINISHED, SearchState.CANCELLED) else "",
        spend=encode_spend(record.spend),
        best=encode_summary(record.search_id, best) if best else None,
        winner=encode_summary(record.search_id, winner) if winner else None,
        gates=[encode_gate(record.search_id, gate) for gate in record.gates],
        objective=objective,
        further_objectives=[
            type_pb2.Objective(
                name=axis.name,
                metric=axis.metric,
                unit=axis.unit,
                direction=type_pb2.Direction.ValueType(axis.direction),
            )
            for axis in record.context.axes
        ],
        aggregation=type_pb2.Aggregation.ValueType(record.context.aggregation),
        direction=type_pb2.Direction.ValueType(record.context.score_direction),
        created_at=_timestamp(record.created_at),
        ended_at=_timestamp(record.ended_at) if record.ended_at is not None else None,
        last_sequence=record.last_sequence,
        forked_from_candidate_id=record.forked_from,
        notes=record.notes,
        tags=record.tags,
        restored_at=_timestamp(record.restored_at) if record.restored_at is not None else None,
        fidelity=simulator.fidelity,
        fidelity_reason=simulator.fidelity_reason,
        settling=record.state.ended and record.needs_owner,
    )


def fidelity_words(record: SearchRecord) -> tuple[str, str]:
    """Of the model that the search searches in, ``failed``, and why it is no better; both empty if it is none."""
    simulator = type_pb2.SimulatorDescription.FromString(record.context.simulator)
    if simulator.fidelity == type_pb2.FIDELITY_UNSPECIFIED:
        return "", ""
    return enum_name(type_pb2.Fidelity, simulator.fidelity), simulator.fidelity_reason


def encode_unreadable(record: UnreadableSearch) -> pb.Search:
    return pb.Search(
        search_id=record.search_id, created_at=_timestamp(record.created_at), error=f"cannot be read: {record.reason}"
    )


def encode_candidate(search_id: str, record: CandidateRecord, request: bytes | None) -> pb.Candidate:
    message = pb.Candidate(
        summary=encode_summary(search_id, record.candidate),
        source=record.source or "",
        created_at=_timestamp(record.created_at),
        tool_uses=[_encode_use(use) for use in record.tools],
    )
    if request is not None:
        message.request.MergeFromString(request)
    if record.generation is not None:
        message.generation.MergeFromString(record.generation)
        message.summary.cost.CopyFrom(message.generation.cost)
        message.summary.usage.CopyFrom(message.generation.usage)
    if record.verdict is not None:
        result = verifier_pb2.VerifyResult.FromString(record.verdict)
        message.verdict.CopyFrom(result.verdict)
        message.feedback.CopyFrom(result.feedback)
    return message


def _encode_use(use: ToolUse) -> pb.ToolUse:
    call = use.call
    return pb.ToolUse(
        call=generator_pb2.ToolCall(call_id=call.call_id, name=call.name, arguments_json=call.arguments),
        result=generator_pb2.ToolResult(call_id=call.call_id, content=use.content, failed=use.failed),
        runs=use.runs,
        seconds=use.seconds,
    )


def encode_estimate(estimate: Estimate) -> pb.SearchEstimate:
    return pb.SearchEstimate(
        candidates=estimate.candidates,
        usd=None if estimate.usd_nano is None else estimate.usd_nano / NANO,
        seconds=estimate.seconds,
        warnings=estimate.warnings,
    )


def encode_replay(report: ReplayReport) -> pb.ReplayReport:
    return pb.ReplayReport(
        search_id=report.search_id,
        equal=report.equal,
        candidates=report.candidates,
        plans_equal=report.plans_equal,
        requests=report.requests,
        requests_equal=report.requests_equal,
        verdicts=report.verdicts,
        verdicts_equal=report.verdicts_equal,
        winner_number=report.winner_number,
        winner_equal=report.winner_equal,
        differences=len(report.differences),
        tool_calls=report.tool_calls,
        tool_calls_equal=report.tool_calls_equal,
    )


def encode_event(search_id: str, event: events.RecordedEvent, fidelity: type_pb2.Fidelity.ValueType) -> pb.Event:
    """`fidelity`: of the model that the search searches in."""
    message = pb.Event(
        sequence=event.sequence,
        search_id=search_id,
        at=_timestamp(event.at),
        spend=encode_spend(event.spend),
        fidelity=fidelity,
    )
    match event.event:
        case events.StateChanged(state, reason):
            message.state_changed.state = pb.SearchState.ValueType(state)
            message.state_changed.reason = reason
        case events.CandidateChanged(candidate):
            message.candidate_changed.candidate.CopyFrom(encode_summary(search_id, candidate))
        case events.NewBest(candidate, previous):
            message.new_best.candidate.CopyFrom(encode_summary(search_id, candidate))
            if previous is not None:
                message.new_best.previous_score = previous
        case events.HeldOutScored() as scored:
            message.held_out_scored.CopyFrom(
                pb.HeldOutScored(
                    candidate_id=candidate_id(search_id, scored.number),
                    train_normalized=scored.train_normalized,
                    held_out_normalized=scored.held_out_normalized,
                    gap=scored.gap,
                    held_out_score=scored.held_out_score,
                    held_out_baseline_score=scored.held_out_baseline_score,
                )
            )
        case events.Overfitting(number, gap, detail):
            message.overfitting.CopyFrom(
                pb.Overfitting(candidate_id=candidate_id(search_id, number), gap=gap, detail=detail)
            )
        case events.Stagnation(count, action):
            message.stagnation.CopyFrom(pb.Stagnation(candidates_without_improvement=count, action=action))
        case events.GateDecided(gate):
            message.gate_decided.gate.CopyFrom(encode_gate(search_id, gate))
        case events.Promoted(candidate):
            message.promoted.candidate.CopyFrom(encode_summary(search_id, candidate))
        case events.BackendTrouble(backend, reason, paused):
            message.backend_trouble.CopyFrom(pb.BackendTrouble(backend=backend, reason=reason, search_paused=paused))
        case events.GateProgress() as progress:
            message.gate_progress.CopyFrom(
                pb.GateProgress(
                    name=progress.name,
                    candidate_id=candidate_id(search_id, progress.number),
                    tries=progress.tries,
                    most_tries=progress.most_tries,
                    scenarios_done=progress.scenarios_done,
                    scenarios_total=progress.scenarios_total,
                )
            )
        case events.BetterOnHeldOut() as better:
            message.better_on_held_out.CopyFrom(
                pb.BetterOnHeldOut(
                    winner_candidate_id=candidate_id(search_id, better.winner_number),
                    winner_held_out_normalized=better.winner_normalized,
                    candidate_id=candidate_id(search_id, better.number),
                    held_out_normalized=better.normalized,
                )
            )
        case events.BudgetExtended(budget):
            message.budget_extended.budget.CopyFrom(encode_budget(budget))
    return message


def _timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromNanoseconds(round(seconds * 1e6) * 1000)
    return stamp
