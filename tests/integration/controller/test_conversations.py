"""Candidates made in conversations: tools run on train scenarios, each turn is paid once, all of it is on the books."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.controller.conftest import NewStack, Stack, candidates, create, get, replay, until, watch
from tests.integration.controller.fakes import HELD_OUT, Backend
from tests.integration.controller.test_durability import essence

from quintain.clients.controller import AsyncController
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import Internal, InvalidArgument, Unavailable
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2

AGENT = pb.AgentOptions(max_turns=5, max_runs=4, max_seconds=60.0)


def policy(x: float) -> str:
    return f"x = {x}\n"


def run(x: float, *scenarios: str) -> tuple[str, str]:
    return "run", json.dumps({"policy": policy(x), "scenarios": scenarios})


def two_turns(number: int, turn: int) -> list[tuple[str, str]]:
    """Runs twice, looks around, submits."""
    turns = [
        [run(number / 50), ("floors", ""), ("candidates", "{}")],
        [("compare", json.dumps({"policy": policy(number / 40), "other": 0})), ("source", '{"number": 0}')],
    ]
    return turns[turn - 1] if turn <= len(turns) else []


async def uses_of(client: AsyncController, search_id: str, number: int) -> list[pb.ToolUse]:
    request = pb.GetCandidateRequest(candidate_id=f"{search_id}.{number}")
    return list((await client.get_candidate(request)).candidate.tool_uses)


async def one(stack: Stack, *turns: list[tuple[str, str]], agent: pb.AgentOptions = AGENT) -> list[pb.ToolUse]:
    """The tools that one conversation has used, played by a script."""
    stack.generator.backends["toy"].script = lambda _n, turn: turns[turn - 1] if turn <= len(turns) else []
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=1), agent=agent)
    await watch(client, search_id)
    assert (await get(client, search_id)).state == pb.SEARCH_STATE_FINISHED
    return await uses_of(client, search_id, 1)


@pytest.fixture
def stack(new_stack: NewStack) -> Stack:
    return new_stack(Backend(script=two_turns))


async def test_every_candidate_is_made_in_a_conversation_that_is_on_record(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=6), agent=AGENT)
    await watch(client, search_id)
    search = await get(client, search_id)
    found = await candidates(client, search_id)
    assert [c.operator for c in found[1:]] == [generator_pb2.OPERATOR_AGENT] * 6
    assert search.spend.tool_runs == 12
    assert search.spend.tool_seconds == pytest.approx(6.0)
    assert search.spend.verifications == 7 + 12
    assert (search.spend.reserved_tool_runs, search.spend.reserved_tool_seconds) == (0, 0.0)
    assert set(stack.generator.calls.values()) == {3}  # answers: two with tools, one that submits
    uses = await uses_of(client, search_id, 6)
    assert [use.call.name for use in uses] == ["run", "floors", "candidates", "compare", "source"]
    assert uses[0].result.content.startswith("It ran to the end on 3 scenarios")
    assert "t1: baseline 0.3, bound 1" in uses[1].result.content
    assert uses[4].result.content == "x = 0.0\n"
    assert search.spec.agent == AGENT


async def test_nothing_that_a_model_sees_names_or_runs_a_held_out_scenario(stack: Stack) -> None:
    uses = await one(
        stack,
        [run(0.5, "h1"), ("observe", '{"scenario": "h1"}'), ("floors", '{"scenario": "h2"}'), run(0.5), run(0.6, "t2")],
    )
    assert [use.result.failed for use in uses] == [True, True, True, False, False]
    assert uses[0].result.content == "there is no scenario 'h1'; there are t1, t2, t3"
    told = "".join(use.result.content for use in uses[3:])
    assert not any(name in told for name in HELD_OUT)
    tried = [r for r in stack.verifier.requests if r.policy.source in (policy(0.5), policy(0.6))]
    assert [(list(r.parts), list(r.scenarios)) for r in tried] == [
        ([type_pb2.PART_TRAIN], []),
        ([type_pb2.PART_TRAIN], ["t2"]),
    ]


async def test_a_wrong_call_is_an_answer_that_the_model_can_read(stack: Stack) -> None:
    uses = await one(
        stack,
        [
            ("run", '{"scenarios": []}'), ("run", '{"policy": "x = 1", "loud": true}'), ("source", '{"number": 7}'),
            ("observe", '{"scenario": "t1"}'), ("run", "[]"), run(0.5, "t1"), ("observe", '{"scenario": "t1"}'),
            ("observe", '{"scenario": "t1", "class": "big"}'), ("note", '{"text": "small steps"}'),
            ("timeline", '{"scenario": "t1", "from": 1, "to": 2}'),
        ],
    )  # fmt: skip
    said = [use.result.content for use in uses]
    assert said[0].startswith("policy: Field required (arguments of run: policy, scenarios)")
    assert said[1].startswith("loud: Extra inputs are not permitted")
    assert said[2] == "there is no candidate 7 yet; there are 0 to 0"
    assert said[3].startswith("you have run no policy yet")
    assert "should be an object" in said[4].lower() or "valid dictionary" in said[4]
    assert "x: 0.5" in said[6]
    assert said[7].startswith("there is no class 'big' in t1")
    assert said[8] == "Noted."
    assert "Nothing is recorded from 1 s to 2 s" in said[9]
    assert [use.result.failed for use in uses] == [True] * 5 + [False, False, True, False, False]
    assert [use.runs for use in uses] == [0] * 5 + [1, 1, 1, 0, 1]


async def test_runs_and_seconds_of_a_conversation_are_bounded(stack: Stack) -> None:
    stack.verifier.seconds = 25.0
    uses = await one(stack, [run(n / 10) for n in range(6)])
    assert [use.runs for use in uses] == [1, 1, 1, 0, 0, 0]
    assert uses[2].result.content.endswith("(1 of 4 runs left)")
    assert "time for runs in this conversation is used up" in uses[3].result.content
    stack.verifier.seconds = 1.0
    uses = await one(stack, [run(n / 10) for n in range(6)])
    assert [use.runs for use in uses] == [1, 1, 1, 1, 0, 0]
    assert uses[4].result.content == "all 4 runs of this conversation are used up: submit a policy"


async def test_a_run_that_does_not_end_is_given_up_when_the_time_is_over(stack: Stack) -> None:
    stack.verifier.delays[policy(0.9)] = asyncio.Event()
    uses = await one(stack, [run(0.9)], agent=pb.AgentOptions(max_seconds=0.3))
    assert uses[0].result.failed
    assert (uses[0].runs, uses[0].seconds) == (1, pytest.approx(0.3))


async def test_a_policy_that_breaks_the_verifier_does_not_stop_the_search(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=1), agent=AGENT)
    await until(lambda: bool(stack.verifier.requests))
    stack.verifier.failures = [Internal("a worker died"), Unavailable("busy", retry_after_seconds=0.01)]
    await watch(client, search_id)
    search = await get(client, search_id)
    assert search.state == pb.SEARCH_STATE_FINISHED
    assert search.spend.usd == 0


async def test_the_same_search_at_any_number_of_workers_and_replayed(new_stack: NewStack, tmp_path: Path) -> None:
    found = []
    for workers in (1, 2, 4):
        stack = new_stack(Backend(script=two_turns, usd=0.01, max_request_usd=0.05), folder=tmp_path / str(workers))
        client = await stack.start()
        search_id = await create(
            client, budget=pb.Budget(candidates=10), agent=AGENT, parallel_generations=workers,
            parallel_verifications=workers,
        )  # fmt: skip
        await watch(client, search_id)
        calls = dict(stack.generator.calls)
        report, differences = await replay(client, search_id)
        assert differences == []
        assert report.equal
        assert report.tool_calls == report.tool_calls_equal == 50
        assert dict(stack.generator.calls) == calls  # nobody was asked again
        said = [[u.result.content for u in await uses_of(client, search_id, number)] for number in range(11)]
        found.append((essence(await candidates(client, search_id)), said))
    assert found[0] == found[1] == found[2]


async def test_a_replay_finds_a_tool_that_says_something_else(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=2), agent=AGENT)
    await watch(client, search_id)
    stack.verifier.result = lambda request, made=stack.verifier.result: _moved(made(request))  # type: ignore[method-assign]
    report, differences = await replay(client, search_id)
    assert report.tool_calls_equal < report.tool_calls == 10
    assert any("tool call 1.0 (run) says something else now" in difference for difference in differences)


def _moved(result: Any) -> Any:
    for scenario in result.verdict.scenarios:
        scenario.value += 0.001
    return result


async def test_a_pause_holds_between_two_turns_and_nothing_is_paid_twice(stack: Stack) -> None:
    client = await stack.start()
    gate = stack.verifier.delays[policy(1 / 40)] = asyncio.Event()  # the second turn's run
    search_id = await create(client, budget=pb.Budget(candidates=1), agent=AGENT)
    await until(lambda: stack.generator.calls[f"{search_id}/1"] == 2)
    await client.pause_search(pb.PauseSearchRequest(search_id=search_id))
    gate.set()
    await until(lambda: not stack.runs())
    assert stack.generator.calls[f"{search_id}/1"] == 2
    assert len(await uses_of(client, search_id, 1)) == 5
    await client.resume_search(pb.ResumeSearchRequest(search_id=search_id))
    await watch(client, search_id)
    assert stack.generator.calls[f"{search_id}/1"] == 3


async def test_a_cancelled_conversation_is_booked_with_its_turns_and_tools(new_stack: NewStack) -> None:
    stack = new_stack(Backend(script=two_turns, usd=0.01, max_request_usd=0.05))
    client = await stack.start()
    gate = stack.verifier.delays[policy(1 / 40)] = asyncio.Event()
    search_id = await create(client, budget=pb.Budget(candidates=1), agent=AGENT)
    await until(lambda: stack.generator.calls[f"{search_id}/1"] == 2)
    await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
    gate.set()
    await watch(client, search_id)
    spend = (await get(client, search_id)).spend
    assert spend.usd == pytest.approx(0.02)
    assert spend.tool_runs == 2
    assert (spend.reserved_usd, spend.reserved_tool_runs) == (0, 0)


async def test_another_controller_goes_on_at_the_turn(stack: Stack) -> None:
    client = await stack.start()
    gate = stack.verifier.delays[policy(1 / 40)] = asyncio.Event()
    search_id = await create(client, budget=pb.Budget(candidates=3), agent=AGENT)
    await until(lambda: stack.generator.calls[f"{search_id}/1"] == 2)
    await until(lambda: _recorded(client, search_id, 1, 3))
    await stack.server.stop()
    gate.set()
    client = await stack.start()
    await watch(client, search_id)
    assert stack.generator.calls == {f"{search_id}/{number}": 3 for number in (1, 2, 3)}
    assert (await replay(client, search_id))[0].equal


async def _recorded(client: AsyncController, search_id: str, number: int, count: int) -> bool:
    return len(await uses_of(client, search_id, number)) == count


async def test_what_a_conversation_may_use_is_reserved(stack: Stack) -> None:
    client = await stack.start()
    # The seed, then 1 + 4 held for each conversation and 1 + 2 used: the fourth would need 11 + 5.
    search_id = await create(client, budget=pb.Budget(verifications=15), agent=AGENT, strategy="chain")
    await watch(client, search_id)
    search = await get(client, search_id)
    assert search.spend.candidates == 4
    assert search.spend.verifications == 13
    assert search.stop_reason.startswith("budget used up: verifications: 13 used or reserved, 5 needed")
    search_id = await create(client, budget=pb.Budget(tool_seconds=61.5, candidates=9), agent=AGENT, strategy="chain")
    await watch(client, search_id)
    search = await get(client, search_id)
    assert search.spend.tool_seconds == pytest.approx(2.0)
    assert search.stop_reason.startswith("budget used up: tool_seconds: 2 used or reserved, 60 needed, 61.5 allowed")


async def test_a_search_that_asks_for_what_no_backend_can_is_refused(new_stack: NewStack) -> None:
    stack = new_stack(Backend())
    client = await stack.start()
    with pytest.raises(InvalidArgument, match="no operator agent"):
        await create(client, agent=AGENT)
    with pytest.raises(InvalidArgument, match=r"spec\.agent\.max_turns"):
        await create(client, agent=pb.AgentOptions(max_turns=101))


async def test_a_search_without_conversations_plans_none(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=4))
    await watch(client, search_id)
    assert generator_pb2.OPERATOR_AGENT not in [c.operator for c in await candidates(client, search_id)]
