"""Who is told of a search's new events."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress

from quintain.errors import QuintainError
from quintain_controller.usecases.async_store import AsyncStore


class Notifier:
    """Wakes watchers of a search: `notify` for what this process has written, `follow` for what others have."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def notify(self, search_id: str) -> None:
        for event in self._waiting.get(search_id, ()):
            event.set()

    async def follow(self, store: AsyncStore, seconds: float) -> None:
        """For ever: look so often where the watched searches stand, all of them in one query."""
        seen: dict[str, tuple[int, bool]] = {}
        while True:
            await asyncio.sleep(seconds)
            watched = list(self._waiting)
            now: dict[str, tuple[int, bool]] = {}
            if watched:
                with suppress(QuintainError):
                    now = await store(store.blocking.positions, watched)
            for search_id in watched:
                # One that is not there or cannot be looked at: the watcher asks, and tells its client what is wrong.
                if search_id not in now or now[search_id] != seen.get(search_id):
                    self.notify(search_id)
            seen = now

    def subscribe(self, search_id: str) -> asyncio.Event:
        event = asyncio.Event()
        self._waiting[search_id].add(event)
        return event

    def unsubscribe(self, search_id: str, event: asyncio.Event) -> None:
        self._waiting[search_id].discard(event)
        if not self._waiting[search_id]:
            del self._waiting[search_id]
