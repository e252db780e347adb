"""The `anthropic` backend: the Messages API, always streamed (the SDK refuses long answers otherwise)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import anthropic
import httpx2
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient

from quintain.plugins.backend import BackendCall, BackendOptions, BackendReply, Batches, Message, Tool, ToolCall, Turn
from quintain_generator.backends.answer import Answer, field_of, receive, word_of
from quintain_generator.backends.anthropic_batches import AnthropicBatches
from quintain_generator.backends.batch_body import Asker
from quintain_generator.backends.failures import broken, not_sent, refused
from quintain_generator.backends.llm import BatchOptions, LLMBackend
from quintain_generator.backends.wire import http_client, split_url, timeouts, usage_of

_DELTA_FIELDS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
_FAILURES = (anthropic.AnthropicError, httpx2.HTTPError, ValueError, TypeError)
_EVENTS = (
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
)


class AnthropicBackend(LLMBackend):
    Options: ClassVar[type[BackendOptions]] = BatchOptions
    default_key_env = "ANTHROPIC_API_KEY"

    def __init__(self, model: str, options: BatchOptions) -> None:
        super().__init__(model, options)
        url, query = split_url(options.base_url)
        self._client = AsyncAnthropic(
            api_key=self._key or "none", base_url=url or None, default_query=query, max_retries=0,
            http_client=http_client(DefaultAsyncHttpxClient),
        )  # fmt: skip
        self._messages = self._client.messages.with_streaming_response  # imported now, not within the first call

        asker = Asker(_FAILURES, self._failed)
        self._batches = (
            AnthropicBatches(
                self._client, self._request, MessagesAnswer, asker, self.address, options.batch_poll_seconds
            )
            if options.batch
            else None
        )

    @property
    def batches(self) -> Batches | None:
        return self._batches

    async def generate(self, call: BackendCall) -> BackendReply:
        answer = MessagesAnswer(call.allowance.max_output_tokens)
        try:
            async with self._messages.create(
                **self._request(call), timeout=timeouts(call.timeout_seconds), stream=True
            ) as response:
                return await receive(response.http_response, answer, call, self.address)
        except _FAILURES as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> BackendReply:
        """The reply for one of _FAILURES."""
        if isinstance(error, anthropic.APIStatusError):
            named = error.response.headers.get(MessagesAnswer.request_id_header, "")
            return refused(error.response, named, self.address)
        if isinstance(error, anthropic.APIConnectionError | httpx2.HTTPError):
            return broken(error)
        return not_sent(error)

    def _request(self, call: BackendCall) -> dict[str, Any]:
        """The body, without what says how it is to be answered."""
        request: dict[str, Any] = {
            "model": self.model,
            "system": self._blocks([m for m in call.messages if m.role == "system"]),
            "messages": [
                *self._turns([m for m in call.messages if m.role != "system"]),
                *self._conversation(call.turns),
            ],
            "max_tokens": call.allowance.max_output_tokens,
        }
        if call.tools:
            request["tools"] = _tools(call.tools)
        if effort := self.effort(call.allowance.effort):
            request["output_config"] = {"effort": effort}
        return request

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

    def _conversation(self, turns: Sequence[Turn]) -> list[Any]:
        """The model's blocks as it gave them (its signed thinking among them), each with what it was told then. All but
        the newest words may be cached."""
        messages: list[Any] = []
        for turn in turns:
            said = json.loads(turn.state) if turn.state else [{"type": "text", "text": turn.text}]
            told: list[dict[str, Any]] = [
                {
                    "type": "tool_result",
                    "tool_use_id": call.call_id,
                    "content": result.content,
                    "is_error": result.failed,
                }
                for call, result in zip(turn.tool_calls, turn.results, strict=True)
            ]
            if turn.message:
                told.append({"type": "text", "text": turn.message})
            messages += [{"role": "assistant", "content": said}, {"role": "user", "content": told}]
        if messages and self.traits.cache_breakpoints:
            messages[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
        return messages


def _tools(tools: Sequence[Tool]) -> list[Any]:
    return [{"name": t.name, "description": t.description, "input_schema": dict(t.parameters)} for t in tools]


class MessagesAnswer(Answer):
    """Events of a message, or the whole of one."""

    request_id_header = "request-id"

    def __init__(self, max_output_tokens: int) -> None:
        super().__init__(max_output_tokens)
        self._counts: dict[str, object] = {}
        self._blocks: list[dict[str, Any]] = []
        self._inputs: dict[int, str] = {}  # of tool calls, by the position of their block, as they were written

    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(word_of(block, "id"), word_of(block, "name"), self._input_text(position))
            for position, block in enumerate(self._blocks)
            if block.get("type") == "tool_use"
        )

    def state(self) -> str:
        kept = []
        for position, block in enumerate(self._blocks):
            if block.get("type") == "tool_use":
                kept.append({**block, "input": _object(self._input_text(position))})
            elif block.get("type") != "text" or block.get("text"):
                kept.append(block)
        return json.dumps(kept)

    def _input_text(self, position: int) -> str:
        return self._inputs.get(position) or json.dumps(self._blocks[position].get("input") or {})

    def take_event(self, event: dict[str, Any], name: str) -> bool:
        kind = word_of(event, "type") or name
        if kind not in _EVENTS:
            return False
        if kind == "message_start":
            self._take_head(event.get("message"))
        elif kind == "content_block_start" and isinstance(block := event.get("content_block"), dict):
            self._begin_block(block)
        elif kind == "content_block_delta" and isinstance(delta := event.get("delta"), dict):
            self._take_delta(delta)
        elif kind == "message_delta":
            self._take_end(event.get("delta"), event.get("usage"))
        elif kind == "message_stop":
            self.end()
        return True

    def take_document(self, document: dict[str, Any]) -> bool:
        if not isinstance(document.get("content"), list):
            return False
        self._take_head(document)
        for block in document["content"]:
            if isinstance(block, dict):
                self._begin_block(block)
        self._take_end(document, document.get("usage"))
        return True

    def _begin_block(self, block: dict[str, Any]) -> None:
        self._blocks.append(dict(block))
        if block.get("type") == "text":
            self.add(word_of(block, "text"))

    def _take_delta(self, delta: dict[str, Any]) -> None:
        """Blocks come one after the other; a piece belongs to the latest."""
        kind = word_of(delta, "type")
        if kind == "text_delta":
            self.add(word_of(delta, "text"))
        elif kind == "input_json_delta":
            self.add_characters(len(word_of(delta, "partial_json")))
        if not self._blocks:
            return
        position, block = len(self._blocks) - 1, self._blocks[-1]
        if kind == "input_json_delta":
            self._inputs[position] = self._inputs.get(position, "") + word_of(delta, "partial_json")
        elif kind in _DELTA_FIELDS:
            name = _DELTA_FIELDS[kind]
            block[name] = word_of(block, name) + word_of(delta, name)

    def _take_head(self, message: object) -> None:
        self.model = word_of(message, "model")
        self.request_id = self.request_id or word_of(message, "id")
        self._read_meter(field_of(message, "usage"))

    def _take_end(self, delta: object, usage: object) -> None:
        self.explanation = word_of(delta, "stop_details", "explanation") or self.explanation
        self.stop(word_of(delta, "stop_reason"))
        self._read_meter(usage)

    def _read_meter(self, usage: object) -> None:
        """Readings are cumulative; what an event does not say is as before. The input excludes cached and cache-written
        tokens."""
        for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            if (value := field_of(usage, name)) is not None:
                self._counts[name] = value
        self.usage = usage_of(
            prompt=self._counts.get("input_tokens"),
            output=self._counts.get("output_tokens"),
            cached=self._counts.get("cache_read_input_tokens"),
            written=self._counts.get("cache_creation_input_tokens"),
            reasoning=field_of(usage, "output_tokens_details", "thinking_tokens"),
            prompt_has_all=False,
        )


def _object(text: str) -> dict[str, Any]:
    """The JSON object in `text`; an empty one if it holds none (the API takes no other input back)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
