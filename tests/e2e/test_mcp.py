"""A coding agent's way through `quintain mcp`, with the SDK's own client over standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters
from tests.e2e.conftest import clean_environment, command, processes_of

from quintain_cli.stack.stack import Stack

pytestmark = pytest.mark.xdist_group("e2e")

SMOKE = {"simulator": "faas", "suite": "smoke"}
TOKEN = "a-token-that-nobody-may-see"
BUDGET = "usd = 0\nverifications = 9\nhours = 0.5\n"
TOOLS = {
    "budget", "guide", "verify", "start_search", "watch_search", "list_searches", "list_candidates", "read_candidate",
    "compare", "stop_search",
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    suite = '[[allowed.suites]]\nsimulator = "faas"\nsuite = "smoke"\n'
    file.write_text(f'[budget]\n{BUDGET}[allowed]\nbackends = ["offline"]\n{suite}')
    return file


class Agent:
    """Calls tools as a model would: by name, with JSON."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.heard: list[str] = []

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.client.call_tool(tool, arguments)
        text = "".join(getattr(part, "text", "") for part in result.content)
        self.heard.append(text)
        assert not result.is_error, text
        return dict(json.loads(text))

    async def refused(self, tool: str, **arguments: Any) -> str:
        result = await self.client.call_tool(tool, arguments)
        text = "".join(getattr(part, "text", "") for part in result.content)
        self.heard.append(text)
        assert result.is_error, text
        return text


@contextlib.asynccontextmanager
async def served(stack: Stack, folder: Path, config: Path) -> AsyncIterator[Agent]:
    """A server of its own process, as an agent's client starts it."""
    program, *arguments = command("mcp", "--config", str(config))
    environment = {**clean_environment(folder), "QUINTAIN_TOKEN": TOKEN}
    for service, address in stack.addresses.items():
        environment[f"QUINTAIN_{service.upper()}"] = address
    parameters = StdioServerParameters(command=program, args=arguments, env=environment)
    async with Client(parameters, read_timeout_seconds=150) as client:
        yield Agent(client)


async def settled(agent: Agent, search: dict[str, Any]) -> dict[str, Any]:
    """A search that was stopped, once what was being verified is booked."""
    async with asyncio.timeout(150):
        while search["settling"]:
            place = {"search_id": search["search_id"], "after_sequence": search["last_sequence"]}
            search = (await agent.call("watch_search", **place, seconds=20))["search"]
    return search


async def test_an_agent_runs_a_whole_search_within_its_budget(stack: Stack, tmp_path: Path, config: Path) -> None:
    async with served(stack, tmp_path, config) as agent:
        assert {tool.name for tool in (await agent.client.list_tools()).tools} == TOOLS
        assert (await agent.call("budget"))["left"] == {"usd": 0.0, "verifications": 9, "hours": 0.5}
        guide = await agent.call("guide", **SMOKE)
        assert "register_scheduler" in guide["guide"]
        assert guide["guide"].startswith("<<<DATA ")

        verdict = await agent.call("verify", policy="def nothing(): pass", **SMOKE)
        assert verdict["status"] == "policy failed"
        assert (await agent.call("budget"))["left"]["verifications"] == 8

        made = await agent.call("start_search", **SMOKE, verifications=5, minutes=10, seed=3)
        assert (await agent.call("budget"))["left"]["verifications"] == 3
        refusal = await agent.refused("start_search", **SMOKE, verifications=4, minutes=1)
        assert "4 verifications, and 3 are left" in refusal
        assert "dollars" in await agent.refused("start_search", **SMOKE, verifications=1, minutes=1, usd=0.01)

        kinds, after, state = set(), 0, "running"
        async with asyncio.timeout(150):
            while state == "running":
                watched = await agent.call(
                    "watch_search", search_id=made["search_id"], after_sequence=after, seconds=20
                )
                kinds |= {event["kind"] for event in watched["events"]}
                after, state = watched["last_sequence"], watched["search"]["state"]
        assert state == "finished"
        assert "new_best" in kinds

        listed = await agent.call("list_candidates", search_id=made["search_id"])
        best = listed["candidates"][0]
        assert best["score"] == max(row["score"] for row in listed["candidates"] if row["score"] is not None)
        read = await agent.call("read_candidate", search_id=made["search_id"], number=best["number"])
        assert "register_scheduler" in read["source"]
        assert (await agent.call("read_candidate", search_id=made["search_id"], number=1, part="feedback"))["feedback"]
        compared = await agent.call("compare", search_id=made["search_id"], first=0, second=best["number"])
        assert compared["mean_difference"] > 0
        spent = watched["search"]["verifications"]
        assert (await agent.call("budget"))["left"]["verifications"] == 8 - spent
        assert TOKEN not in "".join(agent.heard)


