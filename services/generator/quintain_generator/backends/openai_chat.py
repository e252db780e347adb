"""The `openai-compatible` backend: Chat Completions at a base URL (vLLM, Ollama, llama.cpp and the like)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from openai import Omit, omit
from openai.types.chat import ChatCompletionMessageParam
from pydantic import Field

from quintain.plugins.backend import (
    BackendCall,
    BackendOptions,
    BackendReply,
    CallOutcome,
    Message,
    ToolCall,
    Turn,
    Usage,
)
from quintain_generator.backends.answer import Answer, field_of, word_of
from quintain_generator.backends.llm import LLMBackend, LLMOptions
from quintain_generator.backends.openai_client import ask, make_client
from quintain_generator.backends.wire import timeouts, usage_of, words


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
        self._stream: dict[str, Any] = (
            {"stream": True, "stream_options": {"include_usage": True}} if options.stream else {}
        )
        self._max_tokens_field = options.max_tokens_field
        self._needs_key = bool(options.api_key_env or options.api_key_file)
        self._client = make_client(self._key, options.base_url)
        self._completions = self._client.chat.completions.with_streaming_response  # imported now, not in the first call

    @property
    def unavailable_reason(self) -> str:
        return super().unavailable_reason if self._needs_key or self._key else ""

    async def generate(self, call: BackendCall) -> BackendReply:
        effort: Any = self.effort(call.allowance.effort) or omit
        limit: dict[str, int | Omit] = {self._max_tokens_field: call.allowance.max_output_tokens}
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [*chat_messages(call.messages), *(m for turn in call.turns for m in turn_messages(turn))],
            "reasoning_effort": effort,
            "timeout": timeouts(call.timeout_seconds),
            **limit,
            **self._stream,
        }
        if call.tools:
            request["tools"] = [
                {"type": "function", "function": {"name": tool.name, "description": tool.description,
                 "parameters": dict(tool.parameters)}}
                for tool in call.tools
            ]  # fmt: skip
        answer = ChatAnswer(call.allowance.max_output_tokens)
        reply = await ask(self._completions.create(**request), answer, call, self.address)
        if reply.outcome is CallOutcome.BAD_REQUEST and "max_completion_tokens" in reply.detail:
            return replace(
                reply, detail=f'{reply.detail}; set max_tokens_field = "max_tokens" in the backend\'s options'
            )
        return reply

    async def close(self) -> None:
        await self._client.close()


class ChatAnswer(Answer):
    """Chunks of a chat completion, or the whole of one."""

    def __init__(self, max_output_tokens: int) -> None:
        super().__init__(max_output_tokens)
        self._calls: list[_CallParts] = []
        self._named_reasoning = ""  # under the name by which some servers want it back

    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(ToolCall(c.call_id or f"call_{n}", c.name, c.arguments) for n, c in enumerate(self._calls))

    def state(self) -> str:
        kept = {"reasoning_content": self._named_reasoning, "extras": [call.extras for call in self._calls]}
        return json.dumps(kept) if self._named_reasoning or any(kept["extras"]) else ""

    def take_event(self, event: dict[str, Any], name: str) -> bool:
        if "choices" not in event and event.get("object") != "chat.completion.chunk":
            return False
        self._take_head(event)
        choices = event.get("choices")
        if not choices and self.characters and isinstance(event.get("usage"), dict):
            self.end()  # the meter reading of the whole is sent by itself, and last
        for choice in choices if isinstance(choices, list) else ():
            self._take_choice(choice)
        return True

    def take_document(self, document: dict[str, Any]) -> bool:
        choices = document.get("choices")
        if not isinstance(choices, list) or not any(isinstance(choice, dict) for choice in choices):
            return False
        self._take_head(document)
        for choice in choices:
            self._take_choice(choice)
        return True

    def _take_head(self, message: dict[str, Any]) -> None:
        self.model = word_of(message, "model") or self.model
        self.request_id = self.request_id or word_of(message, "id")
        if isinstance(message.get("usage"), dict):
            self.usage = _usage(message["usage"])

    def _take_choice(self, choice: object) -> None:
        if not isinstance(choice, dict) or choice.get("index"):  # one was asked for
            return
        said = choice.get("delta") or choice.get("message") or choice
        before = self.characters
        self.add(_text(field_of(said, "content")) or word_of(said, "text"))
        self.refusal += word_of(said, "refusal")
        self.reasoning += word_of(said, "reasoning_content") or word_of(said, "reasoning")
        self._named_reasoning += word_of(said, "reasoning_content")
        calls = field_of(said, "tool_calls")
        for piece in calls if isinstance(calls, list) else ():
            if isinstance(piece, dict):
                self._take_call(piece)
        self.stop(word_of(choice, "finish_reason"), with_text=self.characters > before)

    def _take_call(self, piece: dict[str, Any]) -> None:
        """A tool call, or a piece of one. Pieces belong to the call of their index; but some servers give every call
        the same index, or none, and tell them apart by id alone."""
        call_id, index = word_of(piece, "id"), piece.get("index")
        call = next((c for c in reversed(self._calls) if c.index == index), None)
        if call is None or (call_id and call.call_id and call_id != call.call_id):
            call = _CallParts(index)
            self._calls.append(call)
        arguments = field_of(piece, "function", "arguments")
        text = json.dumps(arguments) if isinstance(arguments, dict) else words(arguments)
        call.call_id = call.call_id or call_id
        call.name = call.name or word_of(piece, "function", "name")
        call.arguments += text
        call.extras |= {key: value for key, value in piece.items() if key not in _CALL_FIELDS}
        self.add_characters(len(text))


@dataclass(slots=True)
class _CallParts:
    """A tool call as far as it has come. `extras` are fields of a server's own, which it may want back."""

    index: object
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    extras: dict[str, Any] = field(default_factory=dict)


_CALL_FIELDS = ("id", "index", "type", "function")


def turn_messages(turn: Turn) -> list[Any]:
    """A turn of a conversation: the model's answer, the results of its tools, and what else it was told."""
    state = json.loads(turn.state) if turn.state else {}
    extras = state.get("extras") or [{}] * len(turn.tool_calls)
    said: dict[str, Any] = {"role": "assistant", "content": turn.text or None}
    if state.get("reasoning_content"):
        said["reasoning_content"] = state["reasoning_content"]
    if turn.tool_calls:
        said["tool_calls"] = [
            {
                **extra,
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call, extra in zip(turn.tool_calls, extras, strict=True)
        ]
    messages = [said]
    for call, result in zip(turn.tool_calls, turn.results, strict=True):
        messages.append({"role": "tool", "tool_call_id": call.call_id, "content": result.content})
    if turn.message:
        messages.append({"role": "user", "content": turn.message})
    return messages


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


def _usage(usage: dict[str, Any]) -> Usage | None:
    return usage_of(
        prompt=usage.get("prompt_tokens"),
        output=usage.get("completion_tokens"),
        cached=field_of(usage, "prompt_tokens_details", "cached_tokens"),
        written=field_of(usage, "prompt_tokens_details", "cache_write_tokens"),
        reasoning=field_of(usage, "completion_tokens_details", "reasoning_tokens"),
        prompt_has_all=True,
    )
