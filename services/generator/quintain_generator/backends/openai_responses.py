"""The `openai` backend: the Responses API, nothing stored at the provider."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

from openai import AsyncOpenAI, AsyncStream, DefaultAsyncHttpxClient, omit
from openai.types.responses import Response, ResponseUsage

from quintain.plugins.backend import BackendCall, BackendOptions, BackendReply, CallOutcome, Message, Usage
from quintain_generator.backends.llm import LLMBackend, LLMOptions, classify, cut_off
from quintain_generator.backends.openai_errors import CAUGHT, reply_for
from quintain_generator.backends.wire import CLIENT_OPTIONS, let_it_end, timeouts, usage_of, words

_TERMINAL = {"response.completed", "response.incomplete", "response.failed"}


class OpenAIOptions(LLMOptions):
    stream: bool = True


class OpenAIBackend(LLMBackend):
    Options: ClassVar[type[BackendOptions]] = OpenAIOptions
    default_key_env = "OPENAI_API_KEY"

    def __init__(self, model: str, options: OpenAIOptions) -> None:
        super().__init__(model, options)
        self._stream = options.stream
        self._client = AsyncOpenAI(
            api_key=self._key or "none", base_url=options.base_url or None, max_retries=0,
            http_client=DefaultAsyncHttpxClient(**CLIENT_OPTIONS),
        )  # fmt: skip
        self._responses = self._client.responses  # imported now, not within the first call

    async def generate(self, call: BackendCall) -> BackendReply:
        effort = self.effort(call.allowance.effort)
        common: dict[str, Any] = {
            "model": self.model,
            "input": self._input(call.messages),
            "max_output_tokens": call.allowance.max_output_tokens,
            "reasoning": {"effort": effort} if effort else omit,
            "store": False,
            "timeout": timeouts(call.timeout_seconds),
        }
        parts: list[str] = []
        request_id = ""
        events = characters = 0
        reply: BackendReply | None = None
        try:
            if not self._stream:
                async with self._responses.with_streaming_response.create(**common) as whole:
                    request_id = whole.headers.get("x-request-id", "")
                    call.identified(request_id)
                    return _reply(await whole.parse(), request_id)
            stream: AsyncStream[Any] = await self._responses.create(**common, stream=True)
            request_id = stream.response.headers.get("x-request-id", "")
            call.identified(request_id)
            async with stream, asyncio.timeout(None) as rest:
                async for event in stream:
                    events += 1
                    kind = getattr(event, "type", None)  # an event may be of a kind that nobody knows
                    if kind == "response.output_text.delta":
                        parts.append(words(event.delta))
                        characters += len(parts[-1])
                        call.progress(characters)
                    elif kind == "error" and reply is None:
                        return BackendReply(
                            classify(200, getattr(event, "code", None)),
                            text="".join(parts),
                            detail=f"error in the stream: {getattr(event, 'message', None)}",
                            provider_request_id=request_id,
                        )
                    elif kind in _TERMINAL:
                        reply = _reply(event.response, request_id, "".join(parts))
                        let_it_end(rest)
            return reply or cut_off(events, "".join(parts), request_id)
        except (TimeoutError, *CAUGHT) as error:  # a timeout: a server that does not hang up
            if reply is not None:
                return reply
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


def _reply(response: Response, request_id: str, streamed: str = "") -> BackendReply:
    """The reply of a finished response; `streamed`: the text that came before it.

    Raises one of MALFORMED_ERRORS for an object that is none.
    """
    contents = [part for item in response.output or () if item.type == "message" for part in item.content or ()]
    text = "".join(words(part.text) for part in contents if part.type == "output_text") or streamed
    refusal = "".join(words(part.refusal) for part in contents if part.type == "refusal")
    outcome, detail = _outcome(response, text, refusal)
    return BackendReply(
        outcome,
        text=text,
        usage=_usage(response.usage) if isinstance(response.usage, ResponseUsage) else None,
        model=words(response.model),
        provider_request_id=request_id or words(response.id),
        detail=detail,
    )


def _outcome(response: Response, text: str, refusal: str) -> tuple[CallOutcome, str]:
    if response.status == "failed":
        error = response.error
        names = (getattr(error, "code", None), getattr(error, "type", None))
        return classify(200, *names), words(getattr(error, "message", None)) or "the response failed without a reason"
    if response.status == "incomplete":
        reason = (response.incomplete_details.reason if response.incomplete_details else None) or "no reason given"
        filtered = reason == "content_filter"
        return CallOutcome.CONTENT_FILTER if filtered else CallOutcome.TRUNCATED, f"incomplete: {reason}"
    if response.status != "completed":
        raise ValueError(f"the response ended with status {response.status!r}")
    if refusal:
        return CallOutcome.REFUSAL, refusal
    return (CallOutcome.OK, "") if text.strip() else (CallOutcome.EMPTY, "completed without text")


def _usage(usage: ResponseUsage) -> Usage | None:
    return usage_of(
        prompt=usage.input_tokens,
        output=usage.output_tokens,
        cached=getattr(usage.input_tokens_details, "cached_tokens", None),
        written=getattr(usage.input_tokens_details, "cache_write_tokens", None),
        reasoning=getattr(usage.output_tokens_details, "reasoning_tokens", None),
        prompt_has_all=True,
    )
