"""Held-out scores of what was the best on train for a while: shown and recorded, but nothing is asked for by them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from quintain.errors import InvalidArgument
from quintain_controller import metrics
from quintain_controller.domain.events import DomainEvent, HeldOutScored, Overfitting
from quintain_controller.domain.gates import gap
from quintain_controller.domain.model import Candidate
from quintain_controller.domain.records import CandidateWrite
from quintain_controller.ports import HELD_OUT
from quintain_controller.usecases.calls import Calls
from quintain_controller.usecases.journal import Entry, Journal
from quintain_controller.usecases.patience import NeedsOperator
from quintain_controller.usecases.texts import CandidateSourceCache


class HeldOutScores:
    """Of one search: a queue of candidates that are told and written, scored one after the other in a task."""

    def __init__(
        self,
        calls: Calls,
        texts: CandidateSourceCache,
        journal: Journal,
        search_id: str,
        stopping: asyncio.Event,
        pause: Callable[[str], Awaitable[None]],
        ended: Callable[[asyncio.Task[None]], None],
    ) -> None:
        """`pause` is called with the reason when a person must act; `ended` with every task that has ended."""
        self._calls, self._texts, self._journal, self._search_id = calls, texts, journal, search_id
        self._stopping, self._pause, self._ended = stopping, pause, ended
        self._queue: deque[Candidate] = deque()
        self.task: asyncio.Task[None] | None = None
        self.reference: Candidate | None = None  # candidate 0; must be queued first, a gap needs its score

    def add(self, candidates: Iterable[Candidate]) -> None:
        self._queue.extend(candidates)

    def start(self) -> None:
        """Score what is queued, unless that is being done already."""
        if self._queue and self.task is None:
            self.task = asyncio.create_task(self._score())
            self.task.add_done_callback(self._scored)

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def _score(self) -> None:
        try:
            while self._queue and not self._stopping.is_set():
                candidate = self._queue[0]
                source = await self._texts.source_of(candidate.number)
                verification = await self._calls.verify(source, [HELD_OUT], "held_out")
                if verification is None:
                    return
                candidate = replace(candidate, held_out=verification.held_out)
                if candidate.number == 0:
                    self.reference = candidate
                write = CandidateWrite(candidate, held_out=verification.record)
                await self._journal.write(Entry([write], self._events(candidate)))
                self._queue.popleft()
        except (NeedsOperator, InvalidArgument) as error:
            await self._pause(f"held-out: {error}")

    def _events(self, candidate: Candidate) -> list[DomainEvent]:
        found = gap(candidate, self.reference) if self.reference is not None else None
        if found is None or candidate.train is None or candidate.held_out is None:
            return []
        held_out = candidate.held_out
        metrics.HELD_OUT_GAP.labels(self._search_id).set(found.gap)
        events: list[DomainEvent] = [
            HeldOutScored(
                candidate.number,
                candidate.train.normalized,
                held_out.normalized,
                found.gap,
                held_out.score,
                held_out.baseline_score,
            )
        ]
        if problem := found.overfitting():
            events.append(Overfitting(candidate.number, found.gap, problem))
        return events

    def _scored(self, task: asyncio.Task[None]) -> None:
        self.task = None
        self._ended(task)
