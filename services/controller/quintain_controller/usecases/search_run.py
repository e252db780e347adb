"""One search in the hands of this process: from taking the lease to having nothing left to do.

Each candidate under way is a task that walks it over the arrows (request -> response -> verdict), every arrow durable
before the next. One coroutine plans: it alone talks to the planner. Killed anywhere, the next owner restores the same
state from the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from structlog.contextvars import bound_contextvars

from quintain.errors import AlreadyExists, InvalidArgument, QuintainError
from quintain.service.logs import get_logger
from quintain.service.tracing import tracer
from quintain_controller import metrics
from quintain_controller.config import RunnerSettings
from quintain_controller.domain.events import (
    BackendTrouble,
    CandidateChanged,
    Fact,
    GateDecided,
    HeldOutScored,
    Overfitting,
    Promoted,
)
from quintain_controller.domain.feedback import compose
from quintain_controller.domain.gates import gap
from quintain_controller.domain.model import (
    NANO,
    Candidate,
    CandidateState,
    Charge,
    Generation,
    Outcome,
    SearchState,
    Verification,
    request_id,
)
from quintain_controller.domain.planner import Asked, Done, NotReproduced, Planner, Told, verified
from quintain_controller.ports import HELD_OUT, TRAIN, Generator, Verifier
from quintain_controller.store.records import CandidateWrite, Lease, SearchRecord, Transition
from quintain_controller.usecases.access import Access, Notifier
from quintain_controller.usecases.journal import Entry, Journal
from quintain_controller.usecases.patience import NeedsPerson, persist
from quintain_controller.usecases.promotion import promote
from quintain_controller.usecases.requests import make_order, remake_order
from quintain_controller.usecases.strategies import make_planner

T = TypeVar("T")

log = get_logger("search")

_TEXTS_KEPT = 256
_ACTIVE = (SearchState.RUNNING, SearchState.PAUSED)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all searches of this process share."""

    access: Access
    generator: Generator
    verifier: Verifier
    notifier: Notifier
    settings: RunnerSettings
    generations: asyncio.Semaphore
    verifications: asyncio.Semaphore


