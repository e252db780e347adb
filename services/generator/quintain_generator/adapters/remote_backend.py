"""The `remote` backend: another generator service, in any language that speaks the contract.

The other service retries, extracts, meters and records by itself; it is asked with the same request id, so asking again
is never paid for twice.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr

from quintain.clients.channel import ClientSettings, ClientTls
from quintain.clients.generator import AsyncGenerator
from quintain.errors import DeadlineExceeded, FailedPrecondition, QuintainError, ResourceExhausted, Unavailable
from quintain.generator.v1 import generator_pb2 as pb
from quintain.plugins.backend import (
    Backend,
    BackendCall,
    BackendOptions,
    BackendReply,
    CallOutcome,
    Capabilities,
    Operator,
    Rejection,
    ToolCall,
)
from quintain_generator.adapters.remote_messages import (
    conversation_message,
    outcome_from,
    result_message,
    task_message,
    usage_from,
)
from quintain_generator.domain.generation import GenerationOutcome

_CALL_OUTCOMES = {
    GenerationOutcome.TRUNCATED: CallOutcome.TRUNCATED,
    GenerationOutcome.REFUSED: CallOutcome.REFUSAL,
    GenerationOutcome.CONTENT_FILTERED: CallOutcome.CONTENT_FILTER,
    GenerationOutcome.EMPTY: CallOutcome.EMPTY,
    GenerationOutcome.UNKNOWN: CallOutcome.UNKNOWN,
    GenerationOutcome.CANCELLED: CallOutcome.EMPTY,
}
_REJECTIONS = {
    GenerationOutcome.NO_CODE: Rejection.NO_CODE,
    GenerationOutcome.INVALID_CODE: Rejection.INVALID_CODE,
    GenerationOutcome.DIFF_FAILED: Rejection.DIFF_FAILED,
}
_REASONS = {
    "AUTHENTICATION_FAILED": CallOutcome.AUTH,
    "SPEND_LIMIT_REACHED": CallOutcome.SPEND_LIMIT,
}


_LEAST_POLL_SECONDS = 0.1


class RemoteOptions(BackendOptions):
    address: str = Field(min_length=1, description="host:port of the other generator")
    backend: str = Field(default="", description="its backend's name; empty: its default")
    token_file: Path | None = Field(default=None, description="file with the bearer token")
    tls: ClientTls | None = None


class RemoteBackend(Backend):
    Options: ClassVar[type[BackendOptions]] = RemoteOptions

    def __init__(self, model: str, options: RemoteOptions) -> None:
        super().__init__(model, options)
        self._backend = options.backend
        try:
            self._token = options.token_file.read_text().strip() if options.token_file else ""
        except OSError as error:
            raise ValueError(f"options.token_file: {options.token_file}: {error.strerror}") from None
        self._settings = ClientSettings(
            address=options.address, token=SecretStr(self._token) if self._token else None, tls=options.tls
        )
        self._client: AsyncGenerator | None = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operators=frozenset(Operator),
            deterministic=False,
            priced=True,
            prompt=False,
            repeatable=True,
            meters_itself=True,
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self._token,) if self._token else ()

    async def generate(self, call: BackendCall) -> BackendReply:
        if self._client is None:  # made on the event loop that uses it
            self._client = AsyncGenerator(self._settings)
        allowance = call.allowance
        conversation = conversation_message(call.tools, call.max_turns) if call.tools else None
        request = pb.GenerateRequest(
            request_id=call.request_id,
            backend=self._backend,
            task=task_message(call.task),
            allowance=pb.Allowance(
                max_output_tokens=allowance.max_output_tokens,
                max_cost_usd=allowance.max_cost_usd,
                effort=allowance.effort,
            ),
            conversation=conversation,
            tool_results=[result_message(r) for turn in call.turns for r in turn.results],
        )
        clock = asyncio.get_running_loop().time
        end = clock() + call.timeout_seconds
        try:
            while True:
                waits: pb.Waiting | None = None
                async for response in self._client.generate_stream(request, timeout=end - clock()):
                    if response.WhichOneof("event") == "result":
                        return _reply(response.result)
                    if response.WhichOneof("event") == "tool_calls":
                        return _wants_tools(response.tool_calls)
                    if response.WhichOneof("event") == "waiting":
                        waits = response.waiting
                    call.progress(response.progress.output_characters)
                if waits is None:
                    break
                await asyncio.sleep(min(max(waits.after_seconds, _LEAST_POLL_SECONDS), end - clock()))
        except QuintainError as error:
            return _failure(error)
        detail = "the other generator ended the stream without a result"
        return BackendReply(CallOutcome.MALFORMED, detail=detail)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def _reply(generation: pb.Generation) -> BackendReply:
    try:
        outcome = outcome_from(generation.outcome)
    except KeyError:
        detail = f"the other generator answered with outcome {generation.outcome}, which this one does not know"
        return BackendReply(CallOutcome.MALFORMED, detail=detail)
    request_ids = [call.provider_request_id for call in generation.calls if call.provider_request_id]
    return BackendReply(
        _CALL_OUTCOMES.get(outcome, CallOutcome.OK),
        text=generation.response_text,
        source=generation.source,
        rationale=generation.rationale,
        usage=usage_from(generation.usage),
        model=generation.model,
        provider_request_id=request_ids[-1] if request_ids else "",
        detail=generation.detail,
        rejection=_REJECTIONS.get(outcome),
        charged_usd=None if generation.cost.unpriced else generation.cost.usd,
        at_risk_usd=generation.cost.at_risk_usd,
    )


def _wants_tools(wanted: pb.ToolCalls) -> BackendReply:
    return BackendReply(
        CallOutcome.OK,
        tool_calls=tuple(ToolCall(c.call_id, c.name, c.arguments_json) for c in wanted.calls),
        charged_usd=wanted.spend.spent_usd,
        at_risk_usd=wanted.spend.at_risk_usd,
    )


def _failure(error: QuintainError) -> BackendReply:
    outcome = CallOutcome.BAD_REQUEST
    if isinstance(error, FailedPrecondition):
        outcome = _REASONS.get(error.reason, CallOutcome.BAD_REQUEST)
    elif isinstance(error, ResourceExhausted) and error.retry_after_seconds is not None:
        outcome = CallOutcome.RATE_LIMITED
    elif isinstance(error, Unavailable):
        outcome = CallOutcome.OVERLOADED
    elif isinstance(error, DeadlineExceeded):
        outcome = CallOutcome.TIMEOUT
    return BackendReply(
        outcome,
        detail=f"{error.code} {error.reason}: {error.message}",
        provider_request_id=error.metadata.get("provider_request_id", ""),
        retry_after_seconds=error.retry_after_seconds,
        charged_usd=float(error.metadata.get("spent_usd", 0.0)),
        at_risk_usd=float(error.metadata.get("at_risk_usd", 0.0)),
    )
