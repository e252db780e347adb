"""Conversations with tools as the fault server plays them: deterministic functions of the request, on every wire.

Each answer that calls tools carries a seal (encrypted reasoning, signed thinking, `reasoning_content`) made from its
calls. A request must bring every seal back unchanged and a result for each call, in order; else it is refused as the
real services refuse it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fault_server.answers import Call, policy_for, prompt_of, seal_of


@dataclass(frozen=True)
class Said:
    """What the scripted model says: text, and calls as (tool, arguments as JSON text)."""

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()


Script = Callable[[str, int, Sequence[str]], Said]
"""(the prompt before the first answer, the number of the answer from 1, policies to choose from) -> what is said."""


def play(prompt: str, number: int, policies: Sequence[str]) -> Said:
    """The default script: the prompt's hash chooses one of five ways to behave."""
    way = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[6:8], "big") % 5
    first, second = policy_for(f"{prompt}1", policies), policy_for(f"{prompt}2", policies)
    submit = Said("Submitting.", (("submit", json.dumps({"policy": second, "rationale": "it did better"})),))
    ways: list[list[Said]] = [
        [submit],
        [Said(f"Plain words.\n\n```python\n{first}```\n")],
        [_run(first), submit],
        [
            Said(
                "Two at once.", (*_run(first).calls, ("note", json.dumps({"text": "trying"})), ("no_such_tool", "{}"))
            ),
            Said("", (("run", '{"policy": '),)),  # cut off in the middle
            Said("", (("compare", json.dumps({"policy": second, "other": 0})),)),
            submit,
        ],
        [
            Said("", (("candidates", ""), ("source", '{"number": 0}'), ("floors", "{}"))),
            _run(first),
            Said("", (("submit", json.dumps({"policy": "def nothing(:"})),)),  # is told, and tries again
            submit,
        ],
    ]
    return ways[way][min(number, len(ways[way])) - 1]


def _run(policy: str) -> Said:
    return Said("", (("run", json.dumps({"policy": policy, "scenarios": []})),))


@dataclass(frozen=True)
class _Turn:
    calls: tuple[Call, ...]
    seal: str
    results: tuple[str, ...]  # ids that were answered


def said_next(body: dict[str, Any], script: Script, policies: Sequence[str]) -> tuple[str, tuple[Call, ...]]:
    """The next answer: its text, and its calls with ids."""
    turns = _turns(body)
    number = len(turns) + 1
    said = script(_first_prompt(body), number, policies)
    return said.text, tuple(Call(f"call_{number}_{i}", name, text) for i, (name, text) in enumerate(said.calls))


def complaint(body: dict[str, Any]) -> str:
    """Why a request's conversation would be refused; empty if it would not."""
    names = [tool.get("name") or tool["function"]["name"] for tool in body.get("tools", ())]
    if len(names) != len(set(names)) or not all(re.fullmatch("[a-z_]{1,64}", name) for name in names):
        return f"odd tools: {names}"
    if "tool_choice" in body:
        return "tool_choice is not supported by this model"
    for number, turn in enumerate(_turns(body), start=1):
        ids = tuple(call.call_id for call in turn.calls)
        if turn.results != ids:
            return f"turn {number} calls {ids}, the results are for {turn.results}"
        if turn.calls and turn.seal != seal_of(turn.calls):
            return f"turn {number}: the reasoning is not the one that was given"
    return ""


def _first_prompt(body: dict[str, Any]) -> str:
    """All text before the first answer."""
    kept = dict(body)
    for key in ("input", "messages"):
        if key in body:
            items = body[key]
            end = next((i for i, item in enumerate(items) if _is_answer(item)), len(items))
            kept[key] = items[:end]
    return prompt_of(kept)


def _is_answer(item: dict[str, Any]) -> bool:
    return item.get("role") == "assistant" or item.get("type") in ("reasoning", "function_call")


def _turns(body: dict[str, Any]) -> list[_Turn]:
    if "input" in body:
        return _responses_turns(body["input"])
    turns: list[_Turn] = []
    for message in body.get("messages", ()):
        if message["role"] == "assistant":
            turns.append(_chat_turn(message) if "anthropic" not in _dialect(message) else _messages_turn(message))
        elif turns:
            found = [message["tool_call_id"]] if message["role"] == "tool" else _tool_result_ids(message)
            turns[-1] = _Turn(turns[-1].calls, turns[-1].seal, (*turns[-1].results, *found))
    return turns


def _dialect(message: dict[str, Any]) -> str:
    return "anthropic" if isinstance(message.get("content"), list) else "chat"


def _chat_turn(message: dict[str, Any]) -> _Turn:
    calls = tuple(
        Call(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or ()
    )
    return _Turn(calls, message.get("reasoning_content", ""), ())


def _messages_turn(message: dict[str, Any]) -> _Turn:
    blocks = message["content"]
    calls = tuple(Call(b["id"], b["name"], json.dumps(b["input"])) for b in blocks if b["type"] == "tool_use")
    seal = next((b["signature"] for b in blocks if b["type"] == "thinking"), "")
    return _Turn(calls, seal, ())


def _tool_result_ids(message: dict[str, Any]) -> list[str]:
    content = message["content"]
    return [b["tool_use_id"] for b in content if b["type"] == "tool_result"] if isinstance(content, list) else []


def _responses_turns(items: list[dict[str, Any]]) -> list[_Turn]:
    turns: list[_Turn] = []
    calls: list[Call] = []
    results: list[str] = []
    seal, answered = "", False

    def close() -> None:
        nonlocal calls, seal, results, answered
        if answered:
            turns.append(_Turn(tuple(calls), seal, tuple(results)))
        calls, seal, results, answered = [], "", [], False

    for item in items:
        if _is_answer(item):
            if results or (answered and item.get("type") == "reasoning"):
                close()
            answered = True
            if item.get("type") == "reasoning":
                seal = item["encrypted_content"]
            elif item.get("type") == "function_call":
                calls.append(Call(item["call_id"], item["name"], item["arguments"]))
        elif item.get("type") == "function_call_output":
            results.append(item["call_id"])
        elif answered:
            close()
    close()
    return turns
