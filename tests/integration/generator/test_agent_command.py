"""A coding agent's command line as a backend: its tools come by MCP, its runs are the caller's, its end its answer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tests.integration.generator.test_conversations import POLICY, converse, once, talk
from tests.support.generator import PARENT, stack, until

from quintain.errors import FailedPrecondition
from quintain.generator.v1 import generator_pb2 as pb

AGENT = Path(__file__).parents[2] / "support/scripted_agent.py"
SUBMIT = "submit=" + json.dumps({"policy": POLICY, "rationale": "it is shorter"})


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "heard.json"
    monkeypatch.setenv("SCRIPTED_AGENT_LOG", str(path))
    monkeypatch.setenv("AGENT_KEY", "sk-agent-0123456789")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-another-backend")
    return path


def agent(*steps: str, **options: Any) -> dict[str, Any]:
    """Settings of the backend `llm` as a scripted agent."""
    return {
        "kind": "agent-command",
        "model": "some-model",
        "options": {
            "command": [sys.executable, str(AGENT), "{mcp_config}", *steps],
            "environment": ["SCRIPTED_AGENT_LOG"],
            "secret_environment": ["AGENT_KEY"],
            "answer_field": "result",
            "cost_field": "total_cost_usd",
            **options,
        },
    }


def heard(log: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(log.read_text())
    return found


async def test_an_agent_tries_with_tools_that_the_caller_runs_and_submits(tmp_path: Path, log: Path) -> None:
    steps = ('run={"n": 1}', 'together:run={"n": 2};;note={"text": "x"}', SUBMIT)
    async with stack(tmp_path, backend=agent(*steps)) as s:
        found, results = await converse(s, "r1")
    assert found.outcome == pb.OUTCOME_OK, found.detail
    assert (found.source, found.rationale) == (POLICY, "it is shorter")
    assert found.cost.usd == pytest.approx(0.03)
    assert [sorted(call.name for call in turn.tool_calls) for turn in found.turns] == [["run"], ["note", "run"], []]
    assert len(results) == 3
    about, *said = heard(log)
    assert about["tools"] == ["run", "note", "submit"]
    assert about["files"] == []
    assert about["prompt"] > 1000
    assert "AGENT_KEY" in about["environment"]
    assert "ANTHROPIC_API_KEY" not in about["environment"]
    assert [answer["said"] for answer in said[:1]] == ["run 1.0"]
    assert said[-1]["said"].startswith("Taken.")
    assert not any(answer["error"] for answer in said)


async def test_its_folder_is_gone_at_the_end(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        async with stack(tmp_path, backend=agent('run={"n": 1}', SUBMIT)) as s:
            await converse(s, "r1")
            assert os.listdir(folder) == []
            await once(s, talk("r2"))  # and nobody ever answers
            assert len(os.listdir(folder)) == 1
        assert os.listdir(folder) == []


async def test_temporary_files_may_be_anywhere(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = tmp_path / ("a" * 60) / ("b" * 60)  # no socket can have so long a path
    far.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    async with stack(tmp_path, backend=agent("say:nothing")) as s:
        assert (await converse(s, "r1"))[0].outcome == pb.OUTCOME_NO_CODE


async def test_a_policy_that_does_not_parse_is_told_to_the_agent(tmp_path: Path, log: Path) -> None:
    async with stack(tmp_path, backend=agent('submit={"policy": "def x(:"}', "submit={}", SUBMIT)) as s:
        found, _ = await converse(s, "r1")
    assert found.outcome == pb.OUTCOME_OK
    said = heard(log)[1:]
    assert "does not parse" in said[0]["said"]
    assert "submit needs" in said[1]["said"]
    assert [answer["error"] for answer in said] == [True, True, False]


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        ((f"say:Here:\n\n```python\n{POLICY}```\n",), pb.OUTCOME_OK),
        (("say:I have nothing.",), pb.OUTCOME_NO_CODE),
        (("say:",), pb.OUTCOME_EMPTY),
        (("submit=" + json.dumps({"policy": PARENT}),), pb.OUTCOME_DUPLICATE),
        (("submit=" + json.dumps({"policy": "x = 1"}),), pb.OUTCOME_INVALID_CODE),
        (('run={"n": 1}', "exit:3"), pb.OUTCOME_UNKNOWN),
    ],
)
async def test_how_an_agent_may_end(steps: tuple[str, ...], outcome: int, tmp_path: Path, log: Path) -> None:
    async with stack(tmp_path, backend=agent(*steps)) as s:
        found, _ = await converse(s, "r1")
    assert found.outcome == outcome, found.detail


async def test_a_command_that_fails_at_once_says_why(tmp_path: Path, log: Path) -> None:
    async with stack(tmp_path, backend=agent("exit:2")) as s:
        with pytest.raises(FailedPrecondition, match="ended with code 2: gone wrong"):
            await s.generate_once(talk("r1"), timeout=60.0)


async def test_a_key_that_the_agent_prints_is_on_no_record(tmp_path: Path, log: Path) -> None:
    async with stack(tmp_path, backend=agent("say:my key is sk-agent-0123456789")) as s:
        found, _ = await converse(s, "r1")
        assert "my key is [redacted]" in found.response_text
        assert b"sk-agent-0123456789" not in s.store.read_bytes()


async def test_a_conversation_that_ended_with_its_generator_is_of_unknown_outcome(tmp_path: Path, log: Path) -> None:
    settings = agent('run={"n": 1}', SUBMIT)
    async with stack(tmp_path, backend=settings) as s:
        asked = (await once(s, talk("r1"))).tool_calls.calls
    async with stack(tmp_path, backend=settings) as s:
        answer = [pb.ToolResult(call_id=asked[0].call_id, content="late")]
        found = (await once(s, talk("r1", answer))).result
    assert found.outcome == pb.OUTCOME_UNKNOWN
    assert "ended together with the generator" in found.detail


async def test_an_agent_that_nobody_answers_is_ended(tmp_path: Path, log: Path) -> None:
    async with stack(tmp_path, backend=agent('run={"n": 1}', SUBMIT, patience_seconds=0.2)) as s:
        await once(s, talk("r1"))
        sessions = s.service._endpoints["llm"].backend._sessions  # type: ignore[attr-defined]
        await until(lambda: not sessions)


async def test_an_agent_that_hangs_ends_with_the_deadline(tmp_path: Path, log: Path) -> None:
    settings = {**agent("hang"), "call_timeout_seconds": 3.0, "max_calls": 1}
    async with stack(tmp_path, backend=settings) as s:
        event = asyncio.create_task(once(s, talk("r1")))
        found = (await event).result
    assert found.outcome == pb.OUTCOME_UNKNOWN


async def test_what_keeps_it_from_being_used_is_said(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AGENT_KEY")
    broken = {**agent(), "options": {"command": ["no-such-agent"]}}
    async with stack(tmp_path, backend=agent(), backends={"llm": agent(), "gone": broken}) as s:
        listed = (await s.client.list_backends(pb.ListBackendsRequest())).backends
    reasons = {backend.name: backend.unavailable_reason for backend in listed}
    assert reasons["llm"] == "no key: AGENT_KEY is not set"
    assert reasons["gone"] == "options.command: no-such-agent is no program here"
    assert next(list(b.operators) for b in listed if b.name == "llm") == [pb.OPERATOR_AGENT]
