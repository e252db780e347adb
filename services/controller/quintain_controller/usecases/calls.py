"""Calls of the generator and the verifier for one search: so many at a time, and repeated through trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TypeVar

from structlog.contextvars import bound_contextvars

from quintain.errors import FailedPrecondition, QuintainError
from quintain.service.logs import get_logger
from quintain.wire.tracing import tracer
from quintain_controller import metrics
from quintain_controller.domain.events import BackendTrouble
from quintain_controller.domain.model import (
    Candidate,
    CandidateState,
    Charge,
    Generation,
    SearchState,
    Verification,
    request_id,
)
from quintain_controller.domain.planner import answered
from quintain_controller.domain.records import CandidateWrite, SearchRecord, Transition
from quintain_controller.usecases.dependencies import Dependencies
from quintain_controller.usecases.journal import Entry, Journal
from quintain_controller.usecases.patience import NeedsOperator, persist

T = TypeVar("T")

log = get_logger("search")


class Calls:
    """`generate` returns None if `holding` was set before it could call or repeat a call, `verify` likewise for
    `stopping`. They raise NeedsOperator, InvalidArgument or AlreadyExists where repeating does not help. Trouble is
    recorded once until it is over; that of a backend whose circuit is open pauses the search meanwhile, and sets `wake`
    when it goes on."""

    def __init__(
        self,
        dependencies: Dependencies,
        journal: Journal,
        record: SearchRecord,
        holding: asyncio.Event,
        stopping: asyncio.Event,
        wake: asyncio.Event,
    ) -> None:
        self._dependencies, self._journal, self._search_id, self._spec = (
            dependencies,
            journal,
            record.search_id,
            record.spec,
        )
        self._simulator_build = record.context.simulator_build
        self._holding, self._stopping, self._wake = holding, stopping, wake
        self._generations = asyncio.Semaphore(record.spec.parallel_generations)
        self._verifications = asyncio.Semaphore(record.spec.parallel_verifications)
        self._troubled: set[str] = set()  # services and backends that could not be used when last tried

    async def generate(self, request: bytes, backend: str) -> Generation | None:
        async with _turn("generate", self._generations, self._dependencies.generations, self._holding) as ours:
            if not ours:
                return None
            return await self._persist(
                "generator", backend, lambda: self._dependencies.generator.generate(request), self._holding
            )

    async def verify(
        self, source: str, parts: list[str], stage: str, *, check_determinism: bool = False, confirm: bool = False
    ) -> Verification | None:
        """`stage` is what the metrics count it as."""

        def call() -> Awaitable[Verification]:
            return self._dependencies.verifier.verify(
                self._spec, source, parts, check_determinism=check_determinism, confirm=confirm
            )

        async with _turn(stage, self._verifications, self._dependencies.verifications, self._stopping) as ours:
            if not ours:
                return None
            found = await self._persist("verifier", "", call, self._stopping)
        if found is not None and found.simulator_build != self._simulator_build:
            raise NeedsOperator("verifier", self._other_build(found.simulator_build))
        return found

    def _other_build(self, build: str) -> QuintainError:
        return FailedPrecondition(
            f"the simulator is build {build!r} now and was {self._simulator_build!r} when the search began: their "
            "scores cannot be compared. Go back to that build and resume, or fork the search from its best candidate",
            reason="SIMULATOR_CHANGED",
        )

    async def recorded(self, candidate: Candidate) -> CandidateWrite:
        """After the end: what came of a request that perhaps was never sent. Nobody is asked to generate."""
        try:
            found = await self._dependencies.generator.recorded(request_id(self._search_id, candidate.number))
        except QuintainError as error:
            # Not recorded, or the generator is away: then what was reserved is the most that it may have cost.
            risk = 0 if error.code == "NOT_FOUND" else candidate.reserved.usd_nano
            return CandidateWrite(
                replace(
                    candidate,
                    state=CandidateState.REJECTED,
                    charge=Charge(at_risk_usd_nano=risk),
                    summary="the search ended before it was answered",
                )
            )
        settled = answered(candidate, found, self._spec.assume_usd_nano)
        return CandidateWrite(settled, generation=found.record, source=found.source or None)

    async def _persist(
        self, service: str, backend: str, call: Callable[[], Awaitable[T]], stopped: asyncio.Event
    ) -> T | None:
        async def trouble(error: QuintainError) -> None:
            await self._trouble(service, backend, error)

        result = await persist(service, call, self._dependencies.settings, trouble, stopped)
        if result is not None:
            await self._recovered(backend or service)
        return result

    async def _trouble(self, service: str, backend: str, error: QuintainError) -> None:
        name = backend or service
        if name in self._troubled:
            return
        self._troubled.add(name)
        log.warning("trouble", search=self._search_id, service=service, backend=backend, error=error.message)
        pauses = error.reason == "BACKEND_DOWN"
        reason = f"{service} {backend}".strip() + f": {error.reason}: {error.message}"
        down = Transition(SearchState.PAUSED, reason) if pauses else None
        await self._journal.write(Entry(events=[BackendTrouble(name, reason, pauses)], transition=down))

    async def _recovered(self, name: str) -> None:
        if name not in self._troubled:
            return
        self._troubled.discard(name)
        control = self._journal.control
        if control.state is SearchState.PAUSED and not control.paused_by_user and not self._troubled:
            back = Transition(SearchState.RUNNING, f"{name} is back")
            await self._journal.write(Entry(transition=back))
            self._wake.set()


@contextmanager
def traced(search_id: str, number: int) -> Iterator[None]:
    """One trace and one correlation id for all that the services do for a candidate."""
    attributes: dict[str, str | int] = {"quintain.search": search_id, "quintain.candidate": number}
    with (
        bound_contextvars(correlation_id=f"{search_id}-{number}"),
        tracer.start_as_current_span("candidate", attributes=attributes),
    ):
        yield


@asynccontextmanager
async def _place(room: asyncio.Semaphore, stopped: asyncio.Event) -> AsyncIterator[bool]:
    """Hold a place; False if `stopped` was set before there was one: who is to stop waits for nobody."""
    taking, stop = asyncio.create_task(room.acquire()), asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait((taking, stop), return_when=asyncio.FIRST_COMPLETED)
        yield taking.done()
    finally:
        stop.cancel()
        if taking.done():
            room.release()
        else:
            taking.cancel()


@asynccontextmanager
async def _turn(
    stage: str, own: asyncio.Semaphore, shared: asyncio.Semaphore, stopped: asyncio.Event
) -> AsyncIterator[bool]:
    """Hold a place among the search's own calls and one among all searches'; False as in `_place`."""
    async with _place(own, stopped) as first, _place(shared, stopped) as second:
        if first and second:
            with _stage(stage):
                yield True
        else:
            yield False


@contextmanager
def _stage(stage: str) -> Iterator[None]:
    gauge, begin = metrics.IN_FLIGHT.labels(stage), time.monotonic()
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()
        metrics.STAGE_SECONDS.labels(stage).observe(time.monotonic() - begin)
