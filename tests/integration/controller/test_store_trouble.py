"""A database that fails for a while under a running search: nothing is lost, nothing is paid twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event
from tests.integration.controller.conftest import NewStack, Stack, candidates, create, get, until, watch
from tests.integration.controller.fakes import Backend

from quintain.clients.controller import AsyncController
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import Unavailable


async def finished_whole(stack: Stack, client: AsyncController, search_id: str) -> None:
    await watch(client, search_id)
    search = await get(client, search_id)
    assert (search.state, search.spend.candidates) == (pb.SEARCH_STATE_FINISHED, 20)
    assert [c.number for c in await candidates(client, search_id)] == list(range(21))
    assert set(stack.generator.calls.values()) == {1}


async def test_a_full_disk_stops_a_search_until_there_is_room(stack: Stack) -> None:
    client = await stack.start()
    engine = stack.server._service._store.blocking._engine  # type: ignore[attr-defined]
    full = False

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {used if full else 2**30}")

    event.listen(engine, "checkout", limit)
    search_id = await create(client)
    await until(lambda: len(stack.generator.records) >= 4)
    full = True

    async def refused() -> bool:
        try:
            await create(impatient, title="x" * 200)
        except Unavailable as error:
            return "full" in error.message
        return False

    async with AsyncController(stack.server.address, retries=False) as impatient:
        await until(refused)
    full = False
    stack.expire_leases()
    await finished_whole(stack, client, search_id)


async def test_a_database_that_is_locked_for_a_while_is_waited_for(new_stack: NewStack, tmp_path: Path) -> None:
    file = tmp_path / "locked.db"
    stack = new_stack(store_url=f"sqlite:///{file}?timeout=0.05")
    client = await stack.start()
    search_id = await create(client)
    await until(lambda: len(stack.generator.records) >= 4)
    with sqlite3.connect(file, isolation_level=None, timeout=30.0) as other:
        other.execute("BEGIN EXCLUSIVE")
        async with AsyncController(stack.server.address, retries=False) as impatient:
            with pytest.raises(Unavailable, match="locked"):
                await create(impatient)
        other.execute("ROLLBACK")
    stack.expire_leases()
    await finished_whole(stack, client, search_id)


async def test_texts_that_postgresql_cannot_hold_are_stored_as_well(new_stack: NewStack, postgres_url: str) -> None:
    stack = new_stack(Backend(sources={1: "x = 0.5  # \0\n", 2: "raise x = 0.5\n"}), store_url=postgres_url)
    honest = stack.verifier.result

    def with_nul(request: object) -> object:
        result = honest(request)
        result.feedback.text += "\0"
        if result.verdict.HasField("failure"):
            result.verdict.failure.message = "\0" + result.verdict.failure.message
        return result

    stack.verifier.result = with_nul  # type: ignore[method-assign]
    client = await stack.start()
    search_id = await create(client)
    await finished_whole(stack, client, search_id)
