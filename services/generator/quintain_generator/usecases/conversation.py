"""A request made in a conversation: the model may call tools, which the caller runs, before it submits a policy.

The conversation is rebuilt from the recorded calls each time the request is asked for, so whoever was killed goes on at
that turn. What the model was told is part of the record of the call that told it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from quintain.plugins.backend import BackendReply, CallOutcome, Message, Task, ToolCall, ToolResult, Turn
from quintain_generator.domain.conversation import (
    LAST_ANSWER,
    POLICY_WANTED,
    SUBMIT,
    Conversation,
    Question,
    answers_of,
    call_id,
    refusal,
    submission,
)
from quintain_generator.domain.generation import GenerationOutcome, Spend, Told, spend_of
from quintain_generator.domain.judge import Judgement, judge
from quintain_generator.usecases.call_loop import CallLoop, CostUsedUp


@dataclass(frozen=True, slots=True)
class ToolsWanted:
    """The model waits for these tools: the caller is to run them and to ask again. `calls` have the contract's ids;
    `spend` is what the request has cost so far."""

    calls: tuple[ToolCall, ...]
    spend: Spend


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer of the model, the `number`-th from 1. `last`: no further one will be asked for."""

    number: int
    reply: BackendReply
    last: bool


class Conversing:
    """One request's conversation, as far as it goes now. `count` hears which kind of tool is called."""

    def __init__(
        self,
        loop: CallLoop,
        task: Task,
        conversation: Conversation,
        prompt: tuple[Message, ...],
        max_policy_bytes: int,
        *,
        count: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._task = task
        self._conversation = conversation
        self._prompt = prompt
        self._max_policy_bytes = max_policy_bytes
        self._count = count
        self._tools = (*conversation.tools, SUBMIT)

    async def run(self) -> tuple[Judgement, BackendReply | None] | ToolsWanted:
        """Ask until a policy is submitted, or a tool is to be run. Raises what `CallLoop.ask` raises."""
        answers = answers_of(self._loop.calls)
        turns: list[Turn] = []
        while True:
            number = len(turns) + 1
            told: Told | None = None
            if number <= len(answers):
                reply, told = answers[number - 1]
            else:
                try:
                    reply = await self._loop.ask(self._question(turns))
                except CostUsedUp as end:
                    return Judgement(GenerationOutcome.NO_CODE, detail=f"no policy was submitted: {end}"), None
                for call in reply.tool_calls:
                    self._count("submit" if call.name == SUBMIT.name else "asked")
            last = number >= self._conversation.max_turns or bool(turns and turns[-1].message)
            judgement, problem = await asyncio.to_thread(self._judged, _Answer(number, reply, last))
            if judgement is not None:
                return judgement, reply
            if told is None:
                found = self._results(number, reply, problem)
                if isinstance(found, ToolsWanted):
                    return found
                told = Told(found, self._message(turns, reply, found, problem))
            turns.append(Turn(reply.text, reply.tool_calls, reply.state, told.results, told.message))

    def _question(self, turns: list[Turn]) -> Question:
        return Question(self._prompt, tuple(turns), self._tools, self._conversation.max_turns)

    def _judged(self, answer: _Answer) -> tuple[Judgement | None, str]:
        """The judgement that ends the conversation, or why what was submitted does not (empty: nothing was)."""
        reply = answer.reply
        if reply.outcome is not CallOutcome.OK or reply.source or reply.rejection is not None:
            return judge(self._task, reply, self._max_policy_bytes), ""
        submitted = next((call for call in reply.tool_calls if call.name == SUBMIT.name), None)
        if submitted is not None:
            try:
                policy, rationale = submission(submitted)
            except ValueError as error:
                judgement = Judgement(GenerationOutcome.NO_CODE, detail=str(error))
            else:
                made = replace(reply, source=policy, rationale=rationale or reply.text)
                judgement = judge(self._task, made, self._max_policy_bytes)
        elif reply.tool_calls:
            judgement = Judgement(GenerationOutcome.NO_CODE, detail="the conversation ended without a policy")
            return (judgement if answer.last else None), ""
        else:
            judgement = judge(self._task, reply, self._max_policy_bytes)
        if answer.last or judgement.outcome is GenerationOutcome.OK:
            return judgement, ""
        return None, judgement.detail or judgement.outcome.value

    def _results(self, number: int, reply: BackendReply, problem: str) -> tuple[ToolResult, ...] | ToolsWanted:
        """What all the tools of an answer said; or those that the caller has not run yet."""
        known = {tool.name for tool in self._tools}
        results: list[ToolResult] = []
        wanted: list[ToolCall] = []
        for index, call in enumerate(reply.tool_calls):
            name = call_id(number, index)
            refused = problem if call.name == SUBMIT.name else refusal(call, index, known)
            given = self._conversation.results.get(name)
            if refused:
                results.append(ToolResult(call.call_id, refused, failed=True))
            elif given is not None:
                results.append(replace(given, call_id=call.call_id))
            else:
                wanted.append(replace(call, call_id=name, arguments=call.arguments or "{}"))
        if wanted:
            return ToolsWanted(tuple(wanted), spend_of(self._loop.calls))
        return tuple(results)

    def _message(self, turns: list[Turn], reply: BackendReply, results: tuple[ToolResult, ...], problem: str) -> str:
        if not reply.tool_calls:
            return POLICY_WANTED.format(problem=problem)
        answer = Turn(reply.text, reply.tool_calls, reply.state, results)
        next_is_last = len(turns) + 2 >= self._conversation.max_turns
        if next_is_last or not self._loop.has_room_for(2, self._question([*turns, answer])):
            return LAST_ANSWER
        return ""
