"""Runs searches in this process: takes those that need an owner, and gives them back on the way out."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from quintain.errors import Aborted, QuintainError, Unavailable
from quintain.service.logs import get_logger
from quintain_controller import metrics
from quintain_controller.domain.records import Lease, SearchRecord
from quintain_controller.usecases.dependencies import Dependencies
from quintain_controller.usecases.search_run import SearchRun

_SETTLED_AT_ONCE = 4

log = get_logger("runner")


class SearchRunner:
    """One for a process; belongs to one event loop."""

    def __init__(self, dependencies: Dependencies, owner: str) -> None:
        self._dependencies, self._owner = dependencies, owner
        self._runs: dict[str, SearchRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._poke = asyncio.Event()
        self._draining = False
        self._loop_task: asyncio.Task[None] | None = None
        self.store_error: str = ""

    def start(self) -> None:
        self._loop_task = asyncio.create_task(self._loop())

    def on_search_changed(self, record: SearchRecord) -> None:
        """A search was created or changed through this process. One that runs here obeys before this returns."""
        run = self._runs.get(record.search_id)
        if run is not None:
            run.on_control_changed(record.control)
        self._poke.set()

    async def drain(self) -> None:
        """Take no more searches; return when the generations in flight are recorded and the leases released."""
        self._draining = True
        self._poke.set()
        if self._loop_task is not None:  # what it is taking right now has an owner, who gives it back
            await asyncio.wait((self._loop_task,))
        for run in self._runs.values():
            run.drain()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Stop at once; leases run out by themselves."""
        tasks = [*self._tasks, *([self._loop_task] if self._loop_task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _loop(self) -> None:
        settings, store = self._dependencies.settings, self._dependencies.store
        while not self._draining:
            try:
                room = settings.max_searches - len(self._tasks)
                ended = room <= 0  # what has ended is settled even so
                if ended:
                    room += _SETTLED_AT_ONCE
                if room > 0:
                    for lease in await store(store.blocking.acquire, self._owner, room, settings.lease_seconds, ended):
                        task = asyncio.create_task(self._own(lease))
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)
                metrics.show_counts(await store(store.blocking.counts))
                self.store_error = ""
            except Unavailable as error:
                self.store_error = error.message
                log.error("store unavailable", error=error.message)
            except Exception as error:  # the loop must not end unseen: readiness says that searches do not go on
                self.store_error = repr(error)
                log.error("searches cannot be taken", exc_info=error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poke.wait(), settings.poll_seconds)
            self._poke.clear()

    async def _own(self, lease: Lease) -> None:
        """Work on one search until it needs nobody, the lease is lost, or the store fails."""
        store, search_id = self._dependencies.store, lease.search_id
        try:
            run = SearchRun(self._dependencies, lease, await store(store.blocking.search, search_id))
            self._runs[search_id] = run
            if self._draining:  # since the lease was taken
                run.drain()
            try:
                await run.run()
            finally:
                if self._runs.get(search_id) is run:  # else this process took the search anew after losing it unawares
                    del self._runs[search_id]
            await store(store.blocking.release, lease)
        except Aborted:
            metrics.LEASES_LOST.inc()
            log.warning("lease lost", search=search_id)
        except Unavailable as error:
            log.error("search interrupted", search=search_id, error=error.message)
        except Exception as error:
            log.error("search crashed", search=search_id, exc_info=error)
            await self._quarantine(lease, error)
        finally:
            self._dependencies.notifier.notify(search_id)

    async def _quarantine(self, lease: Lease, error: Exception) -> None:
        """Pause a search that crashes its owner, instead of letting every controller crash on it in turn."""
        detail = error.message if isinstance(error, QuintainError) else f"{type(error).__name__}: {error}"
        store = self._dependencies.store
        with suppress(Aborted, Unavailable):
            await store(store.blocking.quarantine, lease, f"internal error, see the log: {detail}"[:500])
