"""Interruptions: of the controller, of the services behind it, by another owner, by people."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.integration.controller.conftest import NewStack, Stack, candidates, create, get, replay, until, watch
from tests.integration.controller.fakes import FakeVerifier

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from quintain_controller.adapters.store.sql import SqlStore
from quintain_controller.domain.records import SearchRecord


def essence(found: list[pb.CandidateSummary]) -> list[tuple[Any, ...]]:
    """What must not depend on timing or interruptions."""
    return [
        (
            c.number,
            c.state,
            [p.rpartition(".")[2] for p in c.parent_ids],
            c.operator,
            c.score,
            c.verdict_digest,
            c.summary,
        )
        for c in found
    ]


async def undisturbed(new_stack: NewStack, folder: Path, **fields: Any) -> tuple[list[tuple[Any, ...]], str]:
    stack = new_stack(folder=folder)
    client = await stack.start()
    search_id = await create(client, **fields)
    await watch(client, search_id)
    search = await get(client, search_id)
    found = essence(await candidates(client, search_id))
    return found, search.winner.candidate_id.rpartition(".")[2]


@pytest.mark.parametrize("strategy", ["evolve", "tree"])
async def test_the_same_candidates_at_any_number_of_workers(new_stack: NewStack, tmp_path: Path, strategy: str) -> None:
    results = [
        await undisturbed(
            new_stack,
            tmp_path / str(workers),
            strategy=strategy,
            budget=pb.Budget(candidates=25),
            parallel_generations=workers,
            parallel_verifications=workers,
        )
        for workers in (1, 2, 4)
    ]
    assert results[0] == results[1] == results[2]


async def test_a_search_cut_off_again_and_again_ends_like_an_undisturbed_one(
    new_stack: NewStack, tmp_path: Path
) -> None:
    expected = await undisturbed(new_stack, tmp_path / "undisturbed", budget=pb.Budget(candidates=30))
    stack = new_stack()
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=30))

    for stop_at in (3, 8, 15, 22):
        await until(lambda stop_at=stop_at: len(stack.generator.records) >= stop_at)
        # No drain: the process is gone between two steps, its lease still in the store.
        await stack.server._service._runner.close()  # type: ignore[attr-defined]
        stack.expire_leases()
        client = await stack.start()
    await watch(client, search_id)
    search = await get(client, search_id)
    assert (essence(await candidates(client, search_id)), search.winner.candidate_id.rpartition(".")[2]) == expected
    assert set(stack.generator.calls.values()) == {1}
    events = await watch(client, search_id)
    assert [e.sequence for e in events] == list(range(1, search.last_sequence + 1))
    bests = [e.new_best.candidate.number for e in events if e.HasField("new_best")]
    assert len(bests) == len(set(bests))
    settled = [e.candidate_changed.candidate.number for e in events if e.candidate_changed.candidate.state in (3, 4)]
    assert sorted(settled) == list(range(31))


async def test_a_controller_that_lost_its_lease_to_itself_goes_on_with_the_later_one(stack: Stack) -> None:
    client = await stack.start()
    stack.generator.gate.clear()
    search_id = await create(client)
    await until(lambda: stack.generator.in_flight > 0)
    late = stack.runs()[search_id]
    stack.expire_leases()
    await until(lambda: stack.runs().get(search_id) not in (None, late))
    stack.generator.gate.set()
    await watch(client, search_id)
    search = await get(client, search_id)
    assert (search.state, search.spend.candidates) == (pb.SEARCH_STATE_FINISHED, 20)
    assert set(stack.generator.calls.values()) == {1}


async def test_two_controllers_share_searches_and_watchers_of_both_see_all(new_stack: NewStack) -> None:
    stack = new_stack()
    one = await stack.start()
    two = await stack.start()
    ids = [await create(client, seed=seed) for seed, client in enumerate((one, two, one, two))]
    streams = await asyncio.gather(*(watch(client, i) for i in ids for client in (one, two)))
    for search_id, seen_by_one, seen_by_two in zip(ids, streams[::2], streams[1::2], strict=True):
        assert [e.sequence for e in seen_by_one] == [e.sequence for e in seen_by_two]
        assert (await get(two, search_id)).state == pb.SEARCH_STATE_FINISHED
    assert set(stack.generator.calls.values()) == {1}


async def test_a_watch_resumed_in_the_middle_has_no_gap_and_no_repeat(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client)
    everything = await watch(client, search_id)
    for after in (0, 1, 17, len(everything) - 1, len(everything)):
        assert [e.sequence for e in await watch(client, search_id, after)] == [e.sequence for e in everything[after:]]


async def test_services_that_are_down_for_a_while_cost_nothing_but_time(stack: Stack) -> None:
    stack.generator.failures = [Unavailable("gone") for _ in range(5)]
    stack.verifier.failures = [Unavailable("gone", retry_after_seconds=0.05) for _ in range(5)]
    client = await stack.start()
    search_id = await create(client)
    events = await watch(client, search_id)
    search = await get(client, search_id)
    assert search.state == pb.SEARCH_STATE_FINISHED
    assert search.spend.candidates == 20
    troubles = [e.backend_trouble for e in events if e.HasField("backend_trouble")]
    assert {t.backend for t in troubles} == {"toy", "verifier"}
    assert not any(t.search_paused for t in troubles)


async def test_an_open_circuit_pauses_the_search_until_the_backend_is_back(stack: Stack) -> None:
    stack.generator.failures = [Unavailable("circuit open", reason="BACKEND_DOWN", retry_after_seconds=0.2)]
    client = await stack.start()
    search_id = await create(client, parallel_generations=1)
    events = await watch(client, search_id)
    states = [(e.state_changed.state, e.state_changed.reason) for e in events if e.HasField("state_changed")]
    assert [state for state, _ in states] == [
        pb.SEARCH_STATE_RUNNING,
        pb.SEARCH_STATE_PAUSED,
        pb.SEARCH_STATE_RUNNING,
        pb.SEARCH_STATE_FINISHED,
    ]
    assert "BACKEND_DOWN" in states[1][1]
    assert (await get(client, search_id)).spend.candidates == 20


async def test_a_backend_that_needs_a_person_waits_for_one_and_loses_nothing(stack: Stack) -> None:
    stack.generator.failures = [FailedPrecondition("no key", reason="AUTHENTICATION_FAILED")] * 4
    client = await stack.start()
    search_id = await create(client)

    async def paused() -> bool:
        return (await get(client, search_id)).state == pb.SEARCH_STATE_PAUSED

    await until(paused)
    assert "AUTHENTICATION_FAILED" in (await get(client, search_id)).pause_reason
    while stack.generator.failures:
        stack.generator.failures.pop()
    await client.resume_search(pb.ResumeSearchRequest(search_id=search_id))
    await watch(client, search_id)
    found = await candidates(client, search_id)
    assert [c.number for c in found] == list(range(21))
    assert set(stack.generator.calls.values()) == {1}


async def test_a_call_from_before_the_resume_that_fails_does_not_pause_the_search_again(stack: Stack) -> None:
    client = await stack.start()
    stack.generator.gate.clear()
    stack.generator.late_failures = [FailedPrecondition("no key", reason="AUTHENTICATION_FAILED")]
    search_id = await create(client, parallel_generations=1)
    await until(lambda: stack.generator.in_flight == 1)
    await client.pause_search(pb.PauseSearchRequest(search_id=search_id))
    await client.resume_search(pb.ResumeSearchRequest(search_id=search_id))
    stack.generator.gate.set()
    events = await watch(client, search_id)
    paused = [e for e in events if e.state_changed.state == pb.SEARCH_STATE_PAUSED]
    assert len(paused) == 1
    assert (await get(client, search_id)).spend.candidates == 20


async def test_a_paused_search_settles_what_is_in_flight_and_goes_on_the_same_way(
    new_stack: NewStack, tmp_path: Path
) -> None:
    expected = await undisturbed(new_stack, tmp_path / "undisturbed")
    stack = new_stack()
    client = await stack.start()
    search_id = await create(client)
    await until(lambda: len(stack.generator.records) >= 6)
    stack.generator.gate.clear()
    await client.pause_search(pb.PauseSearchRequest(search_id=search_id))
    await client.pause_search(pb.PauseSearchRequest(search_id=search_id))  # repeating it is harmless
    stack.generator.gate.set()
    await until(lambda: not stack.runs())
    search = await get(client, search_id)
    assert search.state == pb.SEARCH_STATE_PAUSED
    assert search.spend.verifications == len(stack.generator.records) + 1
    before = len(stack.generator.records)
    await client.resume_search(pb.ResumeSearchRequest(search_id=search_id))
    await watch(client, search_id)
    assert len(stack.generator.records) > before
    search = await get(client, search_id)
    assert (essence(await candidates(client, search_id)), search.winner.candidate_id.rpartition(".")[2]) == expected


async def test_a_drained_controller_records_the_paid_response_and_hands_over(new_stack: NewStack) -> None:
    stack = new_stack()
    client = await stack.start()
    search_id = await create(client, parallel_generations=2)
    stack.generator.gate.clear()
    await until(lambda: stack.generator.in_flight == 2)
    stopping = asyncio.create_task(stack.server.stop())
    await asyncio.sleep(0)
    stack.generator.gate.set()
    await stopping
    recorded = len(stack.generator.records)
    client = await stack.start()
    await watch(client, search_id)
    assert recorded >= 2
    assert set(stack.generator.calls.values()) == {1}


async def test_a_controller_drained_while_the_gates_decide_hands_over_at_once(stack: Stack) -> None:
    stack.runner["lease_seconds"] = 600.0
    client = await stack.start()
    stack.verifier.gates.clear()
    search_id = await create(client, budget=pb.Budget(candidates=6))
    await until(lambda: stack.verifier.at_gates > 0)
    drained = stack.server._service._runner  # type: ignore[attr-defined]
    await drained.drain()
    assert not drained._runs
    client = await stack.start()
    await until(lambda: search_id in stack.runs())
    stack.verifier.gates.set()
    await watch(client, search_id)
    search = await get(client, search_id)
    assert (search.state, search.winner.HasField("score")) == (pb.SEARCH_STATE_FINISHED, True)


async def test_a_search_taken_at_the_moment_of_the_drain_is_handed_back_untouched(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.runner["max_searches"] = 0
    client = await stack.start()
    search_id = await create(client)
    reading, go_on, read = threading.Event(), threading.Event(), SqlStore.search

    def slowly(store: SqlStore, wanted: str) -> SearchRecord:
        reading.set()
        assert go_on.wait(60)
        return read(store, wanted)

    monkeypatch.setattr(SqlStore, "search", slowly)
    stack.runner["max_searches"] = 1
    late = await stack.start_controller()
    await until(reading.is_set)
    stopping = asyncio.create_task(late.stop())
    await until(lambda: late._service._runner._draining)  # type: ignore[attr-defined]
    go_on.set()
    await stopping
    assert not stack.generator.records
    assert (await get(client, search_id)).state == pb.SEARCH_STATE_RUNNING


async def test_a_lease_that_is_taken_while_the_drain_begins_is_given_back(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.runner |= {"max_searches": 0, "lease_seconds": 600.0}
    client = await stack.start()
    search_id = await create(client)
    taking, go_on, take = threading.Event(), threading.Event(), SqlStore.acquire

    def slowly(store: SqlStore, *arguments: Any) -> Any:
        if arguments[1] == 1:  # the controller that may run one search
            taking.set()
            assert go_on.wait(60)
        return take(store, *arguments)

    monkeypatch.setattr(SqlStore, "acquire", slowly)
    stack.runner["max_searches"] = 1
    late = await stack.start_controller()
    await until(taking.is_set)
    stopping = asyncio.create_task(late.stop())
    await until(lambda: late._service._runner._draining)  # type: ignore[attr-defined]
    go_on.set()
    await stopping
    stack.runner["max_searches"] = 2
    await stack.start()
    await watch(client, search_id)
    assert (await get(client, search_id)).state == pb.SEARCH_STATE_FINISHED


async def test_a_finished_search_replays_bit_for_bit(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, strategy="evolve", budget=pb.Budget(candidates=30))
    await watch(client, search_id)
    before = sum(stack.verifier.verified.values())
    report, differences = await replay(client, search_id)
    assert differences == []
    assert report.equal
    assert sum(stack.verifier.verified.values()) >= before + report.verdicts
    assert all(stack.verifier.ignored_caches[before:])
    assert not any(stack.verifier.ignored_caches[:before])
    assert (report.candidates, report.plans_equal, report.requests_equal) == (31, 31, 30)
    assert report.verdicts_equal == report.verdicts >= 31
    assert report.winner_equal
    assert report.HasField("winner_number")


async def test_a_replay_notices_a_verifier_that_changed_its_mind(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client)
    await watch(client, search_id)
    honest = FakeVerifier.result

    def biased(self: FakeVerifier, request: Any) -> Any:
        result = honest(self, request)
        result.verdict.train.score *= 0.5
        return result

    stack.verifier.result = biased.__get__(stack.verifier)  # type: ignore[method-assign]
    report, differences = await replay(client, search_id)
    assert not report.equal
    assert report.differences == len(differences)
    assert any("verdict" in line for line in differences)
    assert any(line.startswith("gate determinism of candidate") for line in differences), differences


async def test_a_replay_waits_for_a_verifier_that_is_busy_and_says_when_it_cannot_be_had(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=3))
    await watch(client, search_id)
    stack.verifier.failures = [Unavailable("busy", retry_after_seconds=0.05) for _ in range(3)]
    report, _ = await replay(client, search_id)
    assert report.equal
    stack.verifier.failures = [FailedPrecondition("no isolation here")] * 100
    with pytest.raises(FailedPrecondition, match="no isolation here"):
        await replay(client, search_id)
    with pytest.raises(NotFound):
        await replay(client, "no-such-search")
    with pytest.raises(InvalidArgument, match="parallel_verifications"):
        async for _ in client.replay_search(pb.ReplaySearchRequest(search_id=search_id, parallel_verifications=-1)):
            pass


async def test_a_controller_that_only_answers_settles_a_cancelled_search_and_runs_nothing(stack: Stack) -> None:
    client = await stack.start()
    stack.generator.gate.clear()
    search_id, running = await create(client, parallel_generations=1), await create(client, seed=8)
    await until(lambda: stack.generator.in_flight >= 2)
    await stack.server._service._runner.close()  # type: ignore[attr-defined]
    stack.expire_leases()
    stack.generator.gate.set()
    stack.runner["max_searches"] = 0
    client = await stack.start()
    await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
    await watch(client, search_id)
    assert (await get(client, search_id)).spend.reserved_usd == 0.0
    await client.delete_search(pb.DeleteSearchRequest(search_id=search_id))
    search = await get(client, running)
    assert (search.state, search.spend.verifications) == (pb.SEARCH_STATE_RUNNING, 1)
