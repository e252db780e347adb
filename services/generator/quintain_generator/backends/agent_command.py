"""The `agent-command` backend: a coding agent's command line, which tries and submits with the tools that it is given.

Each request starts the command in an empty folder with the prompt on standard input. It finds quintain's tools by MCP
(a server that it starts by itself, see `agent_bridge`); what runs, runs at the verifier, like every tool. The
conversation is the process: if it ends with the generator, nobody can go on with it, and the request is of unknown
outcome.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
from typing import Any, ClassVar

from pydantic import Field

from quintain.plugins.backend import (
    Backend,
    BackendCall,
    BackendOptions,
    BackendReply,
    CallOutcome,
    Capabilities,
    Message,
    Operator,
)
from quintain_generator.backends.agent_session import AgentSession, Ended

_ALWAYS = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_HOW_TO_END = (
    "\n\nThe tools are offered to you by the MCP server `quintain`. Use nothing else: no files, no shell, no network. "
    "When you are done, call its tool `submit` once with the complete module, and end.\n"
)


class AgentOptions(BackendOptions):
    """The agent's keys are its own: named here, taken from the generator's environment, handed to nobody else."""

    command: tuple[str, ...] = Field(
        min_length=1,
        description="program and arguments; {mcp_config}, {server_command}, {server_args}, {model} are filled in",
    )
    environment: tuple[str, ...] = Field(default=(), description="variables that the command may see, by name")
    secret_environment: tuple[str, ...] = Field(
        default=(), description="the same for keys: cut out of everything that is recorded"
    )
    answer_field: str = Field(default="", description="where its JSON output has the answer; empty: the output is it")
    cost_field: str = Field(default="", description="where its JSON output has the dollars; empty: the cost is unknown")
    patience_seconds: float = Field(
        default=1800.0, gt=0, description="an agent whose tools nobody has answered for so long is ended"
    )


class AgentCommandBackend(Backend):
    Options: ClassVar[type[BackendOptions]] = AgentOptions

    def __init__(self, model: str, options: AgentOptions) -> None:
        super().__init__(model, options)
        self._options = options
        self._sessions: dict[str, AgentSession] = {}
        self._reapers: dict[str, asyncio.Task[None]] = {}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operators=frozenset({Operator.AGENT}),
            deterministic=False,
            priced=True,
            prompt=True,
            repeatable=False,
            meters_itself=True,
        )

    @property
    def unavailable_reason(self) -> str:
        if importlib.util.find_spec("mcp") is None:
            return "the package mcp is not installed (pip install 'quintain[agent]')"
        if shutil.which(self._options.command[0]) is None:
            return f"options.command: {self._options.command[0]} is no program here"
        missing = [name for name in self._options.secret_environment if not os.environ.get(name)]
        return f"no key: {', '.join(missing)} is not set" if missing else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(value for name in self._options.secret_environment if (value := os.environ.get(name, "")))

    async def generate(self, call: BackendCall) -> BackendReply:
        self._stop_reaper(call.request_id)
        if call.turns and not call.turns[-1].tool_calls:  # it has ended; these were its last words
            return BackendReply(CallOutcome.OK, text=call.turns[-1].text, charged_usd=None)
        try:
            session = await self._session(call)
            if session is None:
                detail = "the agent ended together with the generator; its conversation cannot go on"
                return BackendReply(CallOutcome.UNKNOWN, detail=detail)
            found = await session.next()
        except OSError as error:
            await self._end(call.request_id)
            return BackendReply(CallOutcome.BAD_REQUEST, detail=f"the command did not start: {error}", sent=False)
        except BaseException:
            await self._end(call.request_id)
            raise
        if isinstance(found, Ended):
            await self._end(call.request_id)
            return self._last(found, began=session.turns > 0)
        self._reapers[call.request_id] = asyncio.create_task(self._reap(call.request_id))
        return BackendReply(CallOutcome.OK, tool_calls=found, charged_usd=0.0, model=self.model)

    async def close(self) -> None:
        for request_id in list(self._sessions):
            self._stop_reaper(request_id)
            await self._end(request_id)

    async def _session(self, call: BackendCall) -> AgentSession | None:
        """The one that this call begins, or goes on with; None if it is gone."""
        session = self._sessions.get(call.request_id)
        if call.turns:
            if session is None or session.turns != len(call.turns):
                return None
            session.answer(call.turns[-1].results)
            return session
        await self._end(call.request_id)  # of a try before
        session = self._sessions[call.request_id] = AgentSession(call.tools)
        await session.begin(self._options.command, self._environment(), self.model, _text(call.messages))
        return session

    def _environment(self) -> dict[str, str]:
        names = (*_ALWAYS, *self._options.environment, *self._options.secret_environment)
        return {name: os.environ[name] for name in names if name in os.environ}

    def _last(self, ended: Ended, *, began: bool) -> BackendReply:
        """What came of an agent that has ended."""
        document = _document(ended.output)
        cost = _field(document, self._options.cost_field)
        charged = float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) and cost >= 0 else None
        if ended.policy:
            return BackendReply(
                CallOutcome.OK, source=ended.policy, rationale=ended.rationale, charged_usd=charged, model=self.model
            )
        if ended.returncode != 0:
            said = ended.errors.strip() or ended.output.strip()[-500:]
            outcome = CallOutcome.UNKNOWN if began else CallOutcome.BAD_REQUEST
            return BackendReply(outcome, detail=f"the command ended with code {ended.returncode}: {said}")
        answer = _field(document, self._options.answer_field) if self._options.answer_field else ended.output
        text = answer if isinstance(answer, str) else ""
        outcome = CallOutcome.OK if text.strip() else CallOutcome.EMPTY
        return BackendReply(outcome, text=text, charged_usd=charged, model=self.model)

    async def _reap(self, request_id: str) -> None:
        await asyncio.sleep(self._options.patience_seconds)
        await self._end(request_id)

    def _stop_reaper(self, request_id: str) -> None:
        if (reaper := self._reapers.pop(request_id, None)) is not None:
            reaper.cancel()

    async def _end(self, request_id: str) -> None:
        if (session := self._sessions.get(request_id)) is not None:
            await session.end()
            self._sessions.pop(request_id, None)


def _text(messages: tuple[Message, ...]) -> str:
    return "\n\n".join(message.content for message in messages) + _HOW_TO_END


def _document(output: str) -> Any:
    """The JSON that an agent printed: its whole output, or the last line that is some."""
    for text in (output, *reversed(output.strip().splitlines()[-50:])):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            continue
    return None


def _field(document: Any, path: str) -> Any:
    for key in path.split(".") if path else ():
        document = document.get(key) if isinstance(document, dict) else None
    return document if path else None
