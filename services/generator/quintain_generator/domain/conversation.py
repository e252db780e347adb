"""A conversation with tools: what was said so far, rebuilt from the recorded calls; which tool calls are refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from quintain.plugins.backend import BackendReply, Message, Tool, ToolCall, ToolResult, Turn
from quintain_generator.domain.generation import FINAL_ANSWERS, CallRecord, Told

SUBMIT = Tool(
    name="submit",
    description="Hand in your policy: the complete Python module. This ends the conversation, unless the policy cannot "
    "be taken (it does not parse, lacks a required definition, or is one that you were shown); you are told then.",
    parameters={
        "type": "object",
        "properties": {
            "policy": {"type": "string", "description": "the complete module"},
            "rationale": {
                "type": "string",
                "description": "what it does differently and why, briefly",
            },
        },
        "required": ["policy"],
        "additionalProperties": False,
    },
)

LAST_ANSWER = (
    "Your next answer is the last one: no further tool is run. Submit your policy now, with `submit` or as one fenced "
    "Python block."
)
POLICY_WANTED = (
    "The conversation ends with a policy, and your answer cannot be taken as one ({problem}). Your next answer is the "
    "last one: submit your policy now, with `submit` or as one fenced Python block."
)

MAX_CALLS = 16
"""Tools that one answer may call; further calls are not run."""
_MAX_ARGUMENT_CHARACTERS = 1_000_000
_MAX_NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a request for a conversation brings: the caller's tools, the bound on answers, and the caller's results so
    far by call id (`call_id`)."""

    tools: tuple[Tool, ...]
    max_turns: int
    results: Mapping[str, ToolResult]


@dataclass(frozen=True, slots=True)
class Question:
    """What one call asks: the prompt, and in a conversation its tools and the turns since."""

    prompt: tuple[Message, ...]
    turns: tuple[Turn, ...] = ()
    tools: tuple[Tool, ...] = ()
    max_turns: int = 0

    @property
    def told(self) -> Told | None:
        """What this question adds to the conversation."""
        return Told(self.turns[-1].results, self.turns[-1].message) if self.turns else None

    @property
    def messages(self) -> tuple[Message, ...]:
        """All of it as plain messages, for estimates of its length."""
        declared = json.dumps([[t.name, t.description, dict(t.parameters)] for t in self.tools]) if self.tools else ""
        said = [message for turn in self.turns for message in _plain(turn)]
        return (*self.prompt, *([Message("system", declared)] if declared else []), *said)


def _plain(turn: Turn) -> list[Message]:
    calls = "".join(f"{call.name}{call.arguments}" for call in turn.tool_calls)
    answer = turn.state or turn.text + calls  # the state has the rest in it
    results = "".join(result.content for result in turn.results)
    return [Message("assistant", answer), Message("user", results + turn.message)]


def call_id(turn: int, index: int) -> str:
    """The contract's name of a tool call: the turn from 1, the position in it from 0."""
    return f"{turn}.{index}"


def answers_of(calls: Sequence[CallRecord]) -> list[tuple[BackendReply, Told | None]]:
    """The model's answers in order, each with what the model was told then (None: nothing yet)."""
    found: list[tuple[BackendReply, Told | None]] = []
    for call in calls:
        if found and call.told is not None and found[-1][1] is None:
            found[-1] = (found[-1][0], call.told)
        if call.reply is not None and call.outcome in FINAL_ANSWERS:
            found.append((call.reply, None))
    return found


def turns_of(calls: Sequence[CallRecord]) -> tuple[Turn, ...]:
    """The conversation after its prompt."""
    return tuple(
        Turn(reply.text, reply.tool_calls, reply.state, told.results if told else (), told.message if told else "")
        for reply, told in answers_of(calls)
    )


def arguments_of(call: ToolCall) -> dict[str, object]:
    """Raises ValueError that says to the model what is wrong with its arguments."""
    if len(call.arguments) > _MAX_ARGUMENT_CHARACTERS:
        raise ValueError(
            f"the arguments have {len(call.arguments)} characters, at most {_MAX_ARGUMENT_CHARACTERS} may be"
        )
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the arguments are not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise ValueError("the arguments must be a JSON object")
    return arguments


def refusal(call: ToolCall, index: int, known: Collection[str]) -> str:
    """Why a tool call is not run, in words for the model; empty if it is one for the caller (or `submit`)."""
    if index >= MAX_CALLS:
        return f"not run: at most {MAX_CALLS} tools may be called in one answer"
    if call.name not in known:
        return f"there is no tool {call.name[:_MAX_NAME_CHARACTERS]!r}; there are {', '.join(sorted(known))}"
    try:
        arguments_of(call)
    except ValueError as error:
        return str(error)
    return ""


def submission(call: ToolCall) -> tuple[str, str]:
    """(policy, rationale) of a call of `submit`. Raises ValueError in words for the model."""
    arguments = arguments_of(call)
    policy, rationale = arguments.get("policy"), arguments.get("rationale", "")
    if not isinstance(policy, str) or not policy.strip():
        raise ValueError("submit needs `policy`: the complete module as a string")
    return policy, rationale if isinstance(rationale, str) else ""
