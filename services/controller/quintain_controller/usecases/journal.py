"""Writes of one owned search, in order, several in one transaction when they come together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from quintain_controller import metrics
from quintain_controller.domain.events import DomainEvent
from quintain_controller.domain.ledger import Ledger
from quintain_controller.domain.model import SearchState
from quintain_controller.domain.records import Batch, CandidateWrite, Control, Lease, Transition
from quintain_controller.usecases.async_store import AsyncStore


@dataclass(slots=True)
class Entry:
    """What one step wants written. `transition` ends a transaction: nothing is written with what comes after it."""

    candidates: list[CandidateWrite] = field(default_factory=list)
    events: list[DomainEvent] = field(default_factory=list)
    told: int | None = None
    transition: Transition | None = None
    best_number: int | None = None
    idle_in: SearchState | None = None
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Journal:
    """`control` is the latest word of the store. When a write fails, every later one fails with the same error: the
    search must be restored from the store, because what is in memory is ahead of it."""

    def __init__(
        self,
        store: AsyncStore,
        lease: Lease,
        control: Control,
        ledger: Ledger,
        committed: Callable[[], None],
        changed: Callable[[SearchState], None],
    ) -> None:
        """`committed` is called after every transaction, `changed` with the state before when `control` is new."""
        self._store, self._lease, self._ledger = store, lease, ledger
        self._committed, self._changed = committed, changed
        self.control = control
        self._queue: list[Entry] = []
        self._writer: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._clock = time.monotonic()

    async def write(self, entry: Entry) -> Control:
        """Return when the entry is durable. The ledger must have been told before: a transaction holds its spend."""
        if self._error is not None:
            raise self._error
        self._queue.append(entry)
        if self._writer is None:
            self._writer = asyncio.create_task(self._drain())
        await asyncio.shield(entry.done)
        return self.control

    async def finish(self) -> None:
        """Wait for what is being written."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    def heard(self, control: Control) -> None:
        """A word of the store; one that a later word has overtaken on the way is dropped."""
        if control.sequence <= self.control.sequence:
            return
        self.count_wall_time()
        before, self.control = self.control.state, control
        self._changed(before)

    def count_wall_time(self) -> None:
        """A search's clock runs while it is running."""
        now = time.monotonic()
        if self.control.state is SearchState.RUNNING:
            self._ledger.wall_seconds += now - self._clock
        self._clock = now

    async def _drain(self) -> None:
        batch: list[Entry] = []
        try:
            while self._queue:
                batch = self._take()
                self.heard(await self._store(self._store.blocking.commit, self._lease, self._batch(batch)))
                for entry in batch:
                    entry.done.set_result(None)
                self._committed()
        except Exception as error:  # noqa: BLE001 - handed to every writer
            self._error = error
            for entry in (*batch, *self._queue):
                if not entry.done.done():
                    entry.done.set_exception(error)
                    entry.done.exception()  # a writer that was cancelled does not ask any more
        finally:
            self._writer = None

    def _take(self) -> list[Entry]:
        """Everything that waits, up to and including the first transition."""
        count = next((i + 1 for i, e in enumerate(self._queue) if e.transition is not None), len(self._queue))
        batch, self._queue = self._queue[:count], self._queue[count:]
        return batch

    def _batch(self, batch: list[Entry]) -> Batch:
        self.count_wall_time()
        last = batch[-1]
        spend = self._ledger.spend()
        metrics.show_budget(self._lease.search_id, spend, self.control.budget)
        return Batch(
            spend=spend,
            candidates=[write for entry in batch for write in entry.candidates],
            events=[event for entry in batch for event in entry.events],
            transition=last.transition,
            best_number=next((e.best_number for e in reversed(batch) if e.best_number is not None), None),
            told=next((e.told for e in reversed(batch) if e.told is not None), None),
            idle_in=last.idle_in,
        )
