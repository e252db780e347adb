"""The `anthropic` backend: the Messages API, always streamed (the SDK refuses long answers otherwise)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import anthropic
import httpx2
from anthropic import AsyncAnthropic, omit
from anthropic.types import MessageDeltaUsage, RawMessageStreamEvent
from anthropic.types import Usage as WireUsage

from quintain.plugins.backend import BackendCall, BackendOptions, BackendReply, CallOutcome, Message, Usage
from quintain_generator.backends.llm import (
    MALFORMED_ERRORS,
    LLMBackend,
    LLMOptions,
    broken,
    classify,
    cut_off,
    malformed,
    retry_after,
)

_STOP = {
    "end_turn": CallOutcome.OK,
    "stop_sequence": CallOutcome.OK,
    "max_tokens": CallOutcome.TRUNCATED,
    "model_context_window_exceeded": CallOutcome.TRUNCATED,
    "refusal": CallOutcome.REFUSAL,
}


class AnthropicBackend(LLMBackend):
    Options: ClassVar[type[BackendOptions]] = LLMOptions
    default_key_env = "ANTHROPIC_API_KEY"

    def __init__(self, model: str, options: LLMOptions) -> None:
        super().__init__(model, options)
        self._client = AsyncAnthropic(api_key=self._key or "none", base_url=options.base_url or None, max_retries=0)
        self._messages = self._client.messages  # imported now, not within the first call

    async def generate(self, call: BackendCall) -> BackendReply:
        effort: Any = self.effort(call.allowance.effort)
        answer = _Answer()
        try:
            stream = await self._messages.create(
                model=self.model,
                system=self._blocks([m for m in call.messages if m.role == "system"]),
                messages=self._turns([m for m in call.messages if m.role != "system"]),
                max_tokens=call.allowance.max_output_tokens,
                output_config={"effort": effort} if effort else omit,
                timeout=call.timeout_seconds,
                stream=True,
            )
            answer.request_id = stream.response.headers.get("request-id", "")
            async with stream:
                async for event in stream:
                    answer.take(event)
                    call.progress(answer.characters)
            return answer.reply()
        except (anthropic.AnthropicError, httpx2.HTTPError, *MALFORMED_ERRORS) as error:
            return _failure(error, answer)

    async def close(self) -> None:
        await self._client.close()

    def _blocks(self, messages: Sequence[Message]) -> list[Any]:
        blocks = []
        for message in messages:
            block: dict[str, Any] = {"type": "text", "text": message.content}
            if message.cache_breakpoint and self.traits.cache_breakpoints:
                block["cache_control"] = {"type": "ephemeral"}
            blocks.append(block)
        return blocks

    def _turns(self, messages: Sequence[Message]) -> list[Any]:
        """One turn for each run of the same role, with a block for each message."""
        turns: list[Any] = []
        for message in messages:
            if not turns or turns[-1]["role"] != message.role:
                turns.append({"role": message.role, "content": []})
            turns[-1]["content"].extend(self._blocks([message]))
        return turns


class _Answer:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.request_id = ""
        self.characters = 0
        self.usage: Usage | None = None
        self._events = 0
        self._parts: list[str] = []
        self._model = ""
        self._stop: str | None = None
        self._detail = ""
        self._ended = False

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def take(self, event: RawMessageStreamEvent) -> None:
        self._events += 1
        if event.type == "message_start":
            self._model = event.message.model
            self.usage = _usage(event.message.usage, Usage())
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            self._parts.append(event.delta.text)
            self.characters += len(event.delta.text)
        elif event.type == "message_delta":
            self._stop = event.delta.stop_reason
            details = event.delta.stop_details
            self._detail = (details.explanation or "") if details else ""
            self.usage = _usage(event.usage, self.usage or Usage())
        elif event.type == "message_stop":
            self._ended = True

    def reply(self) -> BackendReply:
        text = self.text
        if not self._ended or self._stop is None:
            return cut_off(self._events, text, self.request_id)
        outcome = _STOP.get(self._stop, CallOutcome.OK)
        if outcome is CallOutcome.OK and not text.strip():
            outcome = CallOutcome.EMPTY
        return BackendReply(
            outcome,
            text=text,
            usage=self.usage,
            model=self._model,
            provider_request_id=self.request_id,
            detail="" if outcome is CallOutcome.OK else self._detail or f"stop_reason {self._stop}",
        )


def _failure(error: Exception, answer: _Answer) -> BackendReply:
    if isinstance(error, anthropic.APIStatusError):  # status 200: an error event inside the stream
        outcome = classify(error.status_code, error.error_code, error.type)
        return BackendReply(
            outcome,
            text=answer.text,
            detail=f"HTTP {error.status_code}: {error.api_message or error.message}",
            provider_request_id=error.request_id or answer.request_id,
            retry_after_seconds=retry_after(error.response.headers),
        )
    if isinstance(error, anthropic.APIConnectionError | httpx2.HTTPError):
        return broken(error, answer.text)
    if isinstance(error, anthropic.AnthropicError) and not isinstance(error, anthropic.APIError):
        return BackendReply(CallOutcome.BAD_REQUEST, detail=f"{type(error).__name__}: {error}", sent=False)
    return malformed(error, answer.request_id)


def _usage(usage: WireUsage | MessageDeltaUsage, before: Usage) -> Usage:
    """Cumulative; what an event does not say is as before. Anthropic's input excludes cached and written tokens."""

    def newest(value: int | None, old: int) -> int:
        return old if value is None else value

    details = usage.output_tokens_details
    return Usage(
        input_tokens=newest(usage.input_tokens, before.input_tokens),
        cached_input_tokens=newest(usage.cache_read_input_tokens, before.cached_input_tokens),
        cache_write_tokens=newest(usage.cache_creation_input_tokens, before.cache_write_tokens),
        output_tokens=newest(usage.output_tokens, before.output_tokens),
        reasoning_tokens=details.thinking_tokens if details else before.reasoning_tokens,
    )
