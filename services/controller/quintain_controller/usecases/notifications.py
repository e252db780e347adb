"""Tells people of new bests, pauses and ends, whether or not anybody follows a search."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from quintain.errors import QuintainError
from quintain.service.logs import get_logger
from quintain.wire.notifications import NotDelivered, Way
from quintain_controller import metrics
from quintain_controller.domain.notifications import document
from quintain_controller.domain.records import SearchRecord
from quintain_controller.usecases.async_store import AsyncStore

_SEARCHES_AT_ONCE = 20
# Nobody wants to be told now of what happened before: a controller was down for long, or notifies for the first time.
_OLDEST_SECONDS = 3600.0
_DRAIN_SECONDS = 5.0

log = get_logger("notifications")


class Notifications:
    """One for a process; belongs to one event loop. An event is given to one controller, which delivers it on each of
    `ways`, in the order of a search's events. What cannot be delivered is logged and counted, and lost: a search never
    waits for it. `clock` in seconds since the epoch; `fidelity`: of the model that a search searches in, and why."""

    def __init__(
        self,
        store: AsyncStore,
        ways: Sequence[Way],
        poll_seconds: float,
        clock: Callable[[], float],
        fidelity: Callable[[SearchRecord], tuple[str, str]],
    ) -> None:
        self._store, self._ways, self._poll_seconds, self._clock = store, ways, poll_seconds, clock
        self._fidelity = fidelity
        self._running: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    def start(self) -> None:
        if self._ways:
            self._running = asyncio.create_task(self._loop())

    async def drain(self) -> None:
        """Deliver what has happened until now, if that is done soon."""
        self._stop.set()
        if self._running is not None:
            await asyncio.wait([self._running], timeout=_DRAIN_SECONDS)

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _loop(self) -> None:
        while True:
            stopping = self._stop.is_set()
            try:
                await self._deliver_news()
            except QuintainError as error:  # the store's; readiness says so
                log.warning("nothing can be notified now", error=error.message)
            except Exception as error:  # the loop must not end unseen
                log.error("notifications failed", exc_info=error)
            if stopping:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._poll_seconds)

    async def _deliver_news(self) -> None:
        since = self._clock() - _OLDEST_SECONDS
        while found := await self._store(self._store.blocking.take_news, _SEARCHES_AT_ONCE, since):
            for search, events in found:
                fidelity, reason = self._fidelity(search)
                for event in events:
                    if (content := document(search, event, fidelity, reason)) is not None:
                        await self._deliver(search.search_id, event.sequence, content)

    async def _deliver(self, search_id: str, sequence: int, content: bytes) -> None:
        for way in self._ways:
            try:
                await asyncio.to_thread(way, content)
                metrics.NOTIFICATIONS.labels("delivered").inc()
            except NotDelivered as failure:
                metrics.NOTIFICATIONS.labels("failed").inc()
                log.warning("not notified", search=search_id, sequence=sequence, reason=str(failure))
