"""Who runs next: a bounded queue in front of the workers, with fair shares between callers."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from quintain.errors import ResourceExhausted

W = TypeVar("W")


class Ticket(Generic[W]):
    """One request's place. It waits until it has had its first worker, and may hold several workers at once."""

    def __init__(self, queue: FairQueue[W], caller: str, number: int, evicted: Callable[[ResourceExhausted], None]):
        self._queue = queue
        self.caller = caller
        self.number = number
        self.evicted = evicted
        self.wanted: deque[asyncio.Future[W]] = deque()
        self.started = False
        self.running = 0  # workers that it holds

    async def acquire(self) -> W:
        """The next worker that falls to this ticket. Exactly one `release` for every worker."""
        future: asyncio.Future[W] = asyncio.get_running_loop().create_future()
        self.wanted.append(future)
        self._queue.dispatch()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._queue.give_back(self, future.result())
            else:
                self.wanted.remove(future)
            raise

    def release(self) -> None:
        """The worker is not used any more; it is idle again when its pool says so."""
        self._queue.release(self)

    @property
    def position(self) -> int:
        """How many requests are ahead of this one, plus one; 0 when it has begun."""
        return self._queue.position(self)


class FairQueue(Generic[W]):
    """Hands idle workers to tickets. The caller with the fewest workers is next, among equals the one that was served
    longest ago. Within a caller, a ticket without a worker comes before one that has some; else first come, first
    served: no request holds all workers while others wait.

    At most `most_waiting` tickets wait. A newcomer to a full queue takes the place of the newest ticket of the caller
    who has the most waiting, if that caller has at least two more than the newcomer's caller; else it is refused.
    """

    def __init__(self, most_waiting: int, retry_after: Callable[[], float]) -> None:
        self._most_waiting = most_waiting
        self._retry_after = retry_after
        self._tickets: dict[int, Ticket[W]] = {}
        self._numbers = itertools.count(1)
        self._served = itertools.count(1)
        self._last_served: dict[str, int] = {}
        self._running: dict[str, int] = {}
        self._idle: list[W] = []
        self.changed: Callable[[], None] = lambda: None

    def enter(self, caller: str, evicted: Callable[[ResourceExhausted], None]) -> Ticket[W]:
        """A place for one request; `leave` gives it up. Raises ResourceExhausted. `evicted` is called if the place is
        lost to another caller while it waits."""
        if len(self.waiting) >= self._most_waiting:
            self._make_room(caller)
        ticket = Ticket(self, caller, next(self._numbers), evicted)
        self._tickets[ticket.number] = ticket
        return ticket

    def leave(self, ticket: Ticket[W]) -> None:
        self._tickets.pop(ticket.number, None)
        if not any(t.caller == ticket.caller for t in self._tickets.values()):
            self._last_served.pop(ticket.caller, None)
        if not ticket.started:  # else nobody was behind it
            self.changed()

    def add_idle(self, worker: W) -> None:
        self._idle.append(worker)
        self.dispatch()

    def drop_idle(self, worker: W) -> None:
        """It is gone."""
        if worker in self._idle:
            self._idle.remove(worker)

    def dispatch(self) -> None:
        started = False
        while self._idle and (ticket := self._next()) is not None:
            future = ticket.wanted.popleft()
            if future.done():  # cancelled, and not yet taken out
                continue
            self._running[ticket.caller] = self._running.get(ticket.caller, 0) + 1
            ticket.running += 1
            self._last_served[ticket.caller] = next(self._served)
            started = started or not ticket.started
            ticket.started = True
            future.set_result(self._idle.pop())
        if started:
            self.changed()

    def release(self, ticket: Ticket[W]) -> None:
        ticket.running -= 1
        self._running[ticket.caller] -= 1
        if not self._running[ticket.caller]:
            del self._running[ticket.caller]

    def give_back(self, ticket: Ticket[W], worker: W) -> None:
        self.release(ticket)
        self.add_idle(worker)

    def position(self, ticket: Ticket[W]) -> int:
        if ticket.started:
            return 0
        return 1 + sum(t.number < ticket.number for t in self.waiting)

    @property
    def waiting(self) -> list[Ticket[W]]:
        return [t for t in self._tickets.values() if not t.started]

    @property
    def is_busy(self) -> bool:
        """Whether a newcomer would have to wait for a worker."""
        return not self._idle

    def _next(self) -> Ticket[W] | None:
        ready: dict[str, Ticket[W]] = {}  # each caller's next ticket that wants a worker
        for ticket in self._tickets.values():
            first = ready.get(ticket.caller)
            if ticket.wanted and (first is None or (first.running and not ticket.running)):
                ready[ticket.caller] = ticket
        if not ready:
            return None
        caller = min(ready, key=lambda c: (self._running.get(c, 0), self._last_served.get(c, 0), ready[c].number))
        return ready[caller]

    def _make_room(self, caller: str) -> None:
        waiting: dict[str, list[Ticket[W]]] = {}
        for ticket in self.waiting:
            waiting.setdefault(ticket.caller, []).append(ticket)
        greediest = max(waiting.values(), key=len, default=[])
        full = ResourceExhausted(
            f"{self._most_waiting} requests are waiting already; try again later",
            reason="QUEUE_FULL",
            retry_after_seconds=self._retry_after(),
        )
        if len(greediest) < len(waiting.get(caller, [])) + 2:
            raise full
        newest = greediest[-1]
        del self._tickets[newest.number]
        newest.evicted(full)
