"""One search in the hands of this process: executes what its machine decides, and tells it what came of it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from structlog.contextvars import bound_contextvars

from quintain.backoff import Backoff
from quintain.errors import QuintainError
from quintain.service.logs import get_logger
from quintain_controller import metrics
from quintain_controller.domain import retry
from quintain_controller.domain.events import BackendTrouble
from quintain_controller.domain.machine import messages as m
from quintain_controller.domain.machine.messages import CallKind
from quintain_controller.domain.machine.search import SearchMachine
from quintain_controller.domain.model import (
    AGENT,
    AnswerLater,
    Candidate,
    CandidateState,
    SearchState,
    ToolsWanted,
    ToolUse,
    Verification,
    request_id,
)
from quintain_controller.domain.records import Batch, Control, Lease, SearchRecord
from quintain_controller.usecases.candidate_sources import CandidateSourceCache
from quintain_controller.usecases.dependencies import Dependencies
from quintain_controller.usecases.requests import make_request, remake_request
from quintain_controller.usecases.strategies import make_planner
from quintain_controller.usecases.tools import Tools
from quintain_controller.usecases.traces import CandidateTraces

T = TypeVar("T")

_PAGE = 500
_TICK_SECONDS = 1.0

log = get_logger("search")


class SearchRun:
    """Belongs to one event loop. A call is a task until its outcome is told; `_placed` were really made."""

    def __init__(self, dependencies: Dependencies, lease: Lease, record: SearchRecord) -> None:
        self._dependencies, self._lease, self._record = dependencies, lease, record
        settings = dependencies.settings
        backoff = Backoff(settings.first_retry_seconds, settings.max_retry_seconds)
        self._machine = SearchMachine(record, make_planner(record.spec, record.context), backoff)
        self._sources = CandidateSourceCache(dependencies.store, record.search_id)
        self._traces = CandidateTraces(record.search_id)
        self._calls: dict[m.Call, asyncio.Task[None]] = {}
        self._placed: set[m.Call] = set()
        self._others: set[asyncio.Task[None]] = set()
        self._writing: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._error: BaseException | None = None

    # ---------------------------------------------------------------------------------------------------- life cycle

    async def run(self) -> None:
        """Work until nothing is left to do. Raises Aborted (the lease was lost) or Unavailable (the store)."""
        try:
            await self._renew_lease()  # the record was read before others could tell this run of a change
            self._tell(await self._stored())
            self._start(self._keep_lease())
            self._start(self._tick())
            await self._over.wait()
            if self._error is not None:
                raise self._error
        finally:
            tasks = [*self._others, *self._calls.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._writing is not None:
                await asyncio.wait([self._writing])
            self._traces.close()
            metrics.forget(self._record.search_id)

    def drain(self) -> None:
        """Start nothing new; `run` returns when the generations in flight are recorded. Verifications are dropped: the
        next owner's request joins the run or finds its verdict."""
        self._tell(m.Drain())

    def on_control_changed(self, control: Control) -> None:
        """Somebody changed the search. After a pause or cancel no generation is started, from now on."""
        self._tell(m.ControlChanged(control))

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(self._dependencies.settings.lease_seconds / 3.0)
            await self._renew_lease()

    async def _renew_lease(self) -> None:
        store, seconds = self._dependencies.store, self._dependencies.settings.lease_seconds
        control = await store(store.blocking.renew, self._lease, seconds, self._machine.wall_seconds)
        self._tell(m.ControlChanged(control))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._tell(m.Tick())

    async def _stored(self) -> m.Restored:
        store, search_id = self._dependencies.store, self._record.search_id
        candidates: list[Candidate] = []
        while page := await store(store.blocking.candidate_page, search_id, len(candidates) - 1, _PAGE):
            candidates += page
        requests = {}
        for candidate in candidates:
            if candidate.state is not CandidateState.REQUESTED:
                continue
            wanted = await store(remake_request, store.blocking, self._record, candidate)
            request = self._dependencies.generator.encode(self._record.context, wanted)
            if hashlib.sha256(request).hexdigest() != candidate.request_digest:
                log.warning("request changed since it was recorded", search=search_id, number=candidate.number)
            requests[candidate.number] = request
        return m.Restored(tuple(candidates), requests)

    # ---------------------------------------------------------------------------------------------------- the machine

    def _tell(self, given: m.Input) -> None:
        if self._over.is_set():
            return
        try:
            for instruction in self._machine.handle(given, m.Instant(time.monotonic(), time.time())):
                self._execute(instruction)
        except Exception as error:  # noqa: BLE001 - handed to `run`
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._over.set()

    def _execute(self, instruction: m.Instruction) -> None:
        match instruction:
            case m.Send(call):
                self._start_call(call, self._generate(instruction))
            case m.Verify(call):
                self._start_call(call, self._verify(instruction))
            case m.Wait(call, seconds):
                self._start_call(call, self._wait(call, seconds))
            case m.Recall(call):
                if call not in self._placed and self._stop_call(call):
                    asyncio.get_running_loop().call_soon(self._tell, m.Recalled(call))
            case m.Abandon(call):
                self._stop_call(call)
            case m.MakeRequest():
                self._start(self._make_request(instruction))
            case m.LookUp(number):
                self._start(self._look_up(number))
            case m.Load(numbers):
                self._start(self._load(numbers))
            case m.Remember(candidate, feedback):
                self._sources.settle(candidate, feedback)
            case m.Write(batch):
                self._writing = asyncio.create_task(self._write(batch))
                self._writing.add_done_callback(self._ended)
            case m.Finish():
                self._over.set()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)
        task.add_done_callback(self._ended)

    def _start_call(self, call: m.Call, work: Coroutine[Any, Any, None]) -> None:
        self._calls[call] = task = asyncio.create_task(work)
        task.add_done_callback(self._ended)

    def _stop_call(self, call: m.Call) -> bool:
        task = self._calls.pop(call, None)
        return task is not None and task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    # ---------------------------------------------------------------------------------------------------------- calls

    async def _generate(self, wanted: m.Send) -> None:
        generator, call = self._dependencies.generator, wanted.call
        uses = await self._tools_used(wanted)
        with self._traces.of(call.number):
            async with self._place(call, self._dependencies.generations):
                outcome = await _outcome(
                    lambda: generator.generate(wanted.request, lambda c: self._tell(m.Spent(call, c)), uses)
                )
                if isinstance(outcome, ToolsWanted):
                    await self._use_tools(wanted, outcome, uses)
                    return
        if isinstance(outcome, QuintainError):
            self._troubled("generator", call, outcome)
        elif isinstance(outcome, AnswerLater):
            self._told(m.Postponed(call, outcome.seconds, outcome.charge))
        else:
            self._sources.hold(call.number, outcome.source)
            self._told(m.Generated(call, outcome))

    async def _tools_used(self, wanted: m.Send) -> tuple[ToolUse, ...]:
        """What the conversation of a request has used so far."""
        if wanted.plan.operator != AGENT:
            return ()
        store = self._dependencies.store
        return (await store(store.blocking.candidate, self._record.search_id, wanted.call.number)).tools

    async def _use_tools(self, wanted: m.Send, asked: ToolsWanted, uses: tuple[ToolUse, ...]) -> None:
        """Run what a conversation waits for. It goes on when that is written down: the machine sends it again."""
        call, options, known = wanted.call, self._record.spec.agent, {use.call.call_id for use in uses}
        assert options is not None, "only searches with conversations plan any"
        place = self._dependencies.verifications
        tools = Tools(self._dependencies.store, self._dependencies.verifier, self._record, wanted.plan, options,
                      place=place)  # fmt: skip
        for tool_call in asked.calls:
            if tool_call.call_id in known:
                continue
            used = await _outcome(partial(tools.use, tool_call, uses))
            if isinstance(used, QuintainError):
                self._troubled("verifier", call, used)
                return
            uses = (*uses, used)
        self._told(m.ToolsUsed(call, asked.charge, uses))

    async def _verify(self, wanted: m.Verify) -> None:
        verifier, call = self._dependencies.verifier, wanted.call
        source = await self._sources.source_of(call.number)
        if call.kind is CallKind.VERIFY:
            self._sources.hold(call.number, source)

        def verifying() -> Awaitable[Verification]:
            return verifier.verify(
                self._record.spec,
                source,
                wanted.parts,
                check_determinism=wanted.check_determinism,
                confirm=wanted.confirm,
                scenarios=wanted.scenarios,
                stop_below=wanted.stop_below,
                progress=lambda done, total: self._tell(m.Progressed(call, done, total)),
            )

        with self._traces.of(call.number) if call.kind is CallKind.VERIFY else bound_contextvars():
            async with self._place(call, self._dependencies.verifications):
                outcome = await _outcome(verifying)
        if isinstance(outcome, QuintainError):
            self._troubled("verifier", call, outcome)
            return
        parent = await self._sources.candidate(wanted.parent) if wanted.parent is not None else None
        self._told(m.Verified(call, outcome, parent))

    def _troubled(self, service: str, call: m.Call, error: QuintainError) -> None:
        metrics.CALL_FAILURES.labels(service).inc()
        self._told(m.Troubled(call, error, by_verifier=service == "verifier"))

    def _told(self, given: m.Generated | m.ToolsUsed | m.Postponed | m.Verified | m.Troubled | m.Due) -> None:
        """Tell the outcome of a call, which is no task any more."""
        self._calls.pop(given.call, None)
        self._tell(given)

    async def _wait(self, call: m.Call, seconds: float) -> None:
        await asyncio.sleep(seconds * random.uniform(1.0, 1.2))  # only upwards: what a service asks for is a minimum
        self._told(m.Due(call))

    @asynccontextmanager
    async def _place(self, call: m.Call, room: asyncio.Semaphore) -> AsyncIterator[None]:
        """One of the places that all searches of the process share. Whoever has none yet can be recalled."""
        async with room:
            self._placed.add(call)
            try:
                with metrics.stage(call.kind.value):
                    yield
            finally:
                self._placed.discard(call)

    async def _look_up(self, number: int) -> None:
        try:
            found = await self._dependencies.generator.give_up(request_id(self._record.search_id, number))
        except QuintainError as error:
            self._tell(m.LookedUp(number, None, error.code == "NOT_FOUND", retry.spent(error)))
        else:
            self._tell(m.LookedUp(number, found, known=True))

    # ---------------------------------------------------------------------------------------------------------- store

    async def _make_request(self, wanted: m.MakeRequest) -> None:
        candidate, plan = wanted.candidate, wanted.candidate.plan
        assert plan is not None, "only planned candidates are requested"
        record = self._record
        request = make_request(
            record,
            candidate.number,
            plan,
            await self._sources.of([*plan.parents, *plan.inspirations]),
            wanted.history,
            wanted.lessons,
            wanted.first,
            wanted.best_score,
        )
        encoded = self._dependencies.generator.encode(record.context, request)
        self._tell(m.RequestMade(encoded, hashlib.sha256(encoded).hexdigest()))

    async def _load(self, numbers: tuple[int, ...]) -> None:
        store = self._dependencies.store
        self._tell(m.Loaded(await store(store.blocking.candidates, self._record.search_id, numbers)))

    async def _write(self, batch: Batch) -> None:
        store, search_id = self._dependencies.store, self._record.search_id
        control = await store(store.blocking.commit, self._lease, batch)
        for write in batch.candidates:
            if write.candidate.state.settled:
                self._sources.written(write.candidate.number)
                self._traces.end(write.candidate.number)
        self._say(batch)
        metrics.observe(search_id, batch, control.budget)
        self._dependencies.notifier.notify(search_id)
        self._tell(m.Written(control))

    def _say(self, batch: Batch) -> None:
        """In the log, what somebody may have to act on."""
        search_id, wanted = self._record.search_id, batch.transition
        if wanted is not None and wanted.state in (SearchState.PAUSED, SearchState.FAILED):
            log.error(f"search {wanted.state.name.lower()}", search=search_id, reason=wanted.reason)
        for event in batch.events:
            if isinstance(event, BackendTrouble):
                log.warning("backend trouble", search=search_id, backend=event.backend, reason=event.reason)


async def _outcome(work: Callable[[], Awaitable[T]]) -> T | QuintainError:
    try:
        return await work()
    except QuintainError as error:
        return error
