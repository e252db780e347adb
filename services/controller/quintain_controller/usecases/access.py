"""What every use case shares: the blocking store from asyncio, and who is told of new events."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from quintain.errors import QuintainError
from quintain_controller.adapters.store.sql import SqlStore

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4


class Access:
    """Runs store methods in threads: ``await access(access.store.search, search_id)``."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")

    async def __call__(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: method(*args, **kwargs))

    def close(self) -> None:
        """Wait for what the threads do; the store stays open."""
        self._threads.shutdown()


class Notifier:
    """Wakes watchers of a search: `notify` for what this process has written, `follow` for what others have."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def notify(self, search_id: str) -> None:
        for event in self._waiting.get(search_id, ()):
            event.set()

    async def follow(self, access: Access, seconds: float) -> None:
        """For ever: look so often where the watched searches stand, all of them in one query."""
        seen: dict[str, tuple[int, bool]] = {}
        while True:
            await asyncio.sleep(seconds)
            watched = list(self._waiting)
            now: dict[str, tuple[int, bool]] = {}
            if watched:
                with suppress(QuintainError):
                    now = await access(access.store.positions, watched)
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
