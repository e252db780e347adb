"""One coding agent at work for one request: its process in an empty folder, and the tools that it is given by MCP."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quintain.plugins.backend import Tool, ToolCall, ToolResult

SUBMIT = "submit"
ENDING_SECONDS = 60.0
"""How long an agent that has submitted may take to end by itself, with its bill."""
_MAX_OUTPUT_BYTES = 8 * 1024 * 1024
_MAX_LINE_BYTES = 4 * 1024 * 1024
_STDERR_SHOWN = 2000  # characters, the last ones
_TOGETHER_SECONDS = 0.05  # calls that come within this are one answer
_LONGEST_PLACE = 60  # characters: the path of a socket has about 100
_BRIDGE = "quintain_generator.backends.agent_bridge"


@dataclass(frozen=True, slots=True)
class Ended:
    """The agent has ended. `policy` is what it submitted last, if anything; `output` its standard output."""

    returncode: int
    output: str
    errors: str
    policy: str
    rationale: str


class AgentSession:
    """Belongs to one event loop. `begin` once, then `next` and `answer` in turn, `end` at last."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tools
        place = tempfile.gettempdir()
        self._folder = tempfile.TemporaryDirectory(
            prefix="quintain-agent-", dir=place if len(place) <= _LONGEST_PLACE else "/tmp"
        )
        self._calls: asyncio.Queue[tuple[ToolCall, asyncio.StreamWriter, int]] = asyncio.Queue()
        self._waiting: dict[str, tuple[asyncio.StreamWriter, int]] = {}
        self._policy = self._rationale = ""
        self._submitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count = 0
        self._server: asyncio.Server | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[Ended] | None = None
        self.turns = 0
        """How often `next` gave tool calls."""

    async def begin(self, command: Sequence[str], environment: Mapping[str, str], model: str, prompt: str) -> None:
        """Start the agent. Raises OSError if that cannot be."""
        root = Path(self._folder.name)
        work, socket, config = root / "work", root / "tools.sock", root / "mcp.json"
        work.mkdir()
        self._server = await asyncio.start_unix_server(self._bridged, str(socket), limit=_MAX_LINE_BYTES)
        server = {"command": sys.executable, "args": ["-m", _BRIDGE, str(socket)]}
        config.write_text(json.dumps({"mcpServers": {"quintain": server}}))
        named = {
            "{mcp_config}": str(config),
            "{server_command}": json.dumps(server["command"]),
            "{server_args}": json.dumps(server["args"]),
            "{model}": model,
        }
        self._process = await asyncio.create_subprocess_exec(
            *(_filled(part, named) for part in command),
            cwd=work,
            env={"HOME": str(work), **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._ended = asyncio.create_task(self._wait(self._process, prompt))

    async def next(self) -> tuple[ToolCall, ...] | Ended:
        """The tools that the agent waits for, or its end."""
        assert self._ended is not None, "the session has begun"
        asked = asyncio.create_task(self._calls.get())
        try:
            wanted: set[asyncio.Future[Any]] = {asked, self._ended, self._submitted}
            await asyncio.wait(wanted, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done() and not self._ended.done():  # it has submitted, and is to end by itself
                await asyncio.wait({self._ended}, timeout=ENDING_SECONDS)
                self._kill()
                await asyncio.wait({self._ended})
            if not asked.done():
                return self._ended.result()
            found = [asked.result()]
        finally:
            asked.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_TOGETHER_SECONDS):
                while True:
                    found.append(await self._calls.get())
        for call, writer, number in found:
            self._waiting[call.call_id] = (writer, number)
        self.turns += 1
        return tuple(call for call, _, _ in found)

    def answer(self, results: Sequence[ToolResult]) -> None:
        for result in results:
            writer, number = self._waiting.pop(result.call_id)
            _reply(writer, number, result.content, failed=result.failed)

    async def end(self) -> None:
        """Kill what still runs, and forget the folder."""
        self._kill()
        if self._ended is not None:
            await asyncio.wait([self._ended])
        if self._server is not None:
            self._server.close()
        self._folder.cleanup()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _wait(self, process: asyncio.subprocess.Process, prompt: str) -> Ended:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None  # noqa: PT018
        output, errors, _ = await asyncio.gather(
            _bounded(process.stdout), _bounded(process.stderr), _write(process.stdin, prompt)
        )
        code = await process.wait()
        return Ended(code, output, errors[-_STDERR_SHOWN:], self._policy, self._rationale)

    async def _bridged(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One MCP server that the agent has started."""
        tools = [{"name": t.name, "description": t.description, "parameters": dict(t.parameters)} for t in self._tools]
        writer.write(json.dumps({"tools": tools}).encode() + b"\n")
        with suppress(ConnectionError, ValueError):  # a line that is too long, or no JSON: this bridge is broken
            while line := await reader.readline():
                asked = json.loads(line)
                if asked["name"] == SUBMIT:
                    said, failed = self._submit(asked["arguments"])
                    _reply(writer, asked["id"], said, failed=failed)
                    continue
                self._count += 1
                call = ToolCall(f"call_{self._count}", str(asked["name"]), json.dumps(asked["arguments"]))
                self._calls.put_nowait((call, writer, asked["id"]))
        writer.close()

    def _submit(self, arguments: dict[str, Any]) -> tuple[str, bool]:
        """What the agent is told of its policy, and whether it is refused. The service judges it when the agent has
        ended, so that what the agent cost is known."""
        policy, rationale = arguments.get("policy"), arguments.get("rationale", "")
        if not isinstance(policy, str) or not policy.strip():
            return "submit needs `policy`: the complete module as a string", True
        try:
            ast.parse(policy)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return f"the policy does not parse: {error}", True
        self._policy, self._rationale = policy, rationale if isinstance(rationale, str) else ""
        if not self._submitted.done():
            self._submitted.set_result(None)
        return "Taken. There is nothing more to do: end now.", False


def _filled(part: str, named: Mapping[str, str]) -> str:
    for name, value in named.items():
        part = part.replace(name, value)
    return part


def _reply(writer: asyncio.StreamWriter, number: int, content: str, *, failed: bool) -> None:
    if not writer.is_closing():
        writer.write(json.dumps({"id": number, "content": content, "failed": failed}).encode() + b"\n")


async def _bounded(stream: asyncio.StreamReader) -> str:
    """What comes, up to a bound; what is beyond it is read and dropped, so that nobody waits for a full pipe."""
    kept = bytearray()
    while piece := await stream.read(65536):
        kept += piece[: max(0, _MAX_OUTPUT_BYTES - len(kept))]
    return kept.decode("utf-8", "replace")


async def _write(stream: asyncio.StreamWriter, text: str) -> None:
    with suppress(ConnectionError):  # an agent that does not read its prompt
        stream.write(text.encode("utf-8", "replace"))
        await stream.drain()
    stream.close()
