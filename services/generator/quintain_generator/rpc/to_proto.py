"""What the use cases give into messages of the contract."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from quintain.generator.v1 import generator_pb2 as pb
from quintain.plugins.backend import Example, Message, Operator, Task, Usage
from quintain.plugins.simulator import (
    Description,
    Direction,
    Objective,
)
from quintain.type.v1 import type_pb2
from quintain_generator.domain.generation import CallRecord, Generation, Outcome
from quintain_generator.usecases.waiting import Progress

OPERATORS = {
    Operator.FULL: pb.OPERATOR_FULL,
    Operator.DIFF: pb.OPERATOR_DIFF,
    Operator.CROSSOVER: pb.OPERATOR_CROSSOVER,
    Operator.REPAIR: pb.OPERATOR_REPAIR,
}

OUTCOMES = {
    Outcome.OK: pb.OUTCOME_OK,
    Outcome.TRUNCATED: pb.OUTCOME_TRUNCATED,
    Outcome.REFUSED: pb.OUTCOME_REFUSED,
    Outcome.CONTENT_FILTERED: pb.OUTCOME_CONTENT_FILTERED,
    Outcome.EMPTY: pb.OUTCOME_EMPTY,
    Outcome.NO_CODE: pb.OUTCOME_NO_CODE,
    Outcome.INVALID_CODE: pb.OUTCOME_INVALID_CODE,
    Outcome.DIFF_FAILED: pb.OUTCOME_DIFF_FAILED,
    Outcome.DUPLICATE: pb.OUTCOME_DUPLICATE,
    Outcome.UNKNOWN: pb.OUTCOME_UNKNOWN,
}

_DIRECTIONS = {
    Direction.MAXIMIZE: type_pb2.DIRECTION_MAXIMIZE,
    Direction.MINIMIZE: type_pb2.DIRECTION_MINIMIZE,
}


def task_to(task: Task) -> pb.Task:
    """The contract's form of `task`; the inverse of `task_from`."""
    message = pb.Task(
        simulator=_description_to(task.simulator),
        objective=_objective_to(task.objective),
        suite_description=task.suite_description,
        operator=OPERATORS[task.operator],
        parents=[_example_to(e) for e in task.parents],
        inspirations=[_example_to(e) for e in task.inspirations],
        lessons=task.lessons,
        seed=task.seed,
        best_score=task.best_score,
        bound_score=task.bound_score,
    )
    for a in task.history:
        message.history.add(number=a.number, candidate_id=a.candidate_id, score=a.score, summary=a.summary)
    return message


def _example_to(example: Example) -> pb.Example:
    return pb.Example(
        candidate_id=example.candidate_id,
        source=example.source,
        score=example.score,
        normalized=example.normalized,
        feedback=example.feedback,
        scenario_values=[type_pb2.Metric(name=n, value=v) for n, v in example.scenario_values.items()],
    )


def _objective_to(objective: Objective) -> type_pb2.Objective:
    return type_pb2.Objective(
        name=objective.name,
        metric=objective.metric,
        unit=objective.unit,
        direction=_DIRECTIONS[objective.direction],
        description=objective.description,
    )


def _description_to(simulator: Description) -> type_pb2.SimulatorDescription:
    return type_pb2.SimulatorDescription(
        name=simulator.name,
        title=simulator.title,
        build=simulator.build,
        policy_guide=simulator.policy_guide,
        required_definitions=[
            type_pb2.RequiredDefinition(kind=d.kind, name=d.name, description=d.description)
            for d in simulator.required_definitions
        ],
        objectives=[_objective_to(o) for o in simulator.objectives],
        suites=simulator.suites,
        baselines=[
            type_pb2.Baseline(name=b.name, description=b.description, source=b.source) for b in simulator.baselines
        ],
        descriptors=[type_pb2.Descriptor(metric=d.metric, edges=d.edges) for d in simulator.descriptors],
        grammar=simulator.grammar,
        hints=simulator.hints,
    )


# ----------------------------------------------------------------------------------------------------------- results


def progress_to(progress: Progress) -> pb.GenerateProgress:
    return pb.GenerateProgress(
        stage=progress.stage,
        attempt=progress.attempt,
        output_characters=progress.output_characters,
        note=progress.note,
        spend=pb.Spend(
            calls=progress.spend.calls,
            spent_usd=progress.spend.spent_usd,
            at_risk_usd=progress.spend.at_risk_usd,
        ),
    )


def generation_to(generation: Generation, *, recorded: bool) -> pb.Generation:
    finished_at = Timestamp()
    finished_at.FromMicroseconds(int(generation.finished_at * 1e6))
    return pb.Generation(
        request_id=generation.request_id,
        backend=generation.backend,
        model=generation.model,
        outcome=OUTCOMES[generation.outcome],
        source=generation.source,
        rationale=generation.rationale,
        response_text=generation.response_text,
        prompt=_prompt_to(generation.prompt),
        usage=usage_to(generation.usage),
        cost=pb.Cost(
            usd=generation.cost.usd,
            unpriced=generation.cost.unpriced,
            at_risk_usd=generation.cost.at_risk_usd,
            price_source=generation.cost.price_source,
        ),
        calls=[_call_to(call) for call in generation.calls],
        detail=generation.detail,
        ast_digest=generation.ast_digest,
        hints=generation.hints,
        recorded=recorded,
        finished_at=finished_at,
    )


def _prompt_to(prompt: Iterable[Message]) -> list[pb.PromptMessage]:
    return [pb.PromptMessage(role=m.role, content=m.content, cache_breakpoint=m.cache_breakpoint) for m in prompt]


def _call_to(call: CallRecord) -> pb.Call:
    reply = call.reply
    return pb.Call(
        attempt=call.attempt,
        outcome=call.outcome.value,
        provider_request_id=reply.provider_request_id if reply else "",
        usage=usage_to(reply.usage) if reply and reply.usage else None,
        seconds=call.seconds,
        error=reply.detail if reply else "",
    )


def usage_to(usage: Usage) -> pb.Usage:
    return pb.Usage(
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )
