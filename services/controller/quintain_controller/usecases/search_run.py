"""One search in the hands of this process: from taking the lease to having nothing left to do.

Each candidate under way is a task that walks it over the arrows (request -> response -> verdict), every arrow durable
before the next. One coroutine plans: it alone talks to the planner. Killed anywhere, the next owner restores the same
state from the store.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from functools import partial

from quintain.errors import AlreadyExists, Internal, InvalidArgument, QuintainError
from quintain.service.logs import get_logger
from quintain_controller import metrics
from quintain_controller.domain.events import BackendTrouble, CandidateChanged
from quintain_controller.domain.feedback import compose
from quintain_controller.domain.model import NANO, Budget, Candidate, CandidateState, SearchState, Verification
from quintain_controller.domain.planner import Asked, Done, NotReproduced, Planner, Told, answered, verified
from quintain_controller.domain.records import CandidateWrite, Control, Lease, SearchRecord, Transition
from quintain_controller.ports import HELD_OUT, TRAIN
from quintain_controller.usecases.calls import Calls, traced
from quintain_controller.usecases.dependencies import Dependencies
from quintain_controller.usecases.held_out import HeldOutScores
from quintain_controller.usecases.journal import Entry, Journal
from quintain_controller.usecases.patience import NeedsOperator
from quintain_controller.usecases.promotion import promote
from quintain_controller.usecases.requests import make_request, remake_request
from quintain_controller.usecases.strategies import make_planner
from quintain_controller.usecases.texts import CandidateSourceCache

log = get_logger("search")


class SearchRun:
    def __init__(self, dependencies: Dependencies, lease: Lease, record: SearchRecord) -> None:
        self._dependencies, self._lease, self._record = dependencies, lease, record
        self._spec, self._context = record.spec, record.context
        self._planner: Planner = make_planner(record.spec, record.context)
        self._planner.ledger.wall_seconds = record.spend.wall_seconds
        self._journal = Journal(
            dependencies.store, lease, record.control, self._planner.ledger, self._committed, self._changed
        )
        self._under_way: dict[int, tuple[Candidate, bytes | None]] = {}  # not settled; with the request if not answered
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stuck: set[int] = set()  # a person must act before they go on
        self._gate: asyncio.Task[Verification | None] | None = None
        self._resumes = 0
        self._broke = False  # the last policy that was sent to the verifier broke it
        self._arrived: list[CandidateWrite] = []  # settled, not yet written
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()  # cancelled, failed or draining: start nothing new
        self._holding = asyncio.Event()  # stopping, or paused by the user: start no generation
        self._draining = False
        self._error: BaseException | None = None
        search_id = record.search_id
        self._texts = CandidateSourceCache(dependencies.store, search_id)
        self._calls = Calls(dependencies, self._journal, record, self._holding, self._stopping, self._wake)
        self._held_out = HeldOutScores(
            self._calls, self._texts, self._journal, search_id, self._stopping, self._pause, self._observe
        )

    # ---------------------------------------------------------------------------------------------------- life cycle

    async def run(self) -> None:
        """Work until nothing is left to do. Raises Aborted (the lease was lost) or Unavailable (the store)."""
        heartbeat = asyncio.create_task(self._heartbeat())
        try:
            self._changed(self._record.state)
            await self._look()  # the record was read before others could tell this run of a change
            await self._retry()
            await self._restore()
            while not await self._step():
                await self._wake.wait()
                self._wake.clear()
                if self._error is not None:
                    raise self._error
        finally:
            tasks = [heartbeat, *self._tasks.values(), *(t for t in (self._held_out.task, self._gate) if t is not None)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._journal.finish()
            metrics.forget(self._record.search_id)

    def drain(self) -> None:
        """Start nothing new; `run` returns when the generations in flight are recorded. Verifications are dropped: the
        next owner's request joins the run or finds its verdict."""
        self._draining = True
        self._stop()
        for number, task in self._tasks.items():
            walking = self._under_way.get(number)
            if walking is not None and walking[0].state is CandidateState.GENERATED:
                task.cancel()
        self._held_out.cancel()
        if self._gate is not None:
            self._gate.cancel()
        self._wake.set()

    def heard(self, control: Control) -> None:
        """Somebody changed the search. After a pause or cancel no generation is started, from now on."""
        self._journal.heard(control)

    async def _heartbeat(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._dependencies.settings.lease_seconds / 3.0)
                await self._look()
        except QuintainError as error:
            self._fail(error)

    async def _look(self) -> None:
        self._journal.count_wall_time()
        control = await self._dependencies.store(
            self._dependencies.store.blocking.renew,
            self._lease,
            self._dependencies.settings.lease_seconds,
            self._planner.ledger.wall_seconds,
        )
        self._journal.heard(control)
        self._wake.set()

    async def _retry(self) -> None:
        """Nobody but its last owner knows what a search without a person's pause is waiting for: try all of it."""
        if self._journal.control.state is SearchState.PAUSED and not self._journal.control.paused_by_user:
            again = Transition(SearchState.RUNNING, "has a new owner, who tries again")
            await self._journal.write(Entry(transition=again))

    def _changed(self, before: SearchState) -> None:
        """The journal's `control` is new."""
        control = self._journal.control
        if control.state is SearchState.CANCELLED:
            self._stop()
        elif control.state is SearchState.PAUSED and control.paused_by_user:
            self._holding.set()
        elif not self._stopping.is_set():
            self._holding.clear()
        if before is SearchState.PAUSED and control.state is SearchState.RUNNING:
            self._stuck.clear()  # whoever resumed it says that they may be tried again
            self._broke = False
            self._resumes += 1
        self._wake.set()

    def _stop(self) -> None:
        self._stopping.set()
        self._holding.set()

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._wake.set()

    def _observe(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
        self._wake.set()

    def _committed(self) -> None:
        self._dependencies.notifier.notify(self._record.search_id)

    # ------------------------------------------------------------------------------------------------------- restore

    async def _restore(self) -> None:
        store, search_id = self._dependencies.store, self._record.search_id
        candidates: list[Candidate] = []
        while page := await store(store.blocking.candidate_page, search_id, len(candidates) - 1, 500):
            candidates += page
        if not candidates:
            await self._begin()
            return
        try:
            self._planner.restore(candidates)
        except NotReproduced as error:
            await self._pause(f"the strategy does not repeat its recorded plans (fork the search): {error}")
            return
        self._held_out.reference = candidates[0]
        for candidate in candidates:
            if candidate.state.settled:
                continue
            request = None
            if candidate.state is CandidateState.REQUESTED:
                order = await store(remake_request, store.blocking, self._record, candidate)
                request = self._dependencies.generator.encode(self._context, order)
                if hashlib.sha256(request).hexdigest() != candidate.request_digest:
                    log.warning("request changed since it was recorded", search=search_id, number=candidate.number)
            self._under_way[candidate.number] = (candidate, request)
        self._planner.tell_up_to(self._record.told)
        told = [candidates[n] for n in sorted({0, *self._planner.new_bests}) if n < self._planner.told]
        self._held_out.add(candidate for candidate in told if self._lacks_held_out(candidate))

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
            self._planner.record(write.candidate)
            metrics.count_candidate(write.candidate)
        self._journal.count_wall_time()
        done: Done | None = None
        bests: list[Candidate] = []
        budget = self._journal.control.budget
        if self._journal.control.state is SearchState.RUNNING and not self._draining:
            done = await self._plan(budget, entry, bests)
        if entry.candidates or entry.events or entry.told is not None:
            await self._journal.write(entry)
        for write in arrived:
            self._texts.written(write.candidate.number)
        self._held_out.add(bests)
        state = self._journal.control.state
        self._start_tasks(state)
        if done is not None and state is SearchState.RUNNING:
            return await self._finish(done.reason, budget)
        busy = self._tasks or self._arrived or (self._held_out.task is not None and not self._draining)
        if busy or (state is SearchState.RUNNING and not self._draining):
            return False
        if not self._draining:
            if state.ended:
                await self._settle_unanswered()
            await self._journal.write(Entry(idle_in=state))
        return self._draining or self._journal.control.state is state

    async def _plan(self, budget: Budget, entry: Entry, bests: list[Candidate]) -> Done | None:
        """Tell and ask as far as possible now. Adds what is to be written to `entry`, and to `bests` what is to be
        scored on held-out once that is written."""
        while True:
            step = self._planner.next(budget)
            if isinstance(step, Asked):
                await self._request(entry, step.candidate)
            elif isinstance(step, Told):
                entry.events.extend(step.events)
                entry.told = self._planner.told
                self._after_told(step, entry, bests)
            else:
                return step if isinstance(step, Done) else None

    def _after_told(self, step: Told, entry: Entry, bests: list[Candidate]) -> None:
        candidate = step.candidate
        if candidate.number == 0:
            self._held_out.reference = candidate
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
        order = make_request(
            self._record.search_id,
            self._spec,
            candidate.number,
            plan,
            await self._texts.of([*plan.parents, *plan.inspirations]),
            self._planner.attempts(plan),
            best.train.score if best and best.train else None,
            self._planner.bound_score,
        )
        request = self._dependencies.generator.encode(self._context, order)
        candidate = replace(candidate, request_digest=hashlib.sha256(request).hexdigest())
        self._planner.record(candidate)
        self._under_way[candidate.number] = (candidate, request)
        entry.candidates.append(CandidateWrite(candidate, new=True))
        entry.events.append(CandidateChanged(candidate))

    def _arrive(self, write: CandidateWrite) -> None:
        """A candidate is settled; the next step writes it."""
        del self._under_way[write.candidate.number]
        self._arrived.append(write)

    # ------------------------------------------------------------------------------------------ a candidate on its way

    def _start_tasks(self, state: SearchState) -> None:
        for number, (candidate, request) in self._under_way.items():
            held = self._holding if candidate.state is CandidateState.REQUESTED else self._stopping
            if number not in self._tasks and number not in self._stuck and not held.is_set():
                task = asyncio.create_task(self._walk(candidate, request))
                self._tasks[number] = task
                task.add_done_callback(partial(self._walked, number))
        if state is SearchState.RUNNING and not self._stopping.is_set():
            self._held_out.start()

    def _walked(self, number: int, task: asyncio.Task[None]) -> None:
        del self._tasks[number]
        self._observe(task)

    async def _walk(self, candidate: Candidate, request: bytes | None) -> None:
        resumes = self._resumes
        with traced(self._record.search_id, candidate.number):
            try:
                if candidate.state is CandidateState.REQUESTED:
                    if request is None:
                        raise AssertionError(f"candidate {candidate.number} has no request")
                    generated = await self._generate(candidate, request)
                    if generated is None or generated.state.settled:
                        return
                    candidate = generated
                if not self._stopping.is_set():
                    await self._verify(candidate)
            except NeedsOperator as error:
                if resumes == self._resumes:  # else a person has acted since it was called: the next step tries again
                    self._stuck.add(candidate.number)  # until the search is resumed
                    await self._pause(error.reason)
            except (InvalidArgument, AlreadyExists) as error:
                await self._end(SearchState.FAILED, f"candidate {candidate.number}: {error.code}: {error.message}")

    async def _generate(self, candidate: Candidate, request: bytes) -> Candidate | None:
        plan = candidate.plan
        assert plan is not None, "only planned candidates are requested"
        generation = await self._calls.generate(request, plan.backend)
        if generation is None:
            return None
        candidate = answered(candidate, generation, self._spec.assume_usd_nano)
        metrics.SPEND_USD.inc(candidate.charge.usd_nano / NANO)
        metrics.SPEND_TOKENS.inc(candidate.charge.tokens)
        write = CandidateWrite(candidate, source=generation.source or None, generation=generation.record)
        if candidate.state.settled:
            self._arrive(write)
            return candidate
        self._texts.keep(candidate, generation.source, "")
        self._planner.record(candidate)
        self._under_way[candidate.number] = (candidate, None)
        await self._journal.write(Entry([write], [CandidateChanged(candidate)]))
        return candidate

    async def _settle_unanswered(self) -> None:
        """After the end: requests that were recorded but perhaps never sent. What was paid is booked, nobody is
        called, and no reservation stays."""
        for number, (candidate, _) in list(self._under_way.items()):
            if candidate.state is not CandidateState.REQUESTED:
                continue
            write = await self._calls.recorded(candidate)
            self._planner.record(write.candidate)
            self._under_way[number] = (write.candidate, None)
            await self._journal.write(Entry([write], [CandidateChanged(write.candidate)]))

    async def _verify(self, candidate: Candidate) -> None:
        source = await self._texts.source_of(candidate.number)
        try:
            verification = await self._calls.verify(source, [TRAIN], "verify")
        except InvalidArgument as error:
            if candidate.plan is None:
                raise
            # The verifier does not take this policy (its source is too large, say): the policy's fault, not ours.
            self._reject(candidate, f"not taken: {error.message}")
            return
        except NeedsOperator as error:
            # One policy that breaks the verifier must not stop the search. When two in a row do, it is the verifier.
            if candidate.plan is None or self._broke or not isinstance(error.error, Internal):
                raise
            self._broke = True
            self._reject(candidate, f"not verified: {error.reason}")
            return
        if verification is None:
            return
        self._broke = False
        parent: Candidate | None = None
        if candidate.plan is not None:
            first = candidate.plan.parents[0]
            parent = (await self._texts.of([first]))[first][0]
        feedback = compose(verification, parent)
        candidate = verified(candidate, verification)
        self._texts.settle(candidate, source, feedback)
        self._arrive(CandidateWrite(candidate, verdict=verification.record, feedback=feedback))

    def _reject(self, candidate: Candidate, summary: str) -> None:
        self._arrive(CandidateWrite(replace(candidate, state=CandidateState.REJECTED, summary=summary[:300])))

    # --------------------------------------------------------------------------------------------------------- the end

    async def _pause(self, reason: str) -> None:
        """Until a person resumes the search."""
        log.error("search paused", search=self._record.search_id, reason=reason)
        said = (BackendTrouble("", reason, True),)
        paused = Transition(SearchState.PAUSED, reason, paused_by_user=True, events=said)
        await self._journal.write(Entry(transition=paused))
        self._wake.set()

    async def _end(self, state: SearchState, reason: str) -> None:
        log.error("search failed", search=self._record.search_id, reason=reason)
        self._stop()
        await self._journal.write(Entry(transition=Transition(state, reason)))
        self._wake.set()

    async def _finish(self, reason: str, budget: Budget) -> bool:
        """Score what is left on held-out, let the gates decide, and end. False if something came in between."""
        if self._held_out.task is not None:
            return False  # its end wakes us
        reference = self._held_out.reference
        assert reference is not None, "a search is done after its seeds were told"

        async def verify(number: int, *, check_determinism: bool = False, confirm: bool = False) -> Verification | None:
            source = await self._texts.source_of(number)
            parts = [TRAIN, *([HELD_OUT] if self._context.held_out else [])]
            verifying = self._calls.verify(source, parts, "gates", check_determinism=check_determinism, confirm=confirm)
            self._gate = asyncio.create_task(verifying)
            await asyncio.wait((self._gate,))
            return None if self._gate.cancelled() else self._gate.result()

        try:
            promotion = await promote(self._dependencies.store, self._record, self._planner.rank(), reference, verify)
        except NeedsOperator as error:
            await self._pause(f"promotion: {error.reason}")
            return False
        if promotion is None:
            return False
        await self._journal.write(promotion.entry(reason, budget))
        return self._journal.control.state is SearchState.FINISHED
