"""The `anthropic` backend: the Messages API, always streamed (the SDK refuses long answers otherwise)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import anthropic
import httpx2
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient, omit

from quintain.plugins.backend import BackendCall, BackendOptions, BackendReply, CallOutcome, Message, Usage
from quintain_generator.backends.llm import (
    MALFORMED_ERRORS,
    LLMBackend,
    LLMOptions,
    broken,
    classify,
    cut_off,
    http_error,
    malformed,
    retry_after,
)
from quintain_generator.backends.wire import CLIENT_OPTIONS, let_it_end, timeouts, usage_of, words

_STOP = {
    "end_turn": CallOutcome.OK,
    "stop_sequence": CallOutcome.OK,
    "max_tokens": CallOutcome.TRUNCATED,
    "model_context_window_exceeded": CallOutcome.TRUNCATED,
    "refusal": CallOutcome.REFUSAL,
}


# What the API says about a spend limit, as an invalid request.
_NO_MONEY = ("credit balance is too low", "specified API usage limits")


class AnthropicBackend(LLMBackend):
    Options: ClassVar[type[BackendOptions]] = LLMOptions
    default_key_env = "ANTHROPIC_API_KEY"

    def __init__(self, model: str, options: LLMOptions) -> None:
        super().__init__(model, options)
        self._client = AsyncAnthropic(
            api_key=self._key or "none", base_url=options.base_url or None, max_retries=0,
            http_client=DefaultAsyncHttpxClient(**CLIENT_OPTIONS),
        )  # fmt: skip
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
                timeout=timeouts(call.timeout_seconds),
                stream=True,
            )
            answer.request_id = stream.response.headers.get("request-id", "")
            call.identified(answer.request_id)
            async with stream, asyncio.timeout(None) as rest:
                async for event in stream:
                    answer.take(event)
                    call.progress(answer.characters)
                    if answer.finished:
                        let_it_end(rest)
            return answer.reply()
        except TimeoutError:  # a server that does not hang up
            return answer.reply()
        except (anthropic.AnthropicError, httpx2.HTTPError, *MALFORMED_ERRORS) as error:
            if answer.finished:  # what broke came after the answer
                return answer.reply()
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
        self._counts: dict[str, object] = {}
        self._events = 0
        self._parts: list[str] = []
        self._model = ""
        self._stop: str | None = None
        self._detail = ""

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def finished(self) -> bool:
        """The stop reason comes after the last text; the event that closes the stream adds nothing."""
        return self._stop is not None

    @property
    def usage(self) -> Usage | None:
        """Anthropic's input excludes cached and cache-written tokens."""
        return usage_of(
            prompt=self._counts.get("input_tokens"),
            output=self._counts.get("output_tokens"),
            cached=self._counts.get("cache_read_input_tokens"),
            written=self._counts.get("cache_creation_input_tokens"),
            reasoning=self._counts.get("thinking_tokens"),
            prompt_has_all=False,
        )

    def take(self, event: Any) -> None:
        """Events of a kind that nobody knows are passed over."""
        self._events += 1
        kind = getattr(event, "type", None)
        if kind == "message_start":
            self._model = words(event.message.model)
            self.request_id = self.request_id or words(event.message.id)
            self._read_meter(event.message.usage)
        elif kind == "content_block_start" and getattr(event.content_block, "type", None) == "text":
            self._add(event.content_block.text)
        elif kind == "content_block_delta" and getattr(event.delta, "type", None) == "text_delta":
            self._add(event.delta.text)
        elif kind == "message_delta":
            self._stop = words(event.delta.stop_reason) or self._stop
            self._detail = (
                words(getattr(getattr(event.delta, "stop_details", None), "explanation", None)) or self._detail
            )
            self._read_meter(event.usage)

    def _add(self, text: object) -> None:
        self._parts.append(words(text))
        self.characters += len(self._parts[-1])

    def _read_meter(self, usage: object) -> None:
        """Readings are cumulative; what an event does not say is as before."""
        for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            if (value := getattr(usage, name, None)) is not None:
                self._counts[name] = value
        details = getattr(usage, "output_tokens_details", None)
        self._counts["thinking_tokens"] = getattr(details, "thinking_tokens", None)

    def reply(self) -> BackendReply:
        text = self.text
        if self._stop is None:
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
        message = error.api_message or error.message
        broke = "billing_error" if any(sign in message for sign in _NO_MONEY) else None
        outcome = classify(error.status_code, error.error_code, error.type, broke)
        return BackendReply(
            outcome,
            text=answer.text,
            usage=answer.usage,
            detail=http_error(error.status_code, message),
            provider_request_id=words(error.request_id) or answer.request_id,
            retry_after_seconds=retry_after(error.response.headers),
        )
    if isinstance(error, anthropic.APIConnectionError | httpx2.HTTPError):
        return broken(error, answer.text, answer.request_id)
    if isinstance(error, anthropic.AnthropicError) and not isinstance(error, anthropic.APIError):
        return BackendReply(CallOutcome.BAD_REQUEST, detail=f"{type(error).__name__}: {error}", sent=False)
    return malformed(error, answer.request_id)