async def test_the_budget_outlives_the_server_and_a_search_can_be_stopped(
    stack: Stack, tmp_path: Path, config: Path
) -> None:
    config.write_text(config.read_text().replace("verifications = 9", "verifications = 2000"))
    async with served(stack, tmp_path, config) as agent:
        made = await agent.call("start_search", **SMOKE, verifications=2000, minutes=20)
    async with served(stack, tmp_path, config) as agent:
        listed = await agent.call("list_searches")
        assert [search["search_id"] for search in listed["searches"]] == [made["search_id"]]
        assert (await agent.call("budget"))["left"]["verifications"] == 0
        for _ in range(2):  # once more changes nothing
            stopped = await agent.call("stop_search", search_id=made["search_id"])
            assert stopped["state"] == "cancelled"
        stopped = await settled(agent, stopped)
        left = (await agent.call("budget"))["left"]["verifications"]
        assert left == 2000 - stopped["verifications"] > 0
        assert "was started with these tools" in await agent.refused("stop_search", search_id="someone-elses")
        assert "is none of: source" in await agent.refused(
            "read_candidate", search_id=made["search_id"], number=0, part="secrets"
        )


@contextlib.asynccontextmanager
async def killed(stack: Stack, folder: Path, config: Path) -> AsyncIterator[Agent]:
    """A server that is killed with everything that it started when the block ends."""
    with contextlib.suppress(MCPError, OSError):  # what the client makes of a server that is gone
        async with served(stack, folder, config) as agent:
            yield agent
            server = processes_of(folder)
            assert server, "there is nobody to kill"
            for process in server:
                os.kill(process, signal.SIGKILL)


async def test_a_server_killed_in_the_middle_of_a_search_leaves_its_books_and_its_search_behind(
    stack: Stack, tmp_path: Path, config: Path
) -> None:
    config.write_text(config.read_text().replace("verifications = 9", "verifications = 2000"))
    async with killed(stack, tmp_path, config) as agent:
        made = await agent.call("start_search", **SMOKE, verifications=1990, minutes=20)
        watched = await agent.call("watch_search", search_id=made["search_id"], seconds=60)
        assert "new_best" in {event["kind"] for event in watched["events"]}
    async with served(stack, tmp_path, config) as agent:
        assert [s["search_id"] for s in (await agent.call("list_searches"))["searches"]] == [made["search_id"]]
        assert (await agent.call("budget"))["left"]["verifications"] == 10
        assert "10 are left" in await agent.refused("start_search", **SMOKE, verifications=11, minutes=1)
        later = await agent.call(
            "watch_search", search_id=made["search_id"], after_sequence=watched["last_sequence"], seconds=60
        )
        assert later["search"]["state"] == "running"
        assert later["last_sequence"] > watched["last_sequence"]
        assert (await agent.call("read_candidate", search_id=made["search_id"], number=0))["source"]
        stopped = await settled(agent, await agent.call("stop_search", search_id=made["search_id"]))
        assert (await agent.call("budget"))["left"]["verifications"] == 2000 - stopped["verifications"]


async def test_a_server_killed_while_it_starts_a_search_starts_it_once(
    stack: Stack, tmp_path: Path, config: Path
) -> None:
    ledger = tmp_path / "agent.ledger"
    async with killed(stack, tmp_path, config) as agent:
        starting = asyncio.create_task(
            agent.client.call_tool("start_search", {**SMOKE, "verifications": 5, "minutes": 9})
        )
        async with asyncio.timeout(60):
            while not starting.done() and not reserved(ledger):
                await asyncio.sleep(0.001)
        starting.cancel()
    assert reserved(ledger) == 1
    async with served(stack, tmp_path, config) as agent:
        (search,) = (await agent.call("list_searches"))["searches"]
        assert search["search_id"]
        assert reserved(ledger) == 1
        stopped = await settled(agent, await agent.call("stop_search", search_id=search["search_id"]))
        assert (await agent.call("budget"))["left"]["verifications"] == 9 - stopped["verifications"]


def reserved(ledger: Path) -> int:
    """Searches in the ledger."""
    if not ledger.exists():
        return 0
    # Not read-only: whoever reads after a kill has to undo what was half written.
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=rw", uri=True, timeout=30)) as database:
        try:
            return int(database.execute("SELECT COUNT(*) FROM uses WHERE request IS NOT NULL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return 0  # it is being made
