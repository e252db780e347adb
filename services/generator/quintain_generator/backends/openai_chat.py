"""The `openai-compatible` backend: Chat Completions at a base URL (vLLM, Ollama, llama.cpp and the like)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from openai import AsyncOpenAI, AsyncStream, DefaultAsyncHttpxClient, Omit, omit
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import Field

from quintain.plugins.backend import BackendCall, BackendOptions, BackendReply, CallOutcome, Message, Usage
from quintain_generator.backends.llm import LLMBackend, LLMOptions, cut_off
from quintain_generator.backends.openai_errors import CAUGHT, reply_for
from quintain_generator.backends.wire import (
    CLIENT_OPTIONS,
    END_SECONDS,
    METER_SECONDS,
    let_it_end,
    timeouts,
    usage_of,
    words,
)

_FINISH = {
    "stop": CallOutcome.OK,
    "length": CallOutcome.TRUNCATED,
    "model_length": CallOutcome.TRUNCATED,
    "content_filter": CallOutcome.CONTENT_FILTER,
    # The server gave up in the middle and says it where others say that they are done.
    "abort": CallOutcome.SERVER_ERROR,
    "error": CallOutcome.SERVER_ERROR,
    "insufficient_system_resource": CallOutcome.OVERLOADED,
}


class CompatibleOptions(LLMOptions):
    """`base_url` is required; a key is not."""

    base_url: str = Field(min_length=1, description="for instance http://localhost:8000/v1")
    stream: bool = True
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = Field(
        default="max_completion_tokens", description="older servers only know max_tokens"
    )


class OpenAICompatibleBackend(LLMBackend):
    Options: ClassVar[type[BackendOptions]] = CompatibleOptions

    def __init__(self, model: str, options: CompatibleOptions) -> None:
        super().__init__(model, options)
        self._stream = options.stream
        self._max_tokens_field = options.max_tokens_field
        self._needs_key = bool(options.api_key_env or options.api_key_file)
        self._client = AsyncOpenAI(
            api_key=self._key or "none", base_url=options.base_url, max_retries=0,
            http_client=DefaultAsyncHttpxClient(**CLIENT_OPTIONS),
        )  # fmt: skip
        self._completions = self._client.chat.completions  # imported now, not within the first call

    @property
    def unavailable_reason(self) -> str:
        return super().unavailable_reason if self._needs_key or self._key else ""

    async def generate(self, call: BackendCall) -> BackendReply:
        effort: Any = self.effort(call.allowance.effort) or omit
        limit: dict[str, int | Omit] = {self._max_tokens_field: call.allowance.max_output_tokens}
        common: dict[str, Any] = {
            "model": self.model,
            "messages": chat_messages(call.messages),
            "reasoning_effort": effort,
            "timeout": timeouts(call.timeout_seconds),
            **limit,
        }
        answer = _Answer()
        try:
            if not self._stream:
                async with self._completions.with_streaming_response.create(**common) as whole:
                    answer.request_id = whole.headers.get("x-request-id", "")
                    call.identified(answer.request_id)
                    answer.take_completion(await whole.parse())
                return answer.reply()
            stream: AsyncStream[ChatCompletionChunk] = await self._completions.create(
                **common, stream=True, stream_options={"include_usage": True}
            )
            answer.request_id = stream.response.headers.get("x-request-id", "")
            call.identified(answer.request_id)
            async with stream, asyncio.timeout(None) as rest:
                async for chunk in stream:
                    answer.take_chunk(chunk)
                    call.progress(answer.characters)
                    if answer.finished:
                        let_it_end(rest, END_SECONDS if answer.metered else METER_SECONDS)
            return answer.reply()
        except TimeoutError:  # a server that does not hang up
            return answer.reply()
        except CAUGHT as error:
            if answer.finished:  # what broke came after the answer
                return answer.reply()
            return reply_for(error, answer.text, answer.request_id)

    async def close(self) -> None:
        await self._client.close()


class _Answer:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.request_id = ""
        self.characters = 0
        self._events = 0
        self._parts: list[str] = []
        self._refusal: list[str] = []
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._model = ""

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def finished(self) -> bool:
        return self._finish is not None

    @property
    def metered(self) -> bool:
        return self._usage is not None

    def take_chunk(self, chunk: object) -> None:
        """Events of other kinds are not ours to judge: what is missing in one is not looked for."""
        if not isinstance(chunk, ChatCompletionChunk):
            return
        self._events += 1
        self._model = words(chunk.model) or self._model
        self.request_id = self.request_id or words(chunk.id)
        if isinstance(chunk.usage, CompletionUsage):
            self._usage = _usage(chunk.usage)
        for choice in chunk.choices or ():
            if choice.index:  # one was asked for
                continue
            if choice.delta is not None:
                self._take(choice.delta.content, choice.delta.refusal)
            self._finish = words(choice.finish_reason) or self._finish

    def take_completion(self, completion: ChatCompletion) -> None:
        """Raises one of MALFORMED_ERRORS for an object that is no completion."""
        (choice, *_) = (choice for choice in completion.choices if not choice.index)
        self._events += 1
        self.request_id = self.request_id or words(completion.id)
        self._model = words(completion.model)
        if isinstance(completion.usage, CompletionUsage):
            self._usage = _usage(completion.usage)
        self._take(choice.message.content, choice.message.refusal)
        self._finish = words(choice.finish_reason) or None

    def _take(self, content: object, refusal: object) -> None:
        self._parts.append(_text(content))
        self.characters += len(self._parts[-1])
        self._refusal.append(words(refusal))

    def reply(self) -> BackendReply:
        text = self.text
        if self._finish is None:
            return cut_off(self._events, text, self.request_id)
        outcome = _FINISH.get(self._finish, CallOutcome.OK)
        refusal = "".join(self._refusal)
        if outcome is CallOutcome.OK and refusal:
            outcome = CallOutcome.REFUSAL
        if outcome is CallOutcome.OK and not text.strip():
            outcome = CallOutcome.EMPTY
        return BackendReply(
            outcome,
            text=text,
            usage=self._usage,
            model=self._model,
            provider_request_id=self.request_id,
            detail=refusal or ("" if outcome is CallOutcome.OK else f"finish_reason {self._finish}"),
        )


def _text(content: object) -> str:
    """Some servers send a list of parts, thinking among them."""
    if not isinstance(content, list):
        return words(content)
    return "".join(words(part.get("text")) for part in content if isinstance(part, dict) and part.get("type") == "text")


def chat_messages(messages: Sequence[Message]) -> list[ChatCompletionMessageParam]:
    """Neighbours of the same role joined: many chat templates insist on alternating roles."""
    joined: list[Any] = []
    for message in messages:
        if joined and joined[-1]["role"] == message.role:
            joined[-1]["content"] += "\n\n" + message.content
        else:
            joined.append({"role": message.role, "content": message.content})
    return joined


def _usage(usage: CompletionUsage) -> Usage | None:
    details, output = usage.prompt_tokens_details, usage.completion_tokens_details
    return usage_of(
        prompt=usage.prompt_tokens,
        output=usage.completion_tokens,
        cached=getattr(details, "cached_tokens", None),
        written=getattr(details, "cache_write_tokens", None),
        reasoning=getattr(output, "reasoning_tokens", None),
        prompt_has_all=True,
    )
