"""A request is paid for once, however often and by however many it is asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.generator import request, stack

from quintain.errors import AlreadyExists, NotFound
from quintain.generator.v1 import generator_pb2 as pb


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
        with pytest.raises(NotFound, match=r"no backend 'gpt'; configured are llm, offline"):
            await s.client.generate(request("r1", "gpt"))
