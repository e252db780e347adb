"""Many who look at a search while it runs and is changed: what they see has no gap, no repeat and one order."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import delete, update
from tests.integration.controller.conftest import NewStack, Stack, candidates, create, get, until, watch

from quintain.clients.controller import AsyncController
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, NotFound
from quintain_controller.adapters.store.schema import searches
from quintain_controller.adapters.store.sql import SqlStore


async def watch_in_pieces(client: AsyncController, search_id: str, seed: int) -> list[int]:
    """The sequence numbers that a watcher sees who goes away again and again, now and then slowly."""
    chance, seen = random.Random(seed), list[int]()
    ended = False
    while not ended:
        stop_after, ended = chance.randint(1, 20), True
        stream = client.watch_search(search_id, seen[-1] if seen else 0, timeout=60.0)
        async for event in stream:
            seen.append(event.sequence)
            stop_after -= 1
            if stop_after == 0:
                ended = False
                break
            if chance.random() < 0.05:
                await asyncio.sleep(0.05)
        await stream.aclose()
    return seen


async def test_many_watchers_that_come_and_go_all_see_everything_once(new_stack: NewStack) -> None:
    stack = new_stack()
    clients = [await stack.start(), await stack.start()]
    search_id = await create(clients[0], budget=pb.Budget(candidates=30))
    watched = await asyncio.gather(*(watch_in_pieces(clients[i % 2], search_id, i) for i in range(20)))
    last = (await get(clients[0], search_id)).last_sequence
    assert all(seen == list(range(1, last + 1)) for seen in watched)


async def test_candidates_are_listed_in_one_order_while_the_search_runs(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=40))
    watching = asyncio.create_task(watch(client, search_id))
    longest = 0
    while not watching.done():
        numbers = [c.number for c in await candidates(client, search_id)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= longest
        longest = len(numbers)
    await watching
    assert [c.number for c in await candidates(client, search_id)] == list(range(41))


async def test_pausing_and_resuming_without_end_changes_nothing_but_time(new_stack: NewStack) -> None:
    calm, stack = new_stack(), new_stack()
    calm.store_url, stack.store_url = (f"sqlite:///{calm.folder}/{name}.db" for name in ("calm", "restless"))
    outcomes = []
    for one, restless in ((calm, False), (stack, True)):
        client = await one.start()
        search_id = await create(client, budget=pb.Budget(candidates=30))
        watching = asyncio.create_task(watch(client, search_id))
        while restless and not watching.done():
            try:
                await client.pause_search(pb.PauseSearchRequest(search_id=search_id))
                await client.resume_search(pb.ResumeSearchRequest(search_id=search_id))
            except FailedPrecondition:  # it has ended
                break
        await watching
        search = await get(client, search_id)
        found = [(c.number, c.score, c.summary) for c in await candidates(client, search_id)]
        outcomes.append((search.state, search.winner.number, search.spend.verifications, found))
        assert set(one.generator.calls.values()) == {1}
    assert outcomes[0] == outcomes[1]


async def test_watchers_of_a_search_where_nothing_happens_ask_the_store_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await stack.start()
    stack.generator.gate.clear()
    search_id = await create(client)
    await until(lambda: stack.generator.in_flight > 0)
    await client.pause_search(pb.PauseSearchRequest(search_id=search_id))
    stack.generator.gate.set()
    await until(lambda: not stack.runs())
    last = (await get(client, search_id)).last_sequence
    asked: Counter[str] = Counter()
    for method in ("events_after", "positions"):
        honest = getattr(SqlStore, method)

        def counted(*arguments: Any, _honest: Any = honest, _method: str = method) -> Any:
            asked[_method] += 1
            return _honest(*arguments)

        monkeypatch.setattr(SqlStore, method, counted)
    watchers = [asyncio.create_task(watch(client, search_id, last)) for _ in range(30)]
    await until(lambda: asked["events_after"] >= 30)
    looked = asked["positions"]
    await until(lambda: asked["positions"] >= looked + 10)
    assert asked["events_after"] <= 2 * 30  # when they came, and perhaps when they were first looked after
    await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
    streams = await asyncio.gather(*watchers)
    assert all([e.sequence for e in seen] == list(range(last + 1, last + 1 + len(seen))) for seen in streams)
    assert {seen[-1].state_changed.state for seen in streams} == {pb.SEARCH_STATE_CANCELLED}


async def test_a_watcher_of_a_search_that_another_controller_deletes_hears_of_it(stack: Stack) -> None:
    one = await stack.start()
    two = await stack.start()
    search_id = await create(one, budget=pb.Budget(candidates=3))
    last = (await watch(one, search_id))[-1].sequence
    store = stack.server._service._store.blocking  # type: ignore[attr-defined]
    with store._engine.begin() as connection:  # as while it is being settled: ended, and the stream still open
        connection.execute(update(searches).values(needs_owner=True, lease_until=time.time() + 60.0))
    watching = asyncio.create_task(watch(two, search_id, last))
    await until(lambda: bool(stack.server._service._servicer._notifier._waiting))  # type: ignore[attr-defined]
    with store._engine.begin() as connection:
        connection.execute(update(searches).values(needs_owner=False))
        connection.execute(delete(searches))
    with pytest.raises(NotFound):
        await watching
