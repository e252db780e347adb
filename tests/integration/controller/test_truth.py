"""A search must not fool itself: held-out scores, gates, overfitters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.integration.controller.conftest import NewStack, Stack, candidates, create, get, watch
from tests.integration.controller.fakes import BASELINE, Backend

from quintain.controller.v1 import controller_pb2 as pb
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2

OVERFITTER = "overfit = True\nx = 0.75\n"


async def test_a_planted_overfitter_is_named_and_not_promoted(new_stack: NewStack) -> None:
    stack = new_stack(Backend(sources={5: OVERFITTER}))
    client = await stack.start()
    search_id = await create(client)
    events = await watch(client, search_id)
    search = await get(client, search_id)
    assert search.best.number == 5
    warned = [e.overfitting for e in events if e.HasField("overfitting")]
    assert [w.candidate_id for w in warned] == [f"{search_id}.5"]
    assert warned[0].gap > 0.5
    assert search.winner.number not in (0, 5)
    refused = [gate for gate in search.gates if not gate.passed]
    assert [(gate.name, gate.candidate_id) for gate in refused] == [("held_out", f"{search_id}.5")]
    assert search.winner.score < search.best.score
    assert search.winner.held_out_score > search.winner.held_out_baseline_score


async def test_without_any_real_improvement_nobody_wins(new_stack: NewStack) -> None:
    stack = new_stack(Backend(sources=dict.fromkeys(range(40), "x = 0.0\n") | {3: OVERFITTER}))
    client = await stack.start()
    search_id = await create(client)
    events = await watch(client, search_id)
    search = await get(client, search_id)
    assert not search.HasField("winner")
    assert not any(e.HasField("promoted") for e in events)


@pytest.mark.parametrize("gate", ["held_out", "bootstrap", "determinism", "confirmation"])
async def test_each_gate_alone_keeps_everybody_from_winning(stack: Stack, gate: str) -> None:
    honest = stack.verifier.result

    def spoiled(request: verifier_pb2.VerifyRequest) -> verifier_pb2.VerifyResult:
        result = honest(request)
        verdict, held_out = result.verdict, [s for s in result.verdict.scenarios if s.part == type_pb2.PART_HELD_OUT]
        if gate == "determinism" and request.check_determinism:
            verdict.status = verifier_pb2.VERDICT_STATUS_NONDETERMINISTIC
        elif gate == "confirmation" and request.confirm:
            verdict.confirmed = False
        elif gate == "bootstrap" and held_out and request.policy.source != BASELINE:
            held_out[0].normalized = 0.0  # one scenario got worse
        elif gate == "held_out" and held_out:
            verdict.held_out.score = verdict.held_out.baseline_score - 0.01
        return result

    stack.verifier.result = spoiled  # type: ignore[method-assign]
    client = await stack.start()
    search_id = await create(client)
    events = await watch(client, search_id)
    search = await get(client, search_id)
    assert search.best.score > search.best.baseline_score
    assert not search.HasField("winner")
    assert not any(e.HasField("promoted") for e in events)
    refused = {g.name for g in search.gates if not g.passed}
    assert gate in refused
    assert refused <= {gate, "earlier_bests"}  # those tried after the best may be worse than it on held-out


async def test_no_backend_ever_hears_of_the_held_out_scenarios(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client)
    await watch(client, search_id)
    scored = [key for key in stack.verifier.verified if type_pb2.PART_HELD_OUT in key[1]]
    assert scored
    for request in stack.generator.requests.values():
        text = str(request)
        assert not any(f'"{name}"' in text or f"target of {name}" in text for name in stack.verifier.held_out)
        assert all({v.name for v in e.scenario_values} <= {"t1", "t2", "t3"} for e in request.task.parents)


async def test_every_new_best_is_scored_on_held_out(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client)
    events = await watch(client, search_id)
    bests = {e.new_best.candidate.candidate_id for e in events if e.HasField("new_best")}
    assert {e.held_out_scored.candidate_id for e in events if e.HasField("held_out_scored")} == bests
    for event in events:
        if event.HasField("held_out_scored"):
            assert event.held_out_scored.gap <= 0.1


async def test_held_out_scores_that_cannot_be_had_pause_the_search_until_a_person_resumes_it(stack: Stack) -> None:
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, problem: unhandled.append(problem))
    client = await stack.start()
    stack.verifier.refused_parts = {type_pb2.PART_HELD_OUT}
    search_id = await create(client)
    async for event in client.watch_search(search_id, timeout=30.0):
        if event.state_changed.state == pb.SEARCH_STATE_PAUSED:
            break
    assert "held-out: verifier: " in event.state_changed.reason
    stack.verifier.refused_parts = set()
    await client.resume_search(pb.ResumeSearchRequest(search_id=search_id))
    await watch(client, search_id)
    assert (await get(client, search_id)).winner.held_out_score > 0.0
    assert unhandled == []


async def test_a_failing_policy_is_a_result_that_gets_repaired(new_stack: NewStack) -> None:
    stack = new_stack(Backend(sources={2: "raise x = 0.5\n"}))
    client = await stack.start()
    search_id = await create(client, strategy="chain")
    await watch(client, search_id)
    failed, repaired = (await candidates(client, search_id))[2:4]
    assert failed.verdict_status == 2
    assert "ValueError" in failed.summary
    assert repaired.operator == 4
    assert repaired.parent_ids[0] == failed.candidate_id
    request = stack.generator.requests[f"{search_id}/3"]
    assert not request.task.parents[0].HasField("score")
    assert request.task.lessons[0].startswith("1 failed so (#2): raised at line 1: ValueError")


async def test_a_suite_without_held_out_scenarios_says_so(stack: Stack) -> None:
    stack.verifier.held_out = {}
    client = await stack.start()
    search_id = await create(client)
    await watch(client, search_id)
    search = await get(client, search_id)
    gate = next(gate for gate in search.gates if gate.name == "held_out")
    assert gate.passed
    assert "no held-out scenarios" in gate.detail
    assert search.winner.candidate_id


async def test_a_request_can_be_shown_exactly_as_it_was_sent(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=25))
    await watch(client, search_id)
    for number in (1, 7, 25):
        shown = await client.get_candidate(pb.GetCandidateRequest(candidate_id=f"{search_id}.{number}"))
        sent = stack.generator.requests[f"{search_id}/{number}"]
        assert shown.candidate.request == sent
        assert shown.candidate.source == shown.candidate.generation.source
        assert shown.candidate.verdict.digest == shown.candidate.summary.verdict_digest
