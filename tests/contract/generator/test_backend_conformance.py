"""The conformance suite that ships in the wheel holds for every built-in backend, and finds out a careless one."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fault_server.server import FaultServer
from tests.support import generator as support

from quintain.conformance.backend import check_backend
from quintain.plugins.backend import (
    Backend,
    BackendCall,
    BackendReply,
    CallOutcome,
    Capabilities,
    Operator,
    Task,
    Usage,
)
from quintain.plugins.doors import BACKENDS
from quintain_generator.rpc.from_proto import task_from

DEAD = "127.0.0.1:9"  # the discard port: nobody listens


def _task() -> Task:
    message = support.task()
    message.simulator.baselines.add(name="first", source=support.PARENT)
    message.parents.add(candidate_id="c2", source=support.PARENT.replace("sorted", "list"), score=0.5)
    return task_from(message)


@asynccontextmanager
async def _llm(kind: str, folder: Path) -> AsyncIterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    key = folder / "key"
    key.write_text(support.KEY)
    async with FaultServer() as server:
        suffix = "" if kind == "anthropic" else "/v1"
        yield (
            {"base_url": f"{server.url}{suffix}", "api_key_file": str(key)},
            {"base_url": f"http://{DEAD}{suffix}", "api_key_file": str(key)},
        )


@asynccontextmanager
async def _options(kind: str, folder: Path) -> AsyncIterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Options with which a built-in backend can answer, and some with which it cannot."""
    if kind in ("openai", "anthropic", "openai-compatible"):
        async with _llm(kind, folder) as options:
            yield options
    elif kind == "replay":
        async with _llm("openai", folder) as (options, dead):
            inner = {"kind": "openai", "model": support.MODEL, "options": options}
            gone = {"kind": "openai", "model": support.MODEL, "options": dead}
            recording = str(folder / "recording")
            yield (
                {"mode": "record", "folder": recording, "inner": inner},
                {"mode": "record", "folder": recording, "inner": gone},
            )
    elif kind == "remote":
        async with support.stack(folder) as s:
            yield {"address": s.address, "backend": "llm"}, {"address": DEAD}
    elif kind == "agent-command":
        agent = Path(__file__).parents[2] / "support/scripted_agent.py"
        command = [sys.executable, str(agent), "{mcp_config}"]
        answer = f"say:```python\n{support.PARENT}```\n"
        named = {"answer_field": "result", "environment": ["SCRIPTED_AGENT_LOG"]}
        yield {"command": [*command, answer], **named}, {"command": [*command, "exit:1"], **named}
    else:
        yield {}, None


@pytest.mark.parametrize("kind", BACKENDS.names())
async def test_every_built_in_backend_conforms(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_AGENT_LOG", str(tmp_path / "heard.json"))
    plugin = BACKENDS.load(kind)
    async with _options(kind, tmp_path) as (options, dead):
        results = await check_backend(plugin, support.MODEL, options, _task(), dead)
    assert [f"{r.name}: {r.message}" for r in results if not r.passed] == []


async def test_the_backend_in_the_guide_conforms(tmp_path: Path) -> None:
    guide = Path(__file__).parents[3] / "docs" / "plugins.md"
    code, check = re.findall(
        r"^```python\n(.*?)^```$",
        guide.read_text().split("## A backend")[1].split("\n## ")[0],
        re.DOTALL | re.MULTILINE,
    )
    (tmp_path / "one.py").write_text(support.PARENT)
    scope: dict[str, Any] = {"__name__": "shelf", "folder": tmp_path, "task": _task()}
    exec(compile(code, "plugins.md", "exec", dont_inherit=True), scope)
    top_level_await = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    await eval(compile(check, "plugins.md", "exec", flags=top_level_await, dont_inherit=True), scope)
    assert len(scope["results"]) > 5


class Careless(Backend):
    """Does everything wrong that a backend can do wrong."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(frozenset({Operator.FULL}), deterministic=True, priced=True, prompt=True, repeatable=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        return ("hunter22",)

    count = 0

    async def generate(self, call: BackendCall) -> BackendReply:
        Careless.count += 1
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            raise RuntimeError("no") from None
        usage = Usage(input_tokens=-1)
        return BackendReply(CallOutcome.OK, text=f"answer {self.count} with hunter22", usage=usage)


async def test_the_suite_finds_what_a_careless_backend_does_wrong() -> None:
    results = await check_backend(Careless, "m", {}, _task())
    assert {r.name for r in results if not r.passed} == {
        "usage is never negative",
        "the same task gives the same reply if it says so",
        "a call can be cancelled",
        "secrets are in no text",
    }


class Plain(Backend):
    """Nothing is wrong with it but what a test makes wrong: its answer, or how it takes being cancelled."""

    answer: Any = BackendReply(CallOutcome.OK, text="x", usage=Usage(input_tokens=1, output_tokens=1))

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(frozenset({Operator.FULL}), deterministic=False, priced=True, prompt=True, repeatable=False)

    async def generate(self, call: BackendCall) -> BackendReply:
        await asyncio.sleep(0.001)
        answer: BackendReply = self.answer
        return answer


@pytest.mark.parametrize(
    ("changes", "check", "message"),
    [
        ({"text": b"x"}, "replies are plain data", "text (bytes)"),
        ({"provider_request_id": None}, "replies are plain data", "provider_request_id (NoneType)"),
        ({"retry_after_seconds": "5"}, "replies are plain data", "retry_after_seconds (str)"),
        ({"usage": Usage(1.5, output_tokens=1)}, "replies are plain data", "input_tokens (float)"),
        ({"usage": Usage(9)}, "usage is never negative", "text without an output token"),
        ({"sent": False}, "every operator gets an answer", "sent is False"),
    ],
)
async def test_the_suite_says_which_field_of_a_reply_is_wrong(
    changes: dict[str, Any], check: str, message: str
) -> None:
    class Wrong(Plain):
        answer = replace(Plain.answer, **changes)

    found = {r.name: r.message for r in await check_backend(Wrong, "m", {}, _task()) if not r.passed}
    assert list(found) == [check]
    assert message in found[check]


async def test_the_suite_says_that_what_came_back_is_no_reply() -> None:
    class Wrong(Plain):
        answer = None

    results = await check_backend(Wrong, "m", {}, _task())
    messages = {r.message for r in results if not r.passed}
    assert messages == {"generate returned NoneType, not a BackendReply"}


async def test_a_backend_that_keeps_the_cancellation_to_itself_is_found_out() -> None:
    class Deaf(Plain):
        async def generate(self, call: BackendCall) -> BackendReply:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)
            return Plain.answer  # type: ignore[no-any-return]

    assert [r.name for r in await check_backend(Deaf, "m", {}, _task()) if not r.passed] == ["a call can be cancelled"]


async def test_the_suite_comes_to_an_end_even_if_a_call_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintain.conformance.backend.TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("quintain.conformance.backend.CANCEL_SECONDS", 0.01)
    over = asyncio.Event()

    class Endless(Plain):
        async def generate(self, call: BackendCall) -> BackendReply:
            while not over.is_set():
                with suppress(asyncio.CancelledError):
                    await over.wait()
            return Plain.answer  # type: ignore[no-any-return]

    results = await check_backend(Endless, "m", {}, _task())
    over.set()
    assert "not over after 0.05 s" in {r.message for r in results}
