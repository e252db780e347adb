"""The `openai` backend: the Responses API, nothing stored at the provider."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from openai import omit

from quintain.plugins.backend import (
    BackendCall,
    BackendOptions,
    BackendReply,
    Batches,
    CallOutcome,
    Message,
    ToolCall,
    Turn,
    Usage,
)
from quintain_generator.backends.answer import Answer, field_of, word_of
from quintain_generator.backends.failures import complained
from quintain_generator.backends.llm import BatchOptions, LLMBackend
from quintain_generator.backends.openai_batches import OpenAIBatches
from quintain_generator.backends.openai_client import ask, make_client
from quintain_generator.backends.provider_words import complaint_in, finish_outcome
from quintain_generator.backends.wire import timeouts, usage_of, words

_STATES = ("completed", "incomplete", "failed", "cancelled")


class OpenAIOptions(BatchOptions):
    stream: bool = True


class OpenAIBackend(LLMBackend):
    Options: ClassVar[type[BackendOptions]] = OpenAIOptions
    default_key_env = "OPENAI_API_KEY"

    def __init__(self, model: str, options: OpenAIOptions) -> None:
        super().__init__(model, options)
        self._stream = options.stream
        self._client = make_client(self._key, options.base_url)
        self._responses = self._client.responses.with_streaming_response  # imported now, not within the first call

        self._batches = (
            OpenAIBatches(self._client, self._request, ResponsesAnswer, self.address, options.batch_poll_seconds)
            if options.batch
            else None
        )

    @property
    def batches(self) -> Batches | None:
        return self._batches

    async def generate(self, call: BackendCall) -> BackendReply:
        answer = ResponsesAnswer(call.allowance.max_output_tokens)
        request = self._responses.create(
            **self._request(call), stream=True if self._stream else omit, timeout=timeouts(call.timeout_seconds)
        )
        return await ask(request, answer, call, self.address)

    def _request(self, call: BackendCall) -> dict[str, Any]:
        """The body, without what says how it is to be answered."""
        effort = self.effort(call.allowance.effort)
        request: dict[str, Any] = {
            "model": self.model,
            "input": [*self._input(call.messages), *(item for turn in call.turns for item in turn_items(turn))],
            "max_output_tokens": call.allowance.max_output_tokens,
            "store": False,
        }
        if effort:
            request["reasoning"] = {"effort": effort}
        if call.tools:
            request["tools"] = [
                {"type": "function", "name": tool.name, "description": tool.description,
                 "parameters": dict(tool.parameters), "strict": False}
                for tool in call.tools
            ]  # fmt: skip
            if self.traits.efforts:  # nothing is stored there, so its reasoning comes back and forth, sealed
                request["include"] = ["reasoning.encrypted_content"]
        return request

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


def turn_items(turn: Turn) -> list[dict[str, Any]]:
    """A turn of a conversation: the model's items as it gave them, then what it was told."""
    items: list[dict[str, Any]] = json.loads(turn.state) if turn.state else []
    for call, result in zip(turn.tool_calls, turn.results, strict=True):
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": result.content})
    if turn.message:
        items.append({"role": "user", "content": [{"type": "input_text", "text": turn.message}]})
    return items


class ResponsesAnswer(Answer):
    """Events of a response, or the whole of one."""

    def __init__(self, max_output_tokens: int) -> None:
        super().__init__(max_output_tokens)
        self._items: list[dict[str, Any]] = []

    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(word_of(item, "call_id"), word_of(item, "name"), word_of(item, "arguments"))
            for item in self._items
            if item.get("type") == "function_call"
        )

    def state(self) -> str:
        return json.dumps(self._items)

    def take_event(self, event: dict[str, Any], name: str) -> bool:
        kind = word_of(event, "type") or name
        if not kind.startswith("response."):
            return False
        if kind == "response.output_text.delta":
            self.add(word_of(event, "delta"))
        elif kind == "response.refusal.delta":
            self.refusal += word_of(event, "delta")
        elif kind == "response.function_call_arguments.delta":
            self.add_characters(len(word_of(event, "delta")))
        elif kind == "response.output_item.done" and isinstance(item := event.get("item"), dict):
            self._items.append(item)
        elif kind.removeprefix("response.") in _STATES:
            self._take_response(event.get("response"), kind.removeprefix("response."))
            self.end()
        return True

    def take_document(self, document: dict[str, Any]) -> bool:
        if not isinstance(document.get("output"), list) and document.get("object") != "response":
            return False
        status = word_of(document, "status") or "completed"
        if status not in _STATES:
            return False
        self._take_response(document, status)
        return True

    def _take_response(self, response: object, status: str) -> None:
        """A finished response. Its own text counts, and what was streamed only if it has none."""
        output = field_of(response, "output")
        parts: list[Any] = []
        if isinstance(output, list) and output:
            self._items = [item for item in output if isinstance(item, dict)]
        for item in output if isinstance(output, list) else ():
            content = field_of(item, "content")
            if field_of(item, "type") == "message" and isinstance(content, list):
                parts += content
        whole = "".join(word_of(part, "text") for part in parts if field_of(part, "type") == "output_text")
        if whole:
            self._parts = [whole]
        self.refusal = "".join(word_of(p, "refusal") for p in parts if field_of(p, "type") == "refusal") or self.refusal
        self.model = word_of(response, "model")
        self.request_id = self.request_id or word_of(response, "id")
        usage = field_of(response, "usage")
        self.usage = _usage(usage) if isinstance(usage, dict) else None
        if status == "failed":
            said = complaint_in(field_of(response, "error") or "the response failed without a reason")
            self.failure = complained(said)
        elif status == "incomplete":
            reason = words(field_of(response, "incomplete_details", "reason")) or "no reason given"
            self.explanation = f"incomplete: {reason}"
            self.stop(reason if finish_outcome(reason) is not CallOutcome.OK else "incomplete")
        else:
            self.stop(status)


def _usage(usage: dict[str, Any]) -> Usage | None:
    return usage_of(
        prompt=usage.get("input_tokens"),
        output=usage.get("output_tokens"),
        cached=field_of(usage, "input_tokens_details", "cached_tokens"),
        written=field_of(usage, "input_tokens_details", "cache_write_tokens"),
        reasoning=field_of(usage, "output_tokens_details", "reasoning_tokens"),
        prompt_has_all=True,
    )
