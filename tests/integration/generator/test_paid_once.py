"""A request is paid for once, however often and by however many it is asked for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.fault_server.server import FaultServer
from tests.support.generator import request, stack, until

from quintain.errors import AlreadyExists, FailedPrecondition, NotFound, QuintainError
from quintain.generator.v1 import generator_pb2 as pb
from quintain_generator.adapters.store import sql
from quintain_generator.usecases import answer_keeper


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


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    """Another program holds the database."""
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "_SQLITE_WAITS_SECONDS", 0.1)
    monkeypatch.setattr(answer_keeper, "_LOG_SECONDS", 0.2)


@pytest.mark.usefixtures("_short_waits")
async def test_a_paid_answer_waits_for_a_locked_store_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stack(tmp_path, faults=FaultServer(delay_seconds=0.2)) as s:
        notes: list[str] = []

        async def ask() -> pb.Generation:
            async for event in s.client.generate_stream(request("r1", "llm"), timeout=60.0):
                if event.HasField("result"):
                    return event.result
                notes.append(event.progress.note)
            raise AssertionError

        asked = asyncio.create_task(ask())
        await until(lambda: bool(s.server.seen))
        with _locked(s.store):
            await until(lambda: sum("waits for the store" in note for note in notes) >= 2)
            assert not asked.done()
        g = await asked
    assert g.outcome == pb.OUTCOME_OK
    assert g.cost.usd > 0
    assert len(s.server.seen) == 1
    assert "database is locked" in next(note for note in notes if "waits for the store" in note)
    assert "what came of call 1 waits for the store" in "".join(capsys.readouterr())


@pytest.mark.usefixtures("_short_waits")
async def test_a_paid_answer_outlives_its_caller_while_the_store_is_away(tmp_path: Path) -> None:
    """Longer than the call may go on without a caller; and nothing is said to have died."""
    faults = FaultServer(delay_seconds=0.2)
    async with stack(tmp_path, faults=faults, abandoned_call_seconds=0.3) as s:
        asked = asyncio.create_task(s.generate_once(request("r1", "llm"), timeout=1.0))
        await until(lambda: bool(s.server.seen))
        with _locked(s.store):
            await asyncio.wait([asked])
            await until(lambda: any(run.cancelled for run in s.service._generations._runs.values()))
            with pytest.raises(QuintainError, match="still waits for the store"):
                await s.generate_once(request("r1", "llm"), timeout=1.0)
        assert isinstance(asked.exception(), QuintainError)
        g = await s.generate_once(request("r1", "llm"), timeout=30.0)
    assert (g.outcome, g.cost.at_risk_usd, len(s.server.seen)) == (pb.OUTCOME_OK, 0.0, 1)
    assert g.cost.usd > 0


@pytest.mark.usefixtures("_short_waits")
async def test_an_answer_that_a_stopping_process_could_not_write_is_at_risk_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stack(tmp_path, faults=FaultServer(delay_seconds=0.1), server={"drain_seconds": 0.3}) as s:
        asked = asyncio.create_task(s.generate_once(request("r1", "llm"), timeout=30.0))
        await until(lambda: bool(s.server.seen))
        holder = _locked(s.store)
        holder.__enter__()
        await until(lambda: s.service._generations._keeper.waiting == 1)
    holder.__exit__(None, None, None)
    await asyncio.wait([asked])
    assert "lost: the process ends before the store could be written" in "".join(capsys.readouterr())
    async with stack(tmp_path) as s:
        g = await s.generate_once(request("r1", "llm"))
    assert (g.outcome, len(s.server.seen)) == (pb.OUTCOME_UNKNOWN, 0)
    assert g.detail == "the generator ended before it could write down what came of the call"
    assert g.cost.at_risk_usd > 0
