"""Two generators on one PostgreSQL: a request is run by one of them, and goes on when its owner is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.fault_server.server import FaultServer
from tests.support.generator import request, stack

from quintain.errors import Aborted, AlreadyExists, Unavailable
from quintain.generator.v1 import generator_pb2 as pb
from quintain.plugins.backend import BackendReply, CallOutcome, Message, Usage
from quintain_generator.adapters.store.sql import SqlGenerationStore
from quintain_generator.domain.generation import CallRecord, Ownership, RequestKey

REQUEST = RequestKey("r1", "digest", "llm", "m")
PROMPT = (Message("user", "Now."),)


def _opened(url: str) -> SqlGenerationStore:
    store = SqlGenerationStore(url)
    store.open()
    return store


def _die(store: SqlGenerationStore) -> None:
    """What a kill leaves behind once the lease has run out."""
    with store._engine.begin() as connection:
        connection.execute(sa.text("UPDATE generator_owner SET alive_until = 0 WHERE owner = :o"), {"o": store.owner})


def test_a_living_owner_keeps_its_request_and_a_dead_ones_goes_to_who_asks(postgres_url: str) -> None:
    first, second = _opened(postgres_url), _opened(postgres_url)
    assert first.begin(REQUEST).ownership is Ownership.OWNED
    assert second.begin(REQUEST).ownership is Ownership.OWNED_BY_OTHER
    first.intend("r1", 1, PROMPT, 0.5)
    _die(first)
    assert [r.request_id for r in second.abandoned()] == ["r1"]
    claim = second.begin(REQUEST)
    assert claim.ownership is Ownership.OWNED
    assert [(c.attempt, c.reply, c.reserved_usd) for c in claim.calls] == [(1, None, 0.5)]
    with pytest.raises(Aborted, match="taken over"):
        first.intend("r1", 2, PROMPT, 0.5)
    for store in (first, second):
        store.close()


def test_money_of_a_late_answer_is_recorded_even_for_an_owner_that_lost_its_request(postgres_url: str) -> None:
    first, second = _opened(postgres_url), _opened(postgres_url)
    first.begin(REQUEST)
    first.intend("r1", 1, PROMPT, 0.5)
    _die(first)
    second.begin(REQUEST)
    reply = BackendReply(CallOutcome.OK, text="late", usage=Usage(1, 0, 0, 1))
    with pytest.raises(Aborted):
        first.settle("r1", CallRecord(1, PROMPT, 0.5, reply, 1.0, 0.25, 0.0))
    assert [c.charged_usd for c in second.begin(REQUEST).calls] == [0.25]
    for store in (first, second):
        store.close()


async def test_replicas_that_are_asked_at_once_make_one_call(tmp_path: Path, postgres_url: str) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    async with (
        stack(folders[0], faults=FaultServer(delay_seconds=0.3), store_url=postgres_url) as a,
        stack(folders[1], store_url=postgres_url) as b,
    ):
        asked = [s.generate_once(request(f"r{n}", "llm", seed=n)) for n in range(5) for s in (a, b)]
        results = await asyncio.gather(*asked)
        assert {r.outcome for r in results} == {pb.OUTCOME_OK}
        assert [r.source for r in results[::2]] == [r.source for r in results[1::2]]
        assert len(a.server.seen) + len(b.server.seen) == 5
        with pytest.raises(AlreadyExists):
            await b.generate_once(request("r0", "llm", seed=99))


def test_one_sqlite_file_has_one_generator(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/g.db"
    first = _opened(url)
    with pytest.raises(
        Unavailable,
        match="another generator uses this SQLite file; several replicas need PostgreSQL",
    ):
        SqlGenerationStore(url).open()
    first.close()
    _opened(url).close()


def test_after_an_outage_of_the_store_everybody_has_time_to_say_that_they_live(postgres_url: str) -> None:
    """Nobody could renew a lease while it was away, so one that ran out then says nothing."""
    first, second = _opened(postgres_url), _opened(postgres_url)
    first.begin(REQUEST)
    first.intend("r1", 1, PROMPT, 0.5)
    _die(first)
    working, second._engine = second._engine, sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Unavailable):
        second.renew()
    second._engine.dispose()
    second._engine = working
    assert second.begin(REQUEST).ownership is Ownership.OWNED_BY_OTHER
    assert second.abandoned() == []
    first.renew()
    first.settle("r1", CallRecord(1, PROMPT, 0.5, BackendReply(CallOutcome.OK, text="x", usage=Usage(1, 0, 0, 1))))
    for store in (first, second):
        store.close()
