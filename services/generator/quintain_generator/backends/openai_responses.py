"""The `openai` backend: the Responses API, nothing stored at the provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from openai import AsyncOpenAI, AsyncStream, omit
from openai.types.responses import Response, ResponseStreamEvent, ResponseUsage

from quintain.plugins.backend import BackendCall, BackendOptions, BackendReply, CallOutcome, Message, Usage
from quintain_generator.backends.llm import LLMBackend, LLMOptions, classify, cut_off
from quintain_generator.backends.openai_errors import CAUGHT, reply_for

_TERMINAL = {"response.completed", "response.incomplete", "response.failed"}


class OpenAIOptions(LLMOptions):
    stream: bool = True


class OpenAIBackend(LLMBackend):
    Options: ClassVar[type[BackendOptions]] = OpenAIOptions
    default_key_env = "OPENAI_API_KEY"

    def __init__(self, model: str, options: OpenAIOptions) -> None:
        super().__init__(model, options)
        self._stream = options.stream
        self._client = AsyncOpenAI(api_key=self._key or "none", base_url=options.base_url or None, max_retries=0)
        self._responses = self._client.responses  # imported now, not within the first call

    async def generate(self, call: BackendCall) -> BackendReply:
        effort = self.effort(call.allowance.effort)
        common: dict[str, Any] = {
            "model": self.model,
            "input": self._input(call.messages),
            "max_output_tokens": call.allowance.max_output_tokens,
            "reasoning": {"effort": effort} if effort else omit,
            "store": False,
            "timeout": call.timeout_seconds,
        }
        parts: list[str] = []
        request_id = ""
        events = characters = 0
        try:
            if not self._stream:
                whole: Response = await self._responses.create(**common)
                return _reply(whole, whole._request_id or "")
            stream: AsyncStream[ResponseStreamEvent] = await self._responses.create(**common, stream=True)
            request_id = stream.response.headers.get("x-request-id", "")
            async with stream:
                async for event in stream:
                    events += 1
                    if event.type == "response.output_text.delta":
                        parts.append(event.delta)
                        characters += len(event.delta)
                        call.progress(characters)
                    elif event.type == "error":
                        return BackendReply(
                            classify(200, event.code),
                            text="".join(parts),
                            detail=f"error in the stream: {event.message}",
                            provider_request_id=request_id,
                        )
                    elif event.type in _TERMINAL:
                        return _reply(event.response, request_id)  # type: ignore[union-attr]  # the terminal events
            return cut_off(events, "".join(parts), request_id)
        except CAUGHT as error:
            return reply_for(error, "".join(parts), request_id)

    async def close(self) -> None:
        await self._client.close()

    def _input(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        items = []
        for message in messages:
            kind = "output_text" if message.role == "assistant" else "input_text"
            part: dict[str, Any] = {"type": kind, "text": message.content}
            if message.cache_breakpoint and self.traits.cache_breakpoints:
                part["prompt_cache_breakpoint"] = {"mode": "explicit"}
            items.append({"role": message.role, "content": [part]})
        return items


def _reply(response: Response, request_id: str) -> BackendReply:
    """The reply of a finished response. Raises one of MALFORMED_ERRORS for an object that is none."""
    contents = [part for item in response.output if item.type == "message" for part in item.content]
    text = "".join(part.text for part in contents if part.type == "output_text")
    refusal = "".join(part.refusal for part in contents if part.type == "refusal")
    outcome, detail = _outcome(response, text, refusal)
    return BackendReply(
        outcome,
        text=text,
        usage=_usage(response.usage) if response.usage is not None else None,
        model=response.model,
        provider_request_id=request_id or response.id,
        detail=detail,
    )


def _outcome(response: Response, text: str, refusal: str) -> tuple[CallOutcome, str]:
    if response.status == "failed":
        error = response.error
        return classify(200, error.code, error.type) if error else CallOutcome.SERVER_ERROR, (
            error.message if error else "the response failed without a reason"
        )
    if response.status == "incomplete":
        reason = (response.incomplete_details.reason if response.incomplete_details else None) or "no reason given"
        filtered = reason == "content_filter"
        return CallOutcome.CONTENT_FILTER if filtered else CallOutcome.TRUNCATED, f"incomplete: {reason}"
    if response.status != "completed":
        raise ValueError(f"the response ended with status {response.status!r}")
    if refusal:
        return CallOutcome.REFUSAL, refusal
    return (CallOutcome.OK, "") if text.strip() else (CallOutcome.EMPTY, "completed without text")


def _usage(usage: ResponseUsage) -> Usage:
    """OpenAI's input includes cached and cache-written tokens; ours does not."""
    details, output = usage.input_tokens_details, usage.output_tokens_details
    cached = (details.cached_tokens or 0) if details else 0
    written = (getattr(details, "cache_write_tokens", None) or 0) if details else 0
    return Usage(
        input_tokens=max(0, usage.input_tokens - cached - written),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=usage.output_tokens,
        reasoning_tokens=(output.reasoning_tokens or 0) if output else 0,
    )
