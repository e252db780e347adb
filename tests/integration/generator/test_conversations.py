"""A model tries before it submits: tools are called, the caller runs them, and no turn is paid for twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.fault_server.conversations import Said
from tests.fault_server.server import FaultServer
from tests.support.generator import KEY, PARENT, WIRES, Stack, backend_settings, request, stack

from quintain.errors import InvalidArgument
from quintain.generator.v1 import generator_pb2 as pb
from quintain.generator.v1.generator_pb2_grpc import GeneratorStub

TOOLS = pb.Conversation(
    max_turns=6,
    tools=[
        pb.Tool(name="run", description="runs", parameters_json='{"type": "object", "properties": {}}'),
        pb.Tool(name="note", description="notes", parameters_json='{"type": "object"}'),
    ],
)
POLICY = "def decide(state):\n    return state[::-1]\n"


def talk(request_id: str, results: list[pb.ToolResult] | None = None, **bounds: Any) -> pb.GenerateRequest:
    wanted = request(request_id, "llm", operator=pb.OPERATOR_AGENT, **bounds)
    wanted.conversation.CopyFrom(TOOLS)
    wanted.tool_results.extend(results or [])
    return wanted


def submit(policy: str = POLICY) -> tuple[str, str]:
    return "submit", json.dumps({"policy": policy, "rationale": "it is shorter"})


def script(*answers: Said) -> Any:
    return lambda _prompt, number, _policies: answers[min(number, len(answers)) - 1]


async def once(s: Stack, wanted: pb.GenerateRequest) -> pb.GenerateResponse:
    """The event that ends the stream of one rpc."""
    async with grpc.aio.insecure_channel(s.address) as channel:
        events = [event async for event in GeneratorStub(channel).Generate(wanted, timeout=60.0)]
    return events[-1]


async def converse(s: Stack, request_id: str, **bounds: Any) -> tuple[pb.Generation, list[pb.ToolResult]]:
    """Play the caller: every tool answers with its own name and id."""
    results: list[pb.ToolResult] = []
    while True:
        event = await once(s, talk(request_id, results, **bounds))
        if event.WhichOneof("event") == "result":
            return event.result, results
        results += [pb.ToolResult(call_id=c.call_id, content=f"{c.name} {c.call_id}") for c in event.tool_calls.calls]


@pytest.mark.parametrize("wire", sorted(WIRES))
async def test_a_conversation_on_every_wire(wire: str, tmp_path: Path) -> None:
    first = Said("Two at once.", (("run", '{"n": 1}'), ("note", '{"text": "x"}')))
    server = FaultServer(conversation=script(first, Said("", (("run", '{"n": 2}'),)), Said("Done.", (submit(),))))
    async with stack(tmp_path, wire, faults=server) as s:
        found, results = await converse(s, "r1")
        assert found.outcome == pb.OUTCOME_OK, found.detail
        assert found.source == POLICY
        assert found.rationale == "it is shorter"
        assert [r.call_id for r in results] == ["1.0", "1.1", "2.0"]
        assert [[c.name for c in turn.tool_calls] for turn in found.turns] == [["run", "note"], ["run"], ["submit"]]
        assert [json.loads(c.arguments_json) for c in found.turns[0].tool_calls] == [{"n": 1}, {"text": "x"}]
        assert [r.content for r in found.turns[0].tool_results] == ["run 1.0", "note 1.1"]
        assert found.turns[0].text == "Two at once."
        assert len(found.calls) == len(s.server.seen) == 3
        # Asked again, with or without results, it is the record.
        assert (await once(s, talk("r1"))).result.recorded
        assert len(s.server.seen) == 3


async def test_what_is_asked_twice_without_results_is_paid_once(tmp_path: Path) -> None:
    server = FaultServer(conversation=script(Said("", (("run", "{}"),)), Said("", (submit(),))))
    async with stack(tmp_path, faults=server) as s:
        first = await once(s, talk("r1"))
        assert first.tool_calls == (await once(s, talk("r1"))).tool_calls
        assert first.tool_calls.spend.calls == 1
        assert first.tool_calls.spend.spent_usd > 0
        assert len(s.server.seen) == 1


async def test_a_generator_that_was_restarted_goes_on_at_the_turn(tmp_path: Path) -> None:
    answers = [Said("", (("run", json.dumps({"n": n})),)) for n in range(3)]
    server = FaultServer(conversation=script(*answers, Said("", (submit(),))))
    results: list[pb.ToolResult] = []
    for _ in range(4):
        async with stack(tmp_path, faults=server) as s:
            event = await once(s, talk("r1", results))
        results += [pb.ToolResult(call_id=c.call_id, content="done") for c in event.tool_calls.calls]
    assert event.result.outcome == pb.OUTCOME_OK
    assert len(server.seen) == 4


async def test_what_the_model_was_once_told_stands(tmp_path: Path) -> None:
    server = FaultServer(
        conversation=script(Said("", (("run", "{}"),)), Said("", (("run", "{}"),)), Said("", (submit(),)))
    )
    async with stack(tmp_path, faults=server) as s:
        await once(s, talk("r1"))
        await once(s, talk("r1", [pb.ToolResult(call_id="1.0", content="first")]))
        changed = [pb.ToolResult(call_id="1.0", content="changed"), pb.ToolResult(call_id="2.0", content="second")]
        found = (await once(s, talk("r1", changed))).result
    assert [turn.tool_results[0].content for turn in found.turns[:2]] == ["first", "second"]


async def test_calls_that_are_none_are_told_to_the_model_and_not_to_the_caller(tmp_path: Path) -> None:
    wrong = Said("", (("run", '{"policy": '), ("run", "[1]"), ("fly", "{}"), ("submit", '{"policy": "def x(:"}')))
    server = FaultServer(conversation=script(wrong, Said("", (submit(),))))
    async with stack(tmp_path, faults=server) as s:
        found = (await once(s, talk("r1"))).result
    said = [result.content for result in found.turns[0].tool_results]
    assert "not JSON" in said[0]
    assert "must be a JSON object" in said[1]
    assert said[2] == "there is no tool 'fly'; there are note, run, submit"
    assert "line 1" in said[3]
    assert all(result.failed for result in found.turns[0].tool_results)
    assert found.outcome == pb.OUTCOME_OK


async def test_a_policy_that_was_shown_is_not_taken_at_once(tmp_path: Path) -> None:
    server = FaultServer(conversation=script(Said("", (submit(PARENT),)), Said("", (submit(),))))
    async with stack(tmp_path, faults=server) as s:
        found = (await once(s, talk("r1"))).result
    assert "the same program as candidate c1" in found.turns[0].tool_results[0].content
    assert found.source == POLICY


@pytest.mark.parametrize(
    ("last", "outcome"),
    [
        (Said("", (("run", "{}"),)), pb.OUTCOME_NO_CODE),
        (Said("I have nothing."), pb.OUTCOME_NO_CODE),
        (Said(f"Here:\n\n```python\n{POLICY}```\n"), pb.OUTCOME_OK),
        (Said("", (submit(),)), pb.OUTCOME_OK),
        (Said("", (submit(PARENT),)), pb.OUTCOME_DUPLICATE),
    ],
)
async def test_the_last_answer_is_the_last(last: Said, outcome: int, tmp_path: Path) -> None:
    run = Said("", (("run", "{}"),))
    server = FaultServer(conversation=script(run, run, run, run, run, last))
    async with stack(tmp_path, faults=server) as s:
        found, _ = await converse(s, "r1")
        assert len(s.server.seen) == 6
    assert found.outcome == outcome
    assert [bool(turn.message) for turn in found.turns] == [False] * 4 + [True, False]


async def test_who_talks_without_a_policy_is_asked_for_it_once(tmp_path: Path) -> None:
    server = FaultServer(conversation=script(Said("Shall I begin?"), Said("Again: shall I?")))
    async with stack(tmp_path, faults=server) as s:
        found = (await once(s, talk("r1"))).result
        assert len(s.server.seen) == 2
    assert found.outcome == pb.OUTCOME_NO_CODE
    assert "last one" in found.turns[0].message


async def test_money_that_runs_out_makes_the_next_answer_the_last(tmp_path: Path) -> None:
    server = FaultServer(conversation=script(*[Said("", (("run", "{}"),))] * 5))
    async with stack(tmp_path, faults=server, backend={"max_output_tokens": 1000}) as s:
        found, _ = await converse(s, "r1", allowance=pb.Allowance(max_cost_usd=0.04))
    assert found.outcome == pb.OUTCOME_NO_CODE
    assert found.cost.usd + found.cost.at_risk_usd <= 0.04
    assert any("last one" in turn.message for turn in found.turns)


async def test_a_broken_stream_is_tried_once_more_within_its_turn(tmp_path: Path) -> None:
    server = FaultServer(
        ["ok", "cut_mid_stream"], conversation=script(Said("", (("run", "{}"),)), Said("", (submit(),)))
    )
    async with stack(tmp_path, faults=server) as s:
        found, _ = await converse(s, "r1")
        assert [seen.fault for seen in s.server.seen] == ["ok", "cut_mid_stream", "ok"]
    assert found.outcome == pb.OUTCOME_OK
    assert len(found.turns) == 2
    assert found.cost.at_risk_usd > 0


async def test_a_conversation_through_another_generator_is_paid_once(tmp_path: Path) -> None:
    server = FaultServer(conversation=script(Said("Look.", (("run", "{}"), ("fly", "{}"))), Said("", (submit(),))))
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    async with stack(there, faults=server) as far:
        remote = {"kind": "remote", "options": {"address": far.address, "backend": "llm"}}
        async with stack(here, backend=remote) as s:
            found, results = await converse(s, "r1")
            theirs = (await far.client.get_generation(pb.GetGenerationRequest(request_id="r1"))).generation
        assert len(far.server.seen) == 2
    assert (found.outcome, found.source) == (pb.OUTCOME_OK, POLICY)
    assert [r.call_id for r in results] == ["1.0"]
    assert found.cost.usd == pytest.approx(theirs.cost.usd)
    assert found.cost.usd > 0
    said = [result.content for result in theirs.turns[0].tool_results]
    assert said == ["run 1.0", "there is no tool 'fly'; there are note, run, submit"]


async def test_a_recorded_conversation_is_played_without_anybody(tmp_path: Path) -> None:
    server = FaultServer(conversation=script(Said("", (("run", "{}"),)), Said("", (submit(),))))
    key = tmp_path / "key"
    key.write_text(KEY)
    (tmp_path / "a").mkdir()
    async with stack(tmp_path / "a", faults=server) as s:
        settings = backend_settings("anthropic", s.server.url, key)
        inner = {name: settings[name] for name in ("kind", "model", "options")}
        recording = {"kind": "replay", "options": {"folder": str(tmp_path / "tape"), "mode": "record", "inner": inner}}
        (tmp_path / "b").mkdir()
        async with stack(tmp_path / "b", backend=recording) as recorder:
            first, _ = await converse(recorder, "r1")
        assert len(s.server.seen) == 2
    (tmp_path / "c").mkdir()
    playing = {"kind": "replay", "options": {"folder": str(tmp_path / "tape")}}
    async with stack(tmp_path / "c", backend=playing) as player:
        again, _ = await converse(player, "r1")
    assert again.source == first.source == POLICY
    assert again.turns == first.turns


async def test_a_conversation_goes_with_its_operator_only(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        plain = request("r1", "llm")
        plain.conversation.CopyFrom(TOOLS)
        naked = talk("r2")
        naked.ClearField("conversation")
        endless = talk("r3")
        endless.conversation.max_turns = 101
        twice = talk("r4")
        twice.conversation.tools.add(name="submit", parameters_json='{"type": "object"}')
        odd = talk("r5")
        odd.conversation.tools[0].parameters_json = "[]"
        for wanted, field in (
            (plain, "conversation"), (naked, "conversation"), (endless, "max_turns"), (twice, r"tools\[2\].name"),
            (odd, r"tools\[0\].parameters_json"),
        ):  # fmt: skip
            with pytest.raises(InvalidArgument, match=field):
                await s.generate_once(wanted)
        assert s.server.seen == []