class SearchRun:
    def __init__(self, around: Surroundings, lease: Lease, record: SearchRecord) -> None:
        self._around, self._lease, self._record = around, lease, record
        self._spec, self._context = record.spec, record.context
        self._planner: Planner = make_planner(record.spec, record.context)
        self._journal = Journal(
            around.access, lease, record.control, self._planner.ledger, self._committed, self._resumed
        )
        self._under_way: dict[int, tuple[Candidate, bytes | None]] = {}  # not settled; with the request if not answered
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stuck: set[int] = set()  # a person must act before they go on
        self._arrived: list[CandidateWrite] = []  # settled, not yet written
        self._texts: OrderedDict[int, tuple[Candidate, str, str]] = OrderedDict()
        self._reference: Candidate | None = None  # candidate 0, with its held-out score
        self._held_out: deque[Candidate] = deque()  # told and written, to be scored on held-out
        self._held_out_task: asyncio.Task[None] | None = None
        self._generations = asyncio.Semaphore(record.spec.parallel_generations)
        self._verifications = asyncio.Semaphore(record.spec.parallel_verifications)
        self._troubled: set[str] = set()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()  # cancelled or draining: start nothing new
        self._draining = False
        self._error: BaseException | None = None

    # ---------------------------------------------------------------------------------------------------- life cycle

    async def run(self) -> None:
        """Work until nothing is left to do. Raises Aborted (the lease was lost) or Unavailable (the store)."""
        heartbeat = asyncio.create_task(self._heartbeat())
        try:
            await self._restore()
            while not await self._step():
                await self._wake.wait()
                self._wake.clear()
                if self._error is not None:
                    raise self._error
        finally:
            tasks = [heartbeat, *self._tasks.values(), *([self._held_out_task] if self._held_out_task else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._journal.finish()
            metrics.forget(self._record.search_id)

    def drain(self) -> None:
        """Start nothing new; `run` returns when the generations in flight are recorded. Verifications are dropped: the
        next owner's request joins the run or finds its verdict."""
        self._draining = True
        self._stopping.set()
        for number, task in self._tasks.items():
            walking = self._under_way.get(number)
            if walking is not None and walking[0].state is CandidateState.GENERATED:
                task.cancel()
        if self._held_out_task is not None:
            self._held_out_task.cancel()
        self._wake.set()

    def poke(self) -> None:
        """Somebody changed the search: look at once instead of at the next heartbeat."""
        asyncio.get_running_loop().create_task(self._look()).add_done_callback(self._observe)

    async def _heartbeat(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._around.settings.lease_seconds / 3.0)
                await self._look()
        except QuintainError as error:
            self._fail(error)

    async def _look(self) -> None:
        control = await self._around.access(
            self._around.access.store.renew, self._lease, self._around.settings.lease_seconds
        )
        self._journal.count_wall_time()
        self._journal.heard(control)
        self._wake.set()

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._wake.set()

    def _observe(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
        self._wake.set()

    def _resumed(self) -> None:
        """Whoever resumed the search says that what was stuck may be tried again."""
        self._stuck.clear()
        self._wake.set()

    def _committed(self) -> None:
        self._around.notifier.notify(self._record.search_id)

    # ------------------------------------------------------------------------------------------------------- restore

    async def _restore(self) -> None:
        access, search_id = self._around.access, self._record.search_id
        candidates: list[Candidate] = []
        while page := await access(access.store.candidate_page, search_id, len(candidates) - 1, 500):
            candidates += page
        self._planner.ledger.wall_seconds = self._record.spend.wall_seconds
        if not candidates:
            await self._begin()
            return
        try:
            self._planner.restore(candidates)
        except NotReproduced as error:
            await self._pause(f"the strategy does not repeat its recorded plans (fork the search): {error}")
            return
        self._reference = candidates[0]
        for candidate in candidates:
            if candidate.state.settled:
                continue
            request = None
            if candidate.state is CandidateState.REQUESTED:
                order = await access(remake_order, access.store, self._record, candidate)
                request = self._around.generator.encode(self._context, order)
                if hashlib.sha256(request).hexdigest() != candidate.request_digest:
                    log.warning("request changed since it was recorded", search=search_id, number=candidate.number)
            self._under_way[candidate.number] = (candidate, request)
        self._planner.tell_up_to(self._record.told)
        told = [candidates[n] for n in sorted({0, *self._planner.new_bests}) if n < self._planner.told]
        self._held_out.extend(candidate for candidate in told if self._lacks_held_out(candidate))

    def _lacks_held_out(self, candidate: Candidate) -> bool:
        return bool(self._context.held_out) and candidate.held_out is None and candidate.train is not None

    async def _begin(self) -> None:
        seeds = self._planner.begin()
        writes = [
            CandidateWrite(seed, new=True, source=source)
            for seed, source in zip(seeds, self._spec.seed_policies, strict=True)
        ]
        self._under_way |= {seed.number: (seed, None) for seed in seeds}
        await self._journal.write(Entry(writes, [CandidateChanged(seed) for seed in seeds]))

    # -------------------------------------------------------------------------------------------------------- planning

    async def _step(self) -> bool:
        """Write what arrived, plan, start work. True when nothing is left to do."""
        arrived, self._arrived = self._arrived, []
        entry = Entry(list(arrived), [CandidateChanged(write.candidate) for write in arrived])
        for write in arrived:
            self._settle(write)
        self._journal.count_wall_time()
        done: Done | None = None
        bests: list[Candidate] = []
        if self._journal.control.state is SearchState.RUNNING and not self._draining:
            done = await self._plan(entry, bests)
        if entry.candidates or entry.facts or entry.told is not None:
            await self._journal.write(entry)
        self._held_out.extend(bests)
        state = self._journal.control.state
        self._start_tasks(state)
        if done is not None and state is SearchState.RUNNING:
            return await self._finish(done.reason)
        busy = self._tasks or self._arrived or (self._held_out_task is not None and not self._draining)
        if busy or (state is SearchState.RUNNING and not self._draining):
            return False
        if not self._draining:
            if state is SearchState.CANCELLED:
                await self._settle_unanswered()
            await self._journal.write(Entry(needs_owner=False))
        return self._draining or self._journal.control.state is not SearchState.RUNNING

    async def _plan(self, entry: Entry, bests: list[Candidate]) -> Done | None:
        """Tell and ask as far as possible now. Adds what is to be written to `entry`, and to `bests` what is to be
        scored on held-out once that is written."""
        while True:
            step = self._planner.next(self._journal.control.budget)
            if isinstance(step, Asked):
                await self._request(entry, step.candidate)
            elif isinstance(step, Told):
                entry.facts.extend(step.facts)
                entry.told = self._planner.told
                self._after_told(step, entry, bests)
            else:
                return step if isinstance(step, Done) else None

    def _after_told(self, step: Told, entry: Entry, bests: list[Candidate]) -> None:
        candidate = step.candidate
        if candidate.number == 0:
            self._reference = candidate
        if step.new_best:
            entry.best_number = candidate.number
            if candidate.train is not None:
                metrics.BEST_SCORE.labels(self._record.search_id).set(candidate.train.normalized)
        if (step.new_best or candidate.number == 0) and self._lacks_held_out(candidate):
            bests.append(candidate)

    async def _request(self, entry: Entry, candidate: Candidate) -> None:
        """Make the request of a new candidate; it is sent when the entry is durable."""
        plan = candidate.plan
        assert plan is not None, "the planner asks with a plan"
        best = self._planner.best
        order = make_order(
            self._record.search_id,
            self._spec,
            candidate.number,
            plan,
            await self._texts_of([*plan.parents, *plan.inspirations]),
            self._planner.attempts(plan),
            best.train.score if best and best.train else None,
            self._planner.bound_score,
        )
        request = self._around.generator.encode(self._context, order)
        candidate = replace(candidate, request_digest=hashlib.sha256(request).hexdigest())
        self._planner.record(candidate)
        self._under_way[candidate.number] = (candidate, request)
        entry.candidates.append(CandidateWrite(candidate, new=True))
        entry.facts.append(CandidateChanged(candidate))

    async def _texts_of(self, numbers: list[int]) -> dict[int, tuple[Candidate, str, str]]:
        found = {n: self._texts[n] for n in numbers if n in self._texts}
        missing = [n for n in numbers if n not in found]
        if missing:
            access = self._around.access
            found |= await access(access.store.texts, self._record.search_id, missing)
        for number, text in found.items():
            self._keep_text(number, text)
        return found

    async def _source_of(self, number: int) -> str:
        return (await self._texts_of([number]))[number][1]

    def _keep_text(self, number: int, text: tuple[Candidate, str, str]) -> None:
        self._texts[number] = text
        self._texts.move_to_end(number)
        if len(self._texts) > _TEXTS_KEPT:
            self._texts.popitem(last=False)

    def _settle(self, write: CandidateWrite) -> None:
        candidate = write.candidate
        self._planner.record(candidate)
        if candidate.number in self._texts:
            source = self._texts[candidate.number][1]
            self._keep_text(candidate.number, (candidate, source, write.feedback or ""))
        metrics.count_candidate(candidate)

    def _arrive(self, write: CandidateWrite) -> None:
        """A candidate is settled; the next step writes it."""
        del self._under_way[write.candidate.number]
        self._arrived.append(write)

    # ------------------------------------------------------------------------------------------ a candidate on its way

    def _start_tasks(self, state: SearchState) -> None:
        if state is SearchState.CANCELLED:
            self._stopping.set()
        for number, (candidate, request) in self._under_way.items():
            if number not in self._tasks and number not in self._stuck and not self._stopping.is_set():
                task = asyncio.create_task(self._walk(candidate, request))
                self._tasks[number] = task
                task.add_done_callback(partial(self._walked, number))
        may_score = state is SearchState.RUNNING and not self._stopping.is_set()
        if self._held_out and self._held_out_task is None and may_score:
            self._held_out_task = asyncio.create_task(self._score_held_out())
            self._held_out_task.add_done_callback(self._held_out_ended)

    def _walked(self, number: int, task: asyncio.Task[None]) -> None:
        del self._tasks[number]
        self._observe(task)

    async def _walk(self, candidate: Candidate, request: bytes | None) -> None:
        with _traced(self._record.search_id, candidate.number):
            try:
                if candidate.state is CandidateState.REQUESTED:
                    if request is None:
                        raise AssertionError(f"candidate {candidate.number} has no request")
                    answered = await self._generate(candidate, request)
                    if answered is None or answered.state.settled:
                        return
                    candidate = answered
                if not self._stopping.is_set():
                    await self._verify(candidate)
            except NeedsPerson as error:
                await self._pause(error.reason)
                self._stuck.add(candidate.number)  # until the search is resumed
            except (InvalidArgument, AlreadyExists) as error:
                await self._end(SearchState.FAILED, f"candidate {candidate.number}: {error.code}: {error.message}")

    async def _generate(self, candidate: Candidate, request: bytes) -> Candidate | None:
        plan = candidate.plan
        assert plan is not None, "only planned candidates are requested"
        async with self._generations, self._around.generations, _stage("generate"):
            generation = await self._persist(
                "generator", plan.backend, lambda: self._around.generator.generate(request)
            )
        if generation is None:
            return None
        candidate = self._answered(candidate, generation)
        metrics.SPEND_USD.inc(candidate.charge.usd_nano / NANO)
        metrics.SPEND_TOKENS.inc(candidate.charge.tokens)
        write = CandidateWrite(candidate, source=generation.source or None, generation=generation.record)
        if candidate.state.settled:
            self._arrive(write)
            return candidate
        self._keep_text(candidate.number, (candidate, generation.source, ""))
        self._planner.record(candidate)
        self._under_way[candidate.number] = (candidate, None)
        await self._journal.write(Entry([write], [CandidateChanged(candidate)]))
        return candidate

    def _answered(self, candidate: Candidate, generation: Generation) -> Candidate:
        charge = generation.charge
        if charge.unpriced and self._spec.assume_usd_nano is not None:
            charge = replace(charge, usd_nano=self._spec.assume_usd_nano)
        usable = generation.outcome is Outcome.OK
        name = generation.outcome.name.lower()
        return replace(
            candidate,
            state=CandidateState.GENERATED if usable else CandidateState.REJECTED,
            outcome=generation.outcome,
            charge=charge,
            has_source=bool(generation.source),
            summary="" if usable else f"{name}: {generation.detail}"[:300].rstrip(": "),
        )

    async def _settle_unanswered(self) -> None:
        """After a cancel: requests that were recorded but perhaps never sent. What was paid is booked, nobody is
        called, and no reservation stays."""
        for number, (candidate, _) in list(self._under_way.items()):
            if candidate.state is not CandidateState.REQUESTED:
                continue
            try:
                found = await self._around.generator.recorded(request_id(self._record.search_id, number))
                settled, record, source = self._answered(candidate, found), found.record, found.source or None
            except QuintainError as error:
                # Not recorded, or the generator is away: then what was reserved is the most that it may have cost.
                risk = 0 if error.code == "NOT_FOUND" else candidate.reserved.usd_nano
                settled, record, source = (
                    replace(
                        candidate,
                        state=CandidateState.REJECTED,
                        charge=Charge(at_risk_usd_nano=risk),
                        summary="cancelled before it was answered",
                    ),
                    None,
                    None,
                )
            self._planner.record(settled)
            self._under_way[number] = (settled, None)
            write = CandidateWrite(settled, generation=record, source=source)
            await self._journal.write(Entry([write], [CandidateChanged(settled)]))

    async def _verify(self, candidate: Candidate) -> None:
        source = await self._source_of(candidate.number)
        try:
            async with self._verifications, self._around.verifications, _stage("verify"):
                verification = await self._persist(
                    "verifier", "", lambda: self._around.verifier.verify(self._spec, source, [TRAIN])
                )
        except InvalidArgument as error:
            if candidate.plan is None:
                raise
            # The verifier does not take this policy (its source is too large, say): the policy's fault, not ours.
            rejected = replace(candidate, state=CandidateState.REJECTED, summary=f"not taken: {error.message}"[:300])
            self._arrive(CandidateWrite(rejected))
            return
        if verification is None:
            return
        parent: Candidate | None = None
        if candidate.plan is not None:
            first = candidate.plan.parents[0]
            parent = (await self._texts_of([first]))[first][0]
        feedback = compose(verification, parent)
        write = CandidateWrite(verified(candidate, verification), verdict=verification.record, feedback=feedback)
        self._arrive(write)

    async def _score_held_out(self) -> None:
        """One after the other, the reference first: a gap needs it."""
        while self._held_out and not self._stopping.is_set():
            candidate = self._held_out[0]
            verification = await self._verify_parts(candidate.number, [HELD_OUT], "held_out")
            if verification is None:
                return
            candidate = replace(candidate, held_out=verification.held_out)
            if candidate.number == 0:
                self._reference = candidate
            facts = self._held_out_facts(candidate)
            await self._journal.write(Entry([CandidateWrite(candidate, held_out=verification.record)], facts))
            self._held_out.popleft()

    async def _verify_parts(
        self, number: int, parts: list[str], stage: str, *, check_determinism: bool = False, confirm: bool = False
    ) -> Verification | None:
        source = await self._source_of(number)

        def call() -> Awaitable[Verification]:
            return self._around.verifier.verify(
                self._spec, source, parts, check_determinism=check_determinism, confirm=confirm
            )

        async with self._verifications, self._around.verifications, _stage(stage):
            return await self._persist("verifier", "", call)

    def _held_out_facts(self, candidate: Candidate) -> list[Fact]:
        reference = self._reference
        found = gap(candidate, reference) if reference is not None else None
        if found is None or candidate.train is None or candidate.held_out is None:
            return []
        held_out = candidate.held_out
        metrics.HELD_OUT_GAP.labels(self._record.search_id).set(found.gap)
        facts: list[Fact] = [
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
            facts.append(Overfitting(candidate.number, found.gap, problem))
        return facts

    def _held_out_ended(self, task: asyncio.Task[None]) -> None:
        self._held_out_task = None
        if not task.cancelled() and isinstance(error := task.exception(), NeedsPerson | InvalidArgument):
            task = asyncio.create_task(self._pause(f"held-out: {error}"))
        self._observe(task)

    # ------------------------------------------------------------------------------------------------ trouble, the end

    async def _persist(self, service: str, backend: str, call: Callable[[], Awaitable[T]]) -> T | None:
        async def trouble(error: QuintainError) -> None:
            await self._trouble(service, backend, error)

        result = await persist(service, call, self._around.settings, trouble, self._stopping)
        await self._recovered(backend or service)
        return result

    async def _trouble(self, service: str, backend: str, error: QuintainError) -> None:
        """Say once that something cannot be used. A backend whose circuit is open pauses the search."""
        name = backend or service
        if name in self._troubled:
            return
        self._troubled.add(name)
        log.warning("trouble", search=self._record.search_id, service=service, backend=backend, error=error.message)
        pauses = error.reason == "BACKEND_DOWN"
        reason = f"{service} {backend}".strip() + f": {error.reason}: {error.message}"
        down = Transition((SearchState.RUNNING,), SearchState.PAUSED, reason) if pauses else None
        await self._journal.write(Entry(facts=[BackendTrouble(name, reason, pauses)], transition=down))

    async def _recovered(self, name: str) -> None:
        if name not in self._troubled:
            return
        self._troubled.discard(name)
        control = self._journal.control
        if control.state is SearchState.PAUSED and not control.paused_by_person and not self._troubled:
            back = Transition((SearchState.PAUSED,), SearchState.RUNNING, f"{name} is back")
            await self._journal.write(Entry(transition=back))
            self._wake.set()

    async def _pause(self, reason: str) -> None:
        """Until a person resumes the search."""
        log.error("search paused", search=self._record.search_id, reason=reason)
        said = (BackendTrouble("", reason, True),)
        paused = Transition((SearchState.RUNNING,), SearchState.PAUSED, reason, paused_by_person=True, facts=said)
        await self._journal.write(Entry(transition=paused))
        self._wake.set()

    async def _end(self, state: SearchState, reason: str) -> None:
        log.error("search failed", search=self._record.search_id, reason=reason)
        self._stopping.set()
        await self._journal.write(Entry(transition=Transition(_ACTIVE, state, reason)))
        self._wake.set()

    async def _finish(self, reason: str) -> bool:
        """Score what is left on held-out, let the gates decide, and end. False if something came in between."""
        if self._held_out_task is not None:
            return False  # its end wakes us
        reference = self._reference
        assert reference is not None, "a search is done after its seeds were told"

        async def verify(number: int, *, check_determinism: bool = False, confirm: bool = False) -> Verification | None:
            parts = [TRAIN, *([HELD_OUT] if self._context.held_out else [])]
            return await self._verify_parts(
                number, parts, "gates", check_determinism=check_determinism, confirm=confirm
            )

        try:
            promotion = await promote(self._around.access, self._record, self._planner.rank(), reference, verify)
        except NeedsPerson as error:
            await self._pause(f"promotion: {error.reason}")
            return False
        if promotion is None:
            return False
        facts: list[Fact] = [GateDecided(gate) for gate in promotion.gates]
        if promotion.winner is not None:
            facts.append(Promoted(promotion.winner))
        await self._journal.write(
            Entry(
                promotion.writes,
                facts,
                transition=Transition((SearchState.RUNNING,), SearchState.FINISHED, reason),
                winner_number=promotion.winner.number if promotion.winner else None,
                gates=promotion.gates,
                needs_owner=False,
            )
        )
        return self._journal.control.state is SearchState.FINISHED


@contextmanager
def _traced(search_id: str, number: int) -> Iterator[None]:
    """One trace and one correlation id for all that the services do for a candidate."""
    attributes: dict[str, str | int] = {"quintain.search": search_id, "quintain.candidate": number}
    with (
        bound_contextvars(correlation_id=f"{search_id}-{number}"),
        tracer.start_as_current_span("candidate", attributes=attributes),
    ):
        yield


@asynccontextmanager
async def _stage(stage: str) -> AsyncIterator[None]:
    gauge, begin = metrics.IN_FLIGHT.labels(stage), time.monotonic()
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()
        metrics.STAGE_SECONDS.labels(stage).observe(time.monotonic() - begin)
