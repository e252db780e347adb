"""Whole searches over real gRPC against a toy generator and verifier."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.controller.conftest import Stack, candidates, create, get, until, watch

from quintain.controller.v1 import controller_pb2 as pb
from quintain.type.v1 import type_pb2
from quintain_controller.usecases import candidate_sources


@pytest.mark.parametrize("strategy", ["chain", "best-of-n", "evolve", "tree"])
async def test_every_strategy_finds_a_better_policy_and_promotes_it(stack: Stack, strategy: str) -> None:
    client = await stack.start()
    search_id = await create(client, strategy=strategy, budget=pb.Budget(candidates=30))
    events = await watch(client, search_id)
    search = await get(client, search_id)
    assert search.state == pb.SEARCH_STATE_FINISHED
    assert search.stop_reason.startswith("budget used up: candidates")
    assert [event.sequence for event in events] == list(range(1, search.last_sequence + 1))
    found = await candidates(client, search_id)
    assert [c.number for c in found] == list(range(31))
    assert search.spend.candidates == 30
    assert search.spend.verifications == 31
    assert search.best.score == max(c.score for c in found)
    assert search.best.score > found[0].score
    assert search.winner.candidate_id
    assert [gate.passed for gate in search.gates][-4:] == [True] * 4


async def test_texts_that_are_no_longer_kept_in_memory_are_read_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_sources, "_KEPT", 0)
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=25))
    await watch(client, search_id)
    assert (await get(client, search_id)).spend.candidates == 25
    for number in range(1, 26):
        shown = await client.get_candidate(pb.GetCandidateRequest(candidate_id=f"{search_id}.{number}"))
        assert shown.candidate.request == stack.generator.requests[f"{search_id}/{number}"]


async def test_a_request_says_what_each_candidate_before_got_on_each_train_scenario(stack: Stack) -> None:
    """So that the prompt can show how a policy moved against its parent."""
    client = await stack.start()
    search_id = await create(client, strategy="chain", budget=pb.Budget(candidates=3))
    await watch(client, search_id)
    request = stack.generator.requests[f"{search_id}/3"]
    assert [attempt.number for attempt in request.task.history] == [0, 1, 2]
    for attempt in request.task.history:
        assert {value.name for value in attempt.scenario_values} == {"t1", "t2", "t3"}


async def test_searches_whose_verifications_stall_take_no_place_from_another(stack: Stack) -> None:
    client = await stack.start()
    stalls = "x = 0.0  # stalls\n"
    stack.verifier.delays[stalls] = asyncio.Event()
    stalled = [
        await create(client, seed=seed, seed_policies=[type_pb2.Policy(source=stalls)] * 8, parallel_verifications=8)
        for seed in range(3)
    ]
    await until(lambda: stack.verifier.in_flight >= 8)
    other = await create(client, seed_policies=[type_pb2.Policy(source="x = 0.1\n")])
    await watch(client, other)
    assert (await get(client, other)).state == pb.SEARCH_STATE_FINISHED
    assert {(await get(client, search_id)).state for search_id in stalled} == {pb.SEARCH_STATE_RUNNING}
