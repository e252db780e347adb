"""What the use cases give into messages of the contract."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from quintain.generator.v1 import generator_pb2 as pb
from quintain.plugins.backend import Message, Operator, Turn, Usage
from quintain_generator.domain.conversation import call_id
from quintain_generator.domain.generation import CallRecord, Generation, GenerationOutcome, Spend
from quintain_generator.usecases.batches import Waiting
from quintain_generator.usecases.conversation import ToolsWanted
from quintain_generator.usecases.waiting import GenerationProgress

OPERATORS = {operator: pb.Operator.Value(f"OPERATOR_{operator.name}") for operator in Operator}
OUTCOMES = {outcome: pb.Outcome.Value(f"OUTCOME_{outcome.name}") for outcome in GenerationOutcome}


def _spend_to(spend: Spend) -> pb.Spend:
    return pb.Spend(calls=spend.calls, spent_usd=spend.spent_usd, at_risk_usd=spend.at_risk_usd)


def progress_to(progress: GenerationProgress) -> pb.GenerateProgress:
    return pb.GenerateProgress(
        stage=progress.stage,
        attempt=progress.attempt,
        output_characters=progress.output_characters,
        note=progress.note,
        spend=_spend_to(progress.spend),
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
        hypothesis=generation.claims.hypothesis,
        predictions=[pb.Prediction(scenario=p.scenario, change=p.change) for p in generation.claims.predictions],
        turns=[_turn_to(number, turn) for number, turn in enumerate(generation.turns, start=1)],
    )


def waiting_to(waiting: Waiting) -> pb.Waiting:
    return pb.Waiting(after_seconds=waiting.after_seconds, batch_id=waiting.batch_id, spend=_spend_to(waiting.spend))


def tool_calls_to(wanted: ToolsWanted) -> pb.ToolCalls:
    return pb.ToolCalls(
        calls=[pb.ToolCall(call_id=c.call_id, name=c.name, arguments_json=c.arguments) for c in wanted.calls],
        spend=_spend_to(wanted.spend),
    )


def _turn_to(number: int, turn: Turn) -> pb.Turn:
    return pb.Turn(
        text=turn.text,
        tool_calls=[
            pb.ToolCall(call_id=call_id(number, index), name=call.name, arguments_json=call.arguments)
            for index, call in enumerate(turn.tool_calls)
        ],
        tool_results=[
            pb.ToolResult(call_id=call_id(number, index), content=result.content, failed=result.failed)
            for index, result in enumerate(turn.results)
        ],
        message=turn.message,
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
