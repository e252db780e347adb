"""Watchers of searches that other processes write."""

from __future__ import annotations

import asyncio
from typing import cast

from quintain.errors import InvalidArgument
from quintain_controller import ports
from quintain_controller.usecases.async_store import AsyncStore
from quintain_controller.usecases.notifier import Notifier


class Store:
    """Refuses to look once, as PostgreSQL does when one of the ids is none; then there is always something new."""

    def __init__(self) -> None:
        self.looks = 0

    def close(self) -> None:
        pass

    def positions(self, search_ids: list[str]) -> dict[str, tuple[int, bool]]:
        self.looks += 1
        if self.looks == 1:
            raise InvalidArgument("not an id")
        return dict.fromkeys(search_ids, (self.looks, True))


async def test_one_watch_that_cannot_be_looked_up_does_not_end_the_looking_for_all() -> None:
    looked = Store()
    store = AsyncStore(cast(ports.Store, looked))
    notifier = Notifier()
    changed = notifier.subscribe("s1")
    following = asyncio.create_task(notifier.follow(store, 0.001))
    for _ in range(3):
        await asyncio.wait_for(changed.wait(), 20)
        changed.clear()
    assert looked.looks >= 3
    following.cancel()
    store.close()
