"""The blocking store from asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from quintain_controller.ports import Store

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4


class AsyncStore:
    """Runs methods of a store in threads: ``await store(store.blocking.search, search_id)``."""

    def __init__(self, blocking: Store) -> None:
        self.blocking = blocking
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")

    async def __call__(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: method(*args, **kwargs))

    async def suite_files(self, digest: str) -> bytes:
        """A stored suite, by digest. Raises NotFound."""
        return await self(self.blocking.suite_files, digest)

    def close(self) -> None:
        """Wait for what the threads do, then close the store."""
        self._threads.shutdown()
        self.blocking.close()
