"""What the fault server says: answers as deterministic functions of the request, in each wire protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DEFAULT_POLICY = '''"""A policy of the fault server."""


def decide(state):
    return sorted(state)
'''

FENCES = {
    "python": "A rationale.\n\n```python\n{code}```\n",
    "plain": "A rationale.\n\n```\n{code}```\n",
    "none": "{code}",
    "prose": "Here you are:\n\n{code}",
    "unclosed": "A rationale.\n\n```python\n{code}",
    "tilde": "A rationale.\n\n~~~python\n{code}~~~\n",
    "four": "A rationale.\n\n````python\n{code}````\n",
    "think": "<think>\n```python\nthis is not the answer(\n```\n</think>\nA rationale.\n\n```python\n{code}```\n",
    "several": "A sketch:\n\n```python\nx = (\n```\n\nand now:\n\n```python\n{code}```\n\nRun:\n\n```bash\nls\n```\n",
    "indented": "1. The policy:\n\n   ```python\n{indented}   ```\n",
    "py_with_title": 'A rationale.\n\n```py title="policy.py"\n{code}```\n',
    "tabbed": "- The policy:\n\n\t```python\n{tabbed}\t```\n",
    "quoted": "A rationale.\n\n> ```python\n{quoted}> ```\n",
    "nested": "````markdown\nA rationale.\n\n```python\n{code}```\n````\n",
    "after_words": "The policy: ```python\n{code}```\n",
    "closed_on_the_line": "A rationale.\n\n```python\n{stripped}```\nDone.",
    "bare_between_words": "I'd sort.\n\n# Policy\n\nfrom here on it is code.\n\n{code}\nThat's it; it doesn't fail.\n",
    "unclosed_then_words": "A rationale.\n\n```python\n{code}\nThat's it; it doesn't fail.\n",
    "think_unclosed": "<think>\nMaybe this.\n\n```python\n{code}```\n",
    "think_unopened": "Maybe x = (\n```python\nx = (\n```\n</think>\nA rationale.\n\n```python\n{code}```\n",
    "other_languages": "```diff\n-a\n+b\n```\n```python\n{code}```\n```json\n[]\n```\n",
    "sixty": "```\na step\n```\n" * 60 + "```python\n{code}```\n",
    "unseen": "\ufeffA rationale.\n\n```python\n\ufeff{unseen}```\n",
    "surrogate": "A rationale \ud800.\n\n```python\n{code}```\n",
    "crlf": "A rationale.\r\n\r\n```python\r\n{crlf}```\r\n",
    "language_line": "A rationale.\n\n```\npython\n{code}```\n",
    "language_line_after_blank": "A rationale.\n\n```python\n\nPython\n{code}```\n",
    "harmony_bare": "<|channel|>final<|message|>{code}",
    "harmony": "<|channel|>analysis<|message|>Maybe ```python\nx = (\n```<|end|><|start|>assistant<|channel|>final"
    "<|message|>A rationale.\n\n```python\n{code}```<|return|>",
    "harmony_constrained": "<|start|>assistant<|channel|>final <|constrain|>python<|message|>"
    "```python\n{code}```<|end|>",
    "im_tokens": "<|im_start|>assistant\n{code}<|im_end|>",
    "im_token_on_the_line": "<|im_start|>assistant<|im_sep|>{code}<|im_end|>\n<|endoftext|>",
    "header_tokens": "<|start_header_id|>assistant<|end_header_id|>\n\n```python\n{code}```<|eot_id|>",
    "turn_tokens": "<start_of_turn>model\n```python\n{code}```<end_of_turn>\n",
    "sentence_tokens": "<s>{code}</s>",
    "wide_tokens": "<\uff5cAssistant\uff5c>{code}<\uff5cend\u2581of\u2581sentence\uff5c>",
    "box_tokens": "<|begin_of_box|>```python\n{code}```<|end_of_box|>",
    "tags": "<answer>\n{code}</answer>",
    "square_tags": "[PYTHON]\n{code}[/PYTHON]",
    "no_code": "I would rather talk about the weather.",
    "broken_code": "A rationale.\n\n```python\ndef decide(state:\n    return\n```\n",
    "wrong_name": "A rationale.\n\n```python\ndef something_else(state):\n    return state\n```\n",
}


@dataclass(frozen=True)
class Call:
    """A tool call; `arguments` is JSON text, or what was meant to be some."""

    call_id: str
    name: str
    arguments: str


def seal_of(calls: Sequence[Call]) -> str:
    """What a model's hidden reasoning is made of here. The input of a call is an object on one wire, so its spelling
    does not count."""
    plain = [[call.call_id, call.name, _parsed(call.arguments)] for call in calls]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return {}


@dataclass(frozen=True)
class Answer:
    """`finish`: stop, length, refusal, content_filter. `usage` False leaves the meter reading out, `odd_usage` makes it
    one that cannot be. Without `model`, what names the answer is missing."""

    text: str
    model: str
    input_tokens: int
    finish: str = "stop"
    usage: bool = True
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    odd_usage: bool = False
    calls: tuple[Call, ...] = ()

    @property
    def named(self) -> dict[str, Any]:
        return {"model": self.model} if self.model else {"id": None, "model": None}

    @property
    def output_tokens(self) -> int:
        return -5 if self.odd_usage else len(self.text) // 4 + self.reasoning_tokens + 1

    @property
    def identity(self) -> str:
        return hashlib.sha256(self.text.encode("utf-8", "replace")).hexdigest()[:16]


def prompt_of(body: dict[str, Any]) -> str:
    """All text of a request, whatever the protocol."""
    parts: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, str):
            parts.append(value)
        elif isinstance(value, list):
            for item in value:
                collect(item)
        elif isinstance(value, dict):
            for key in ("system", "instructions", "input", "messages", "content", "text"):
                collect(value.get(key))

    collect({key: body.get(key) for key in ("system", "instructions", "input", "messages")})
    return "\n".join(parts)


def policy_for(prompt: str, policies: Sequence[str]) -> str:
    """The prompt's hash chooses the policy and a constant, so that different prompts give different programs."""
    digest = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:6], "big")
    return f"{policies[digest % len(policies)].rstrip()}\n\n_VARIANT = {digest % 1_000_000}\n"


