"""What every use case shares: the blocking store from asyncio, and who is told of new events."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from quintain_controller.store.sql import SqlStore

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
    """Wakes watchers of a search in this process; those in others poll the store."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def notify(self, search_id: str) -> None:
        for event in self._waiting.get(search_id, ()):
            event.set()

    async def wait(self, search_id: str, event: asyncio.Event, seconds: float) -> None:
        """Until `event` is set by a notification or the time is over."""
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            pass
        event.clear()

    def subscribe(self, search_id: str) -> asyncio.Event:
        event = asyncio.Event()
        self._waiting[search_id].add(event)
        return event

    def unsubscribe(self, search_id: str, event: asyncio.Event) -> None:
        self._waiting[search_id].discard(event)
        if not self._waiting[search_id]:
            del self._waiting[search_id]
