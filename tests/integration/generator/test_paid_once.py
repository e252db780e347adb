"""A request is paid for once, however often and by however many it is asked for."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from tests.support.generator import Stack, request, stack, until

from quintain.errors import AlreadyExists, FailedPrecondition, NotFound, QuintainError
from quintain.generator.v1 import generator_pb2 as pb
from quintain_generator.domain.generation import CallRecord


async def test_repeating_a_request_id_returns_the_record_and_calls_nobody(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        first = await s.client.generate(request("r1", "llm"))
        again = await s.client.generate(request("r1", "llm"))
        fetched = (await s.client.get_generation(pb.GetGenerationRequest(request_id="r1"))).generation
    assert first.outcome == pb.OUTCOME_OK
    assert not first.recorded
    assert again.recorded
    again.recorded = False
    fetched.recorded = False
    assert again == first == fetched
    assert len(s.server.seen) == 1


async def test_the_record_survives_a_restart(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        first = await s.client.generate(request("r1", "llm"))
    async with stack(tmp_path) as s:
        again = await s.client.generate(request("r1", "llm"))
    assert again.recorded
    assert again.source == first.source
    assert s.server.seen == []


async def test_concurrent_duplicates_share_one_call(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        results = await asyncio.gather(*(s.client.generate(request("r1", "llm")) for _ in range(20)))
    assert {r.source for r in results} == {results[0].source}
    assert len(s.server.seen) == 1


async def test_an_id_used_for_another_task_is_refused(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        await s.client.generate(request("r1", "llm"))
        with pytest.raises(AlreadyExists, match="r1"):
            await s.client.generate(request("r1", "llm", seed=2))


async def test_an_unknown_backend_is_named_with_the_known_ones(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        for name in ("gpt", "\x00"):
            with pytest.raises(
                NotFound, match=rf"no backend {name!r}; configured are llm, offline".replace("\\", "\\\\")
            ):
                await s.client.generate(request("r1", name))


async def test_a_request_that_is_refused_does_not_use_up_its_id(tmp_path: Path) -> None:
    keyless = {"kind": "openai", "model": "m", "options": {"api_key_file": str(tmp_path / "nothing")}}
    async with stack(tmp_path, backends={"keyless": keyless}) as s:
        for backend in ("gpt", "keyless"):
            with pytest.raises((NotFound, FailedPrecondition)):
                await s.generate_once(request("r1", backend))
        assert (await s.generate_once(request("r1", "offline"))).request_id == "r1"


def _without_calls(s: Stack, *, away: bool) -> None:
    """The table of calls cannot be written to while it is away."""
    old, new = ("generation_call", "away") if away else ("away", "generation_call")
    with sqlite3.connect(s.store) as connection:
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")


def _lose_the_store_before_the_answer(s: Stack, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The request ids of all tries to write an answer down, of which the first finds no table."""
    tries: list[str] = []
    settle = s.service._generations._store.settle

    def watched(request_id: str, call: CallRecord) -> None:
        if not tries:
            _without_calls(s, away=True)
        tries.append(request_id)
        settle(request_id, call)

    monkeypatch.setattr(s.service._generations._store, "settle", watched)
    return tries


async def test_an_answer_waits_for_a_store_that_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stack(tmp_path) as s:
        tries = _lose_the_store_before_the_answer(s, monkeypatch)
        asked = asyncio.create_task(s.generate_once(request("r1", "llm"), timeout=30.0))
        await until(lambda: len(tries) >= 2)
        assert not asked.done()
        _without_calls(s, away=False)
        g = await asked
    assert g.outcome == pb.OUTCOME_OK
    assert g.cost.usd > 0
    assert len(s.server.seen) == 1


async def test_an_answer_that_could_not_be_written_down_is_at_risk_and_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stack(tmp_path) as s:
        tries = _lose_the_store_before_the_answer(s, monkeypatch)
        with pytest.raises(QuintainError):
            await s.generate_once(request("r1", "llm"), timeout=2.0)
        await until(lambda: not s.service._generations._runs)
        assert tries
        _without_calls(s, away=False)
        g = await s.generate_once(request("r1", "llm"))
    assert g.outcome == pb.OUTCOME_UNKNOWN
    assert g.cost.at_risk_usd > 0
    assert len(s.server.seen) == 1
