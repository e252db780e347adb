"""The use case: one verdict for one request, made once however many ask for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from quintain.errors import NotFound, ResourceExhausted, Unavailable
from quintain.wire.balancing import BUSY, DRAINING, IfBusy
from quintain_verifier import metrics
from quintain_verifier.domain.feedback import ScenarioChange, changes, render, render_details
from quintain_verifier.domain.record import Execution, VerdictRecord
from quintain_verifier.ports import Verdicts, Worker
from quintain_verifier.sandbox.report import WEAK
from quintain_verifier.usecases.fair_queue import FairQueue, Ticket
from quintain_verifier.usecases.planning import PlannedRequest, RunPlanner, VerifyRequest
from quintain_verifier.usecases.run_plan import JobRunner, RunTotals, VerificationProgress
from quintain_verifier.usecases.simulator_threads import SimulatorThreads

_STANDSTILL_SECONDS = 5.0  # a queue that has not moved for so long gives calls back; sooner where runs are short
_COME_BACK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class VerifyAnswer:
    """A verdict with what surrounds it."""

    record: VerdictRecord
    cached: bool
    joined: bool
    text: str
    details: str
    changes: tuple[ScenarioChange, ...]


@dataclass(slots=True)
class _Flight:
    """A run in flight and those who wait for it."""

    planned: PlannedRequest
    ticket: Ticket[Worker]
    admitted: float
    progress: VerificationProgress
    waiters: int = 0
    refused: ResourceExhausted | None = None
    task: asyncio.Task[VerdictRecord] = field(init=False)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class VerifyPolicy:
    """Lives on one event loop."""

    def __init__(
        self,
        planner: RunPlanner,
        threads: SimulatorThreads,
        queue: FairQueue[Worker],
        runner: JobRunner,
        records: Verdicts,
        *,
        clock: Callable[[], float] = time.time,
        only_strict: bool,
    ) -> None:
        """`only_strict`: recorded verdicts of a weak jail are not believed."""
        self._planner, self._threads = planner, threads
        self._queue, self._runner, self._records = queue, runner, records
        self._clock = clock
        self._only_strict = only_strict
        self._flights: dict[str, _Flight] = {}
        self._draining = False
        queue.changed = self._queue_changed

    async def verify(
        self, request: VerifyRequest, caller: str, *, if_busy: IfBusy = IfBusy.QUEUE
    ) -> AsyncGenerator[VerificationProgress | VerifyAnswer, None]:
        """Progress, then the answer. Raises InvalidInput and QuintainError. Closing it gives up this caller's interest;
        a run that nobody waits for is ended at once."""
        self._planner.simulator(request.simulator)
        planned = await self._threads.run(request.simulator, lambda: self._planner.plan(request))
        digest = planned.plan.digest
        record = None if request.ignore_cache else await self._recorded(digest)
        if record is not None:
            metrics.ANSWERS.labels("cache").inc()
            yield await self._answer(record, request.parent_digest, cached=True)
            return
        joined = digest in self._flights
        flight = self._flights.get(digest) or self._begin(planned, caller, if_busy)
        flight.waiters += 1
        told: VerificationProgress | None = None
        moved = time.monotonic()
        try:
            while not flight.task.done():
                changed = flight.changed
                progress = flight.progress.at(flight.ticket.position)
                if progress != told:  # most changes of the queue are none for this one
                    yield progress
                    told, moved = progress, time.monotonic()
                patience: float | None = None
                if if_busy is not IfBusy.QUEUE and progress.queue_position:
                    standstill = min(_STANDSTILL_SECONDS, 2 * self._runner.retry_after())
                    patience = moved + standstill - time.monotonic()
                    if patience <= 0.0:
                        raise self._busy(
                            "the queue stands still; another replica may have a worker", _COME_BACK_SECONDS
                        )
                waiting = asyncio.ensure_future(changed.wait())
                try:
                    await asyncio.wait({flight.task, waiting}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
            if flight.task.cancelled():
                raise flight.refused or Unavailable("the run was given up", reason="RUN_CANCELLED")
            metrics.ANSWERS.labels("joined" if joined else "run").inc()
            yield await self._answer(flight.task.result(), request.parent_digest, joined=joined)
        finally:
            flight.waiters -= 1
            self._abandon(flight)

    async def find(self, digest: str, parent_digest: str) -> VerifyAnswer:
        """Raises NotFound."""
        record = await self._recorded(digest)
        if record is None:
            raise NotFound(f"no verdict {digest!r} is known here; Verify makes it")
        return await self._answer(record, parent_digest, cached=True)

    async def drain(self) -> None:
        """Refuse new runs and wait for those in flight; callers may still join them."""
        self._draining = True
        while self._flights:
            await asyncio.wait({f.task for f in self._flights.values()})

    async def close(self) -> None:
        self._draining = True
        tasks = [f.task for f in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._records.close()

    # ------------------------------------------------------------------------------------------------------ flights

    def _begin(self, planned: PlannedRequest, caller: str, if_busy: IfBusy) -> _Flight:
        refuse = if_busy is IfBusy.REFUSE
        if self._draining:
            kind = ResourceExhausted if refuse else Unavailable  # which gRPC gives to the next replica, or not
            raise kind("draining: another replica takes new work", reason=DRAINING, retry_after_seconds=1.0)
        plan = planned.plan
        self._runner.check()
        if refuse and self._queue.is_busy:
            raise self._busy("no worker is free; another replica may have one", self._runner.retry_after())

        def evicted(error: ResourceExhausted) -> None:
            flight.refused = error
            metrics.REFUSED.inc()
            flight.task.cancel()

        try:
            ticket = self._queue.enter(caller, evicted)
        except ResourceExhausted:
            metrics.REFUSED.inc()
            raise
        progress = VerificationProgress(plan.digest, 0, 0, len(plan.scenarios), "")
        flight = _Flight(planned, ticket, time.monotonic(), progress)
        flight.task = asyncio.create_task(self._run(flight))
        flight.task.add_done_callback(lambda task: self._done(flight))
        self._flights[plan.digest] = flight
        self._queue_changed()
        return flight

    @staticmethod
    def _busy(message: str, retry_after_seconds: float) -> ResourceExhausted:
        metrics.SENT_ON.inc()
        return ResourceExhausted(message, reason=BUSY, retry_after_seconds=retry_after_seconds)

    async def _run(self, flight: _Flight) -> VerdictRecord:
        plan = flight.planned.plan

        def advanced(scenario: str, done: int) -> None:
            flight.progress = VerificationProgress(plan.digest, 0, done, len(plan.scenarios), scenario)
            flight.notify()

        verdict, totals = await self._runner.run(flight.planned, flight.ticket, advanced)
        record = VerdictRecord(verdict, self._execution(flight, totals))
        metrics.VERDICTS.labels(plan.simulator, verdict.status.value).inc()
        if totals.repeatable:
            await asyncio.to_thread(self._records.put, record)
        return record

    def _done(self, flight: _Flight) -> None:
        """Also when the run was cancelled before its first step."""
        self._forget(flight)
        self._queue.leave(flight.ticket)
        if not flight.task.cancelled():
            flight.task.exception()  # seen, even if every waiter has left

    def _forget(self, flight: _Flight) -> None:
        digest = flight.planned.plan.digest
        if self._flights.get(digest) is flight:
            del self._flights[digest]

    def _execution(self, flight: _Flight, totals: RunTotals) -> Execution:
        now = time.monotonic()
        started = totals.started if totals.started is not None else now
        assert totals.isolation is not None
        metrics.QUEUE_SECONDS.observe(started - flight.admitted)
        return Execution(
            finished_at=self._clock(),
            queue_seconds=started - flight.admitted,
            wall_seconds=now - started,
            policy_cpu_seconds=totals.cpu_seconds,
            policy_peak_memory_bytes=totals.peak_memory_bytes,
            isolation=totals.isolation,
        )

    def _abandon(self, flight: _Flight) -> None:
        """End a run that nobody waits for, also while draining: who comes back asks another replica."""
        if flight.waiters == 0 and not flight.task.done():
            self._forget(flight)  # who asks from now on starts anew
            flight.task.cancel()

    def _queue_changed(self) -> None:
        metrics.QUEUE_DEPTH.set(len(self._queue.waiting))
        for flight in self._flights.values():
            flight.notify()

    # ------------------------------------------------------------------------------------------------------ answers

    async def _recorded(self, digest: str) -> VerdictRecord | None:
        record = await asyncio.to_thread(self._records.get, digest)
        if record is not None and self._only_strict and record.execution.isolation.profile == WEAK:
            return None
        return record

    async def _answer(
        self, record: VerdictRecord, parent: str, *, cached: bool = False, joined: bool = False
    ) -> VerifyAnswer:
        parent_record = await self._recorded(parent) if parent else None
        moved: tuple[ScenarioChange, ...] = ()
        if parent_record is not None and parent_record.verdict.objective == record.verdict.objective:
            moved = changes(record.verdict, {s.scenario.name: s.score.value for s in parent_record.verdict.scenarios})
        return VerifyAnswer(
            record, cached, joined, render(record.verdict, moved), render_details(record.verdict), moved
        )