def fenced(code: str, kind: str) -> str:
    indented = "".join(f"   {line}\n" for line in code.splitlines())
    return FENCES[kind].format(
        code=code,
        stripped=code.rstrip("\n"),
        indented=indented,
        tabbed=indented.replace("   ", "\t", 1).replace("\n   ", "\n\t"),
        quoted=indented.replace("   ", "> ", 1).replace("\n   ", "\n> "),
        crlf=code.replace("\n", "\r\n"),
        unseen=code.replace("    ", "\u00a0" * 4).replace("return", "return\u200b"),
    )


# ---------------------------------------------------------------------------------------------------- protocols

_DIFF = "{rationale}\n\n<<<<<<< SEARCH\n    return {old}\n=======\n    return {new}\n>>>>>>> REPLACE\n"


def diff_answer(*, applies: bool) -> str:
    """A change of DEFAULT_POLICY, or one of something else."""
    old = "sorted(state)" if applies else "nowhere(state)"
    return _DIFF.format(rationale="Sort the other way.", old=old, new="sorted(state)[::-1]")


def _pieces(text: str, count: int = 8) -> list[str]:
    size = max(1, -(-len(text) // count))
    return [text[at : at + size] for at in range(0, len(text), size)]


def _sse(data: dict[str, Any], event: str = "") -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


class Responses:
    """OpenAI's Responses API."""

    path = "/v1/responses"
    request_id_header = "x-request-id"

    @staticmethod
    def body(a: Answer) -> dict[str, Any]:
        part = (
            {"type": "refusal", "refusal": a.text}
            if a.finish == "refusal"
            else {"type": "output_text", "text": a.text, "annotations": []}
        )
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        said = [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}]
        content: list[dict[str, Any]] = said if a.text else []
        if a.calls:
            sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal_of(a.calls)}
            content = [sealed, *content]
        for call in a.calls:
            content.append(
                {"type": "function_call", "id": f"fc_{call.call_id}", "call_id": call.call_id, "name": call.name,
                 "arguments": call.arguments, "status": "completed"}
            )  # fmt: skip
        return {
            "id": f"resp_{a.identity}",
            "object": "response",
            "created_at": 0,
            **a.named,
            "status": "incomplete" if a.finish in reasons else "completed",
            "incomplete_details": {"reason": reasons[a.finish]} if a.finish in reasons else None,
            "error": None,
            "output": content,
            "usage": {
                "input_tokens": a.input_tokens,
                "input_tokens_details": {"cached_tokens": a.cached_tokens, "cache_write_tokens": 0},
                "output_tokens": a.output_tokens,
                "output_tokens_details": {"reasoning_tokens": a.reasoning_tokens},
                "total_tokens": a.input_tokens + a.output_tokens,
            }
            if a.usage
            else None,
        }

    @classmethod
    def events(cls, a: Answer) -> list[bytes]:
        body = cls.body(a)
        begun = {**body, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
        events: list[tuple[str, dict[str, Any]]] = [("response.created", {"response": begun})]
        kind = "response.refusal.delta" if a.finish == "refusal" else "response.output_text.delta"
        for piece in _pieces(a.text):
            delta = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": piece, "logprobs": []}
            events.append((kind, delta))
        for item in body["output"] if a.calls else ():
            for piece in _pieces(item.get("arguments", "")):
                events.append(("response.function_call_arguments.delta", {"item_id": item["id"], "delta": piece}))
            events.append(("response.output_item.done", {"item": item}))
        events.append((f"response.{body['status']}", {"response": body}))
        return [_sse({"type": name, "sequence_number": n, **data}, name) for n, (name, data) in enumerate(events)]

    @staticmethod
    def error_body(kind: str, code: str, message: str) -> dict[str, Any]:
        return {"error": {"type": kind, "code": code, "message": message, "param": None}}

    @staticmethod
    def unknown_events() -> list[bytes]:
        return [
            b": a comment\n\n",
            _sse({"type": "response.news", "n": 1}, "response.news"),
            _sse({"n": 1}),
            b"data: [1]\n\n",
        ]

    @staticmethod
    def error_event(message: str) -> bytes:
        data = {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 9}
        return _sse(data, "error")


class Chat:
    """Chat Completions, as OpenAI-compatible servers speak it."""

    path = "/v1/chat/completions"
    request_id_header = "x-request-id"

    @staticmethod
    def _usage(a: Answer) -> dict[str, Any]:
        return {
            "prompt_tokens": a.input_tokens,
            "completion_tokens": a.output_tokens,
            "total_tokens": a.input_tokens + a.output_tokens,
            "prompt_tokens_details": {"cached_tokens": a.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": a.reasoning_tokens},
        }

    @staticmethod
    def _tools(a: Answer) -> dict[str, Any]:
        if not a.calls:
            return {}
        calls = [
            {"id": c.call_id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in a.calls
        ]
        return {"reasoning_content": seal_of(a.calls), "tool_calls": calls}

    @classmethod
    def body(cls, a: Answer) -> dict[str, Any]:
        refused = a.finish == "refusal"
        message = {
            "role": "assistant",
            "content": None if refused else a.text,
            "refusal": a.text if refused else None,
            **cls._tools(a),
        }
        finish = "tool_calls" if a.calls else "stop" if refused else a.finish
        return {
            "id": f"chatcmpl-{a.identity}",
            "object": "chat.completion",
            "created": 0,
            **a.named,
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
            "usage": cls._usage(a) if a.usage else None,
        }

    @classmethod
    def events(cls, a: Answer) -> list[bytes]:
        head = {"id": f"chatcmpl-{a.identity}", "object": "chat.completion.chunk", "created": 0, **a.named}
        field = "refusal" if a.finish == "refusal" else "content"
        finish = "tool_calls" if a.calls else "stop" if a.finish == "refusal" else a.finish

        def chunk(delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
            return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None}

        chunks = [chunk({"role": "assistant", "content": ""}, None)]
        chunks += [chunk({field: piece}, None) for piece in _pieces(a.text)]
        if a.calls:
            chunks += [chunk({"reasoning_content": piece}, None) for piece in _pieces(seal_of(a.calls), 2)]
        for index, call in enumerate(a.calls):
            named = {"index": index, "id": call.call_id, "type": "function"}
            chunks.append(chunk({"tool_calls": [{**named, "function": {"name": call.name, "arguments": ""}}]}, None))
            for piece in _pieces(call.arguments):
                delta = {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
                chunks.append(chunk(delta, None))
        chunks.append(chunk({}, finish))
        if a.usage:
            chunks.append({**head, "choices": [], "usage": cls._usage(a)})
        return [*(_sse(c) for c in chunks), b"data: [DONE]\n\n"]

    @staticmethod
    def unknown_events() -> list[bytes]:
        odd: list[dict[str, Any]] = [{"object": "news"}, {"choices": []}, {"choices": [{"index": 0, "delta": None}]}]
        return [b": a comment\n\n", *(_sse(chunk) for chunk in odd), b"data: [1]\n\n"]

    error_body = staticmethod(Responses.error_body)

    @staticmethod
    def error_event(message: str) -> bytes:
        return _sse(Responses.error_body("server_error", "server_error", message))


_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal", "content_filter": "refusal"}


class Messages:
    """Anthropic's Messages API."""

    path = "/v1/messages"
    request_id_header = "request-id"

    @staticmethod
    def _blocks(a: Answer) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        if a.calls:
            blocks.append({"type": "thinking", "thinking": "Let me try.", "signature": seal_of(a.calls)})
        if a.text:
            blocks.append({"type": "text", "text": a.text})
        for call in a.calls:
            blocks.append({"type": "tool_use", "id": call.call_id, "name": call.name, "input": _parsed(call.arguments)})
        return blocks

    @classmethod
    def body(cls, a: Answer) -> dict[str, Any]:
        return {
            "id": f"msg_{a.identity}",
            "type": "message",
            "role": "assistant",
            **a.named,
            "content": cls._blocks(a),
            "stop_reason": "tool_use" if a.calls else _STOP_REASONS[a.finish],
            "stop_sequence": None,
            "usage": {
                "input_tokens": a.input_tokens - a.cached_tokens,
                "cache_read_input_tokens": a.cached_tokens,
                "cache_creation_input_tokens": 0,
                "output_tokens": a.output_tokens,
                "output_tokens_details": {"thinking_tokens": a.reasoning_tokens},
            },
        }

    @classmethod
    def events(cls, a: Answer) -> list[bytes]:
        body = cls.body(a)
        begun = {**body, "content": [], "stop_reason": None, "usage": {**body["usage"], "output_tokens": 1}}
        events: list[tuple[str, dict[str, Any]]] = [("message_start", {"message": begun})]
        calls = iter(a.calls)
        empty: dict[str, Any]
        for index, block in enumerate(body["content"]):
            if block["type"] == "text":
                empty, deltas = {"text": ""}, [("text_delta", "text", piece) for piece in _pieces(a.text)]
            elif block["type"] == "thinking":
                empty = {"thinking": "", "signature": ""}
                deltas = [("thinking_delta", "thinking", piece) for piece in _pieces(block["thinking"], 2)]
                deltas.append(("signature_delta", "signature", block["signature"]))
            else:
                written = next(calls).arguments
                empty = {"input": {}}
                deltas = [("input_json_delta", "partial_json", piece) for piece in ["", *_pieces(written)]]
            events.append(("content_block_start", {"index": index, "content_block": {**block, **empty}}))
            for kind, name, piece in deltas:
                events.append(("content_block_delta", {"index": index, "delta": {"type": kind, name: piece}}))
            events.append(("content_block_stop", {"index": index}))
        delta = {"stop_reason": body["stop_reason"], "stop_sequence": None}
        events.append(("message_delta", {"delta": delta, "usage": body["usage"]}))
        events.append(("message_stop", {}))
        return [_sse({"type": name, **data}, name) for name, data in events]

    @staticmethod
    def error_body(kind: str, code: str, message: str) -> dict[str, Any]:
        details = {"error_code": code} if code else None
        return {"type": "error", "error": {"type": kind, "message": message, "details": details}}

    @staticmethod
    def unknown_events() -> list[bytes]:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "news_delta", "news": 1}}
        return [_sse({"type": "ping"}, "ping"), _sse({"type": "news"}, "news"), _sse(delta, "content_block_delta")]

    @classmethod
    def error_event(cls, message: str) -> bytes:
        return _sse(cls.error_body("overloaded_error", "", message), "error")


PROTOCOLS = {protocol.path: protocol for protocol in (Responses, Chat, Messages)}
