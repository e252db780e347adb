"""The SQL store for an event loop: its blocking methods run in threads of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from quintain.plugins.backend import Message
from quintain_generator.adapters.store.sql import SqlGenerationStore
from quintain_generator.domain.generation import CallRecord, Claim, Generation, RequestKey, Spend, Told
from quintain_generator.domain.habits import Measured

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 8  # no more than the database takes; a store that does not answer holds up nothing else


class AsyncGenerationStore:
    """See `quintain_generator.ports.GenerationStore`."""

    def __init__(self, store: SqlGenerationStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self._checking = ThreadPoolExecutor(1, thread_name_prefix="store-check")

    async def open(self) -> None:
        await self._run(self._store.open)

    async def close(self) -> None:
        await self._run(self._store.close)
        self._threads.shutdown(wait=False)
        self._checking.shutdown(wait=False)

    async def renew(self) -> None:
        await self._run(self._store.renew)

    async def check(self) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._checking, self._store.check)

    async def begin(self, request: RequestKey) -> Claim:
        return await self._run(self._store.begin, request)

    async def intend(
        self,
        request_id: str,
        attempt: int,
        prompt: tuple[Message, ...],
        reserved_usd: float | None,
        told: Told | None = None,
        *,
        batched: bool = False,
    ) -> None:
        await self._run(self._store.intend, request_id, attempt, prompt, reserved_usd, told, batched=batched)

    async def submitted(self, request_id: str, attempt: int, batch_id: str) -> None:
        await self._run(self._store.submitted, request_id, attempt, batch_id)

    async def batches_since(self, backend: str, since: float) -> frozenset[str]:
        return await self._run(self._store.batches_since, backend, since)

    async def settle(self, request_id: str, call: CallRecord) -> None:
        await self._run(self._store.settle, request_id, call)

    async def finish(self, generation: Generation) -> None:
        await self._run(self._store.finish, generation)

    async def release(self, request_id: str) -> None:
        await self._run(self._store.release, request_id)

    async def find(self, request_id: str) -> tuple[RequestKey, Generation | None] | None:
        return await self._run(self._store.find, request_id)

    async def spend(self, request_id: str) -> Spend:
        return await self._run(self._store.spend, request_id)

    async def abandoned(self) -> Sequence[RequestKey]:
        return await self._run(self._store.abandoned)

    async def measured(self, backend: str, model: str, most: int) -> Sequence[Measured]:
        return await self._run(self._store.measured, backend, model, most)

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        work = asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise
