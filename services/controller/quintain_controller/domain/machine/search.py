"""The machine of one owned search, from taking the lease to having nothing left to do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from quintain.backoff import Backoff
from quintain.errors import FailedPrecondition, Internal, InvalidArgument, QuintainError
from quintain_controller.domain import retry
from quintain_controller.domain.events import BackendTrouble, CandidateChanged, DomainEvent
from quintain_controller.domain.machine import messages as m
from quintain_controller.domain.machine.calls import CallTable
from quintain_controller.domain.machine.gating import Gating
from quintain_controller.domain.machine.held_out import HeldOutScores
from quintain_controller.domain.machine.late_charges import LateCharges
from quintain_controller.domain.machine.messages import CallKind
from quintain_controller.domain.machine.outbox import Draft, WriteBatcher
from quintain_controller.domain.model import (
    AGENT,
    HELD_OUT,
    TRAIN,
    Aggregation,
    Candidate,
    CandidateState,
    Charge,
    Generation,
    Plan,
    SearchState,
    ToolUse,
    Verification,
)
from quintain_controller.domain.planner import Asked, Done, NotReproduced, Planner, Told, answered, stopped, verified
from quintain_controller.domain.promotion import GateAnswer, GateCheck, LoadCandidates, Promotion, promote
from quintain_controller.domain.records import CandidateWrite, Control, SearchRecord, Transition

_IN_BATCH = "in its provider's batch"


@dataclass(slots=True)
class _UnderWay:
    """A candidate that is not settled. `request` until it is answered; only what is `durable` goes on; one that is
    `stuck` waits for the operator; `asked_for` while it is looked up; one that was `screened` is run on everything."""

    candidate: Candidate
    request: bytes | None = None
    durable: bool = False
    stuck: bool = False
    call: m.Call | None = None
    asked_for: bool = False
    screened: bool = False


class SearchMachine:
    """`handle` takes one input after the other and returns what is to be done. Not thread safe; never blocks."""

    def __init__(self, record: SearchRecord, planner: Planner, backoff: Backoff) -> None:
        self._record, self._spec, self._context = record, record.spec, record.context
        self._planner = planner
        self._ledger = planner.ledger
        self._ledger.wall_seconds = record.spend.wall_seconds
        self._calls = CallTable(backoff)
        self._batcher = WriteBatcher()
        self._under_way: dict[int, _UnderWay] = {}
        self._late = LateCharges(record.ended_at)
        self._making: Candidate | None = None  # its request is being made: planning goes on when it is there
        self._draft = Draft()  # of the plan in the making
        self._held_out = HeldOutScores()
        self._gates = Gating()
        self._ending = False  # the gates have decided; that is being written
        self._broke_verifier = False  # the last policy that was sent to the verifier broke it
        self._lost = False  # the search cannot go on; its end is being written
        self._idle = False  # nothing is left to do in this state; that is being written
        self._draining = False
        self._started = False
        self._finished = False
        self._clock: float | None = None
        self._epoch = 0.0
        self._out: list[m.Instruction] = []
        self.control: Control = record.control

    # ------------------------------------------------------------------------------------------------------- the frame

    def handle(self, given: m.Input, now: m.Instant) -> list[m.Instruction]:
        """The instructions that follow from one more input."""
        self._count_wall_time(now)
        self._out = []
        if not self._finished:
            self._take(given)
            if self._started:
                self._keep_to_budget()
                self._advance()
                self._start_calls()
                self._rest()
                self._flush()
        return self._out

    @property
    def wall_seconds(self) -> float:
        """How long the search has run."""
        return self._ledger.wall_seconds

    def _take(self, given: m.Input) -> None:
        match given:
            case m.Restored():
                self._restore(given)
            case m.RequestMade():
                self._request_made(given)
            case m.Written(control):
                self._written(control)
            case m.ControlChanged(control):
                self._on_control(control)
            case m.Loaded(candidates):
                if self._gates.waits_for(candidates):
                    self._step_gates(candidates)
            case m.LookedUp():
                self._looked_up(given)
            case m.Drain():
                self._drain()
            case m.Tick():
                pass
            case (
                m.Generated(call)
                | m.ToolsUsed(call)
                | m.Postponed(call)
                | m.Verified(call)
                | m.Troubled(call)
                | m.Recalled(call)
                | m.Due(call)
            ):
                if self._calls.known(call):
                    self._called(given)
            case m.Spent(call, charge):
                if self._calls.known(call):
                    self._spent(call.number, charge)
            case m.Progressed(call, done, total):
                if self._calls.known(call):
                    self._gate_progressed(done, total)

    def _called(
        self, given: m.Generated | m.ToolsUsed | m.Postponed | m.Verified | m.Troubled | m.Recalled | m.Due
    ) -> None:
        match given:
            case m.Generated(call, generation):
                self._recovered(self._name(call))
                self._over(call)
                self._generated(call.number, generation)
            case m.ToolsUsed(call, spent, uses):
                self._recovered(self._name(call))
                if any(use.runs for use in uses):
                    self._recovered("verifier")
                self._over(call)
                self._tools_used(call.number, spent, uses)
            case m.Postponed(call, seconds, spent):
                self._recovered(self._name(call))
                self._spent(call.number, spent)
                if self._holding:
                    self._over(call)
                else:
                    self._calls.postpone(call)
                    self._out.append(m.Wait(call, seconds))
                    self._say_in_batch(call.number)
            case m.Verified(call, verification):
                if verification.simulator_build != self._context.simulator_build:
                    self._troubled(call, self._other_build(verification.simulator_build))
                    return
                self._recovered(self._name(call))
                self._over(call)
                self._verified(call, verification, given.parent)
            case m.Troubled(call, error):
                self._troubled(call, error, by_verifier=given.by_verifier)
            case m.Recalled(call):
                self._over(call)
            case m.Due(call):
                self._again(call)

    def _flush(self) -> None:
        if self._making is None and (batch := self._batcher.next(self._ledger.spend())) is not None:
            self._out.append(m.Write(batch))

    def _write(self, *writes: CandidateWrite, events: list[DomainEvent] | None = None) -> None:
        self._batcher.add(Draft(list(writes), events or []))

    def _change(self, transition: Transition, *events: DomainEvent) -> None:
        self._batcher.add(Draft(events=list(events), transition=transition))

    def _count_wall_time(self, now: m.Instant) -> None:
        """A search's clock stands still only while the user has paused it, or it has ended."""
        if self._clock is not None and not self.control.state.ended and not self.control.paused_by_user:
            self._ledger.wall_seconds += max(0.0, now.monotonic - self._clock)
        self._clock, self._epoch = now.monotonic, now.epoch

    # ------------------------------------------------------------------------------------------------- start and stop

    @property
    def _stopping(self) -> bool:
        """Nothing new is started."""
        return self._draining or self._lost or self.control.state.ended

    @property
    def _holding(self) -> bool:
        """No generation is started."""
        return self._stopping or self.control.paused_by_user

    def _restore(self, stored: m.Restored) -> None:
        self._started = True
        if self.control.state is SearchState.PAUSED and not self.control.paused_by_user:
            # Nobody but its last owner knows what it waits for.
            self._change(Transition(SearchState.RUNNING, "has a new owner, who tries again"))
        if not stored.candidates:
            self._begin()
            return
        try:
            self._planner.restore(stored.candidates)
            self._planner.tell_up_to(self._record.told)
        except NotReproduced as error:
            self._pause(f"the strategy does not repeat its recorded plans (fork the search): {error}")
            return
        self._held_out.reference = stored.candidates[0]
        for candidate in stored.candidates:
            if not candidate.state.settled:
                request = stored.requests.get(candidate.number)
                self._under_way[candidate.number] = _UnderWay(candidate, request, durable=True)
            elif candidate.waits_for_charge:
                self._late.restored(candidate)
        bests = [stored.candidates[n] for n in sorted({0, *self._planner.new_bests})]
        self._held_out.restored(bests)
        self._held_out.wanted(c for c in bests if c.number < self._planner.told and self._lacks_held_out(c))

    def _begin(self) -> None:
        draft = Draft()
        for seed, source in zip(self._planner.begin(), self._spec.seed_policies, strict=True):
            self._under_way[seed.number] = _UnderWay(seed)
            draft.candidates.append(CandidateWrite(seed, new=True, source=source))
            draft.events.append(CandidateChanged(seed))
        self._batcher.add(draft)

    def _drain(self) -> None:
        self._draining = True
        for call in self._calls.of(CallKind.VERIFY, CallKind.HELD_OUT, CallKind.GATE):
            self._drop(call)  # the next owner's request joins the run or finds its verdict
        self._hold()

    def _hold(self) -> None:
        """Of the generations only those go on that were sent."""
        for call in self._calls.of(CallKind.GENERATE):
            if self._calls.waits(call):
                self._drop(call)
            else:
                self._recall(call)

    def _recall(self, call: m.Call) -> None:
        """Take it back if it was not sent yet."""
        if self._calls.recall(call):
            self._out.append(m.Recall(call))

    def _on_control(self, control: Control) -> None:
        if control.sequence <= self.control.sequence:
            return
        before, self.control = self.control, control
        if control.state.ended:
            for call in self._calls.of(CallKind.HELD_OUT, CallKind.GATE):
                self._drop(call)
        if self._holding:
            self._hold()
        if self._gates.running and (control.state is not SearchState.RUNNING or control.budget != before.budget):
            self._stop_gates()
        if before.state is SearchState.PAUSED and control.state is SearchState.RUNNING:
            # Whoever resumed it says that everything may be tried again.
            self._broke_verifier = False
            self._calls.resumed()
            for item in self._under_way.values():
                item.stuck = False

    def _written(self, control: Control) -> None:
        idle = False
        for draft in self._batcher.written():
            for write in draft.candidates:
                if (item := self._under_way.get(write.candidate.number)) is not None:
                    item.durable = item.candidate == write.candidate
            self._held_out.wanted(draft.to_score)
            idle = idle or draft.idle_in is control.state
        self._ending = self._idle = False
        self._on_control(control)
        # Else somebody has changed it since: there is something to do again.
        if idle and control.state is self.control.state and self._batcher.empty:
            self._finish()

    def _finish(self) -> None:
        self._finished = True
        self._out.append(m.Finish())

    def _rest(self) -> None:
        """Give the search back when nothing is left to do in its state."""
        if not self._batcher.empty or self._making is not None or self._finished:
            return
        if self._draining:
            if not self._calls.of(CallKind.GENERATE):
                self._finish()
            return
        if self._calls.any or self._gates.running or self.control.state is SearchState.RUNNING or self._idle:
            return
        if self.control.state.ended:
            self._look_up_unanswered()
            self._out.extend(m.LookUp(number) for number in self._late.ask())
        if self._looking_up:
            return
        self._idle = True
        again = self._late.look_again_at(self._epoch) if self.control.state.ended else None
        self._batcher.add(Draft(idle_in=self.control.state, look_again_at=again))

    # ------------------------------------------------------------------------------------------------------- planning

    def _advance(self) -> None:
        """Tell and ask as far as possible now; when all is told, let the gates decide."""
        if self._gates.running or self._batcher.pauses:
            return
        while self._making is None and self.control.state is SearchState.RUNNING and not self._stopping:
            step = self._planner.next(self.control.budget)
            if isinstance(step, Asked):
                self._make_request(step.candidate)
            elif isinstance(step, Told):
                self._told(step)
            else:
                if not self._draft.empty:
                    self._batcher.add(self._draft)
                    self._draft = Draft()
                if isinstance(step, Done):
                    self._end(step.reason)
                return
        if self._making is None and not self._draft.empty:
            self._batcher.add(self._draft)
            self._draft = Draft()

    def _make_request(self, candidate: Candidate) -> None:
        plan, best = candidate.plan, self._planner.best
        assert plan is not None, "the planner asks with a plan"
        self._making = candidate
        self._out.append(
            m.MakeRequest(
                candidate,
                self._planner.attempts(plan),
                self._planner.lessons(plan),
                self._planner.first,
                best.train.score if best and best.train else None,
            )
        )

    def _request_made(self, made: m.RequestMade) -> None:
        assert self._making is not None, "a request was made that nobody asked for"
        candidate = replace(self._making, request_digest=made.digest)
        self._making = None
        self._planner.record(candidate)
        self._under_way[candidate.number] = _UnderWay(candidate, made.request)
        self._draft.candidates.append(CandidateWrite(candidate, new=True))
        self._draft.events.append(CandidateChanged(candidate))

    def _told(self, step: Told) -> None:
        candidate = step.candidate
        self._draft.events.extend(step.events)
        self._draft.told = self._planner.told
        if candidate.number == 0:
            self._held_out.reference = candidate
        if step.new_best:
            self._draft.best_number = candidate.number
        if (step.new_best or candidate.number == 0) and self._lacks_held_out(candidate):
            self._draft.to_score.append(candidate)

    def _lacks_held_out(self, candidate: Candidate) -> bool:
        return bool(self._context.held_out) and candidate.held_out is None and candidate.train is not None

    # --------------------------------------------------------------------------------------------------------- calls

    def _start_calls(self) -> None:
        if self._batcher.pauses:
            return
        for number, item in self._under_way.items():
            if item.call is not None or item.stuck or item.asked_for or not item.durable:
                continue
            if item.candidate.state is CandidateState.REQUESTED:
                if not self._holding and self._calls.count(CallKind.GENERATE) < self._spec.parallel_generations:
                    item.call = self._calls.new(CallKind.GENERATE, number)
                    self._send(item.call)
            elif not self._stopping and self._verifications < self._spec.parallel_verifications:
                plan = item.candidate.plan
                item.call = self._calls.new(CallKind.VERIFY, number)
                self._call(self._verification(item.call, plan, screened=item.screened))
        self._score_held_out()

    def _verification(self, call: m.Call, plan: Plan | None, *, screened: bool) -> m.Verify:
        """Of a candidate on the train scenarios; of one with a screen, on those of the screen first."""
        wanted = m.Verify(call, (TRAIN,), parent=plan.parents[0] if plan else None)
        if plan is None or plan.screen is None or screened:
            return wanted
        screen = plan.screen
        normalized = self._context.aggregation is Aggregation.MEAN_NORMALIZED
        return replace(wanted, scenarios=screen.scenarios, stop_below=screen.to_reach if normalized else None)

    @property
    def _verifications(self) -> int:
        return self._calls.count(CallKind.VERIFY, CallKind.HELD_OUT, CallKind.GATE)

    def _send(self, call: m.Call) -> None:
        item = self._under_way[call.number]
        plan = item.candidate.plan
        assert plan is not None, "only planned candidates are requested"
        assert item.request is not None, "a request that was not answered is restored with its candidate"
        self._call(m.Send(call, plan, item.request))

    def _call(self, instruction: m.Send | m.Verify) -> None:
        self._calls.sent(instruction)
        self._out.append(instruction)

    def _score_held_out(self) -> None:
        """One after the other; nothing is asked for by these scores."""
        running = self.control.state is SearchState.RUNNING and not self._stopping
        number = self._held_out.next
        if not running or number is None or self._calls.count(CallKind.HELD_OUT):
            return
        if self._verifications < self._spec.parallel_verifications:
            call = self._calls.new(CallKind.HELD_OUT, number)
            self._call(m.Verify(call, (HELD_OUT,)))

    def _again(self, call: m.Call) -> None:
        """The wait of a failed call is over."""
        if self._stopping or (call.kind is CallKind.GENERATE and self._holding):
            self._over(call)
        else:
            self._out.append(self._calls.repeat(call))

    def _over(self, call: m.Call) -> None:
        self._calls.forget(call)
        item = self._under_way.get(call.number)
        if item is not None and item.call == call:
            item.call = None

    def _drop(self, call: m.Call) -> None:
        self._over(call)
        self._out.append(m.Abandon(call))

    def _name(self, call: m.Call) -> str:
        """Whose failures a call's are: a backend's or the verifier's."""
        if call.kind is not CallKind.GENERATE:
            return "verifier"
        plan = self._under_way[call.number].candidate.plan
        return plan.backend if plan is not None else "generator"

    def _troubled(self, call: m.Call, error: QuintainError, *, by_verifier: bool = False) -> None:
        generating = call.kind is CallKind.GENERATE
        name = "verifier" if by_verifier else self._name(call)
        if generating and not by_verifier:
            self._spent(call.number, retry.spent(error))
        service = f"generator {name}" if generating and not by_verifier else "verifier"
        match self._calls.failed(call, error):
            case retry.RetryLater(seconds):
                if self._stopping or (generating and self._holding):
                    self._over(call)
                    return
                self._failing(name, service, error, seconds)
                self._out.append(m.Wait(call, seconds))
            case retry.NeedsOperator(reason):
                recent = self._calls.recent(call)
                self._over(call)
                if recent:  # else somebody has acted since it was called: it is tried again
                    self._needs_operator(call, reason, error)
            case retry.WrongRequest(reason):
                self._over(call)
                self._wrong(call, reason, error)

    def _failing(self, name: str, service: str, error: QuintainError, seconds: float) -> None:
        """Said once until it is over; one that is down, or asks for a long wait, pauses the search meanwhile."""
        pauses = error.reason == "BACKEND_DOWN" or seconds >= retry.LONG_WAIT_SECONDS
        if not self._calls.fails(name, pauses):
            return
        reason = f"{service}: {error.reason}: {error.message}"
        if seconds >= retry.LONG_WAIT_SECONDS:
            reason += f"; tries again at {retry.clock_time(self._epoch + seconds)}"
        event = BackendTrouble(name, reason, pauses)
        if pauses:
            self._change(Transition(SearchState.PAUSED, reason), event)
        else:
            self._write(events=[event])

    def _recovered(self, name: str) -> None:
        if not self._calls.recovered(name):
            return
        control = self.control
        if control.state is SearchState.PAUSED and not control.paused_by_user and not self._calls.failing:
            self._change(Transition(SearchState.RUNNING, f"{name} is back"))

    def _needs_operator(self, call: m.Call, reason: str, error: QuintainError) -> None:
        item = self._under_way.get(call.number)
        match call.kind:
            case CallKind.VERIFY if item and item.candidate.plan and isinstance(error, Internal):
                # One policy that breaks the verifier must not stop the search. Two in a row: it is the verifier.
                if not self._broke_verifier:
                    self._broke_verifier = True
                    self._reject(item.candidate, f"not verified: {reason}")
                    return
            case CallKind.HELD_OUT:
                reason = f"held-out: {reason}"
            case CallKind.GATE:
                self._stop_gates()
                reason = f"promotion: {reason}"
        if item is not None and call.kind in (CallKind.GENERATE, CallKind.VERIFY):
            item.stuck = True
        self._pause(reason)

    def _wrong(self, call: m.Call, reason: str, error: QuintainError) -> None:
        item = self._under_way.get(call.number)
        if call.kind is CallKind.VERIFY and item and item.candidate.plan and isinstance(error, InvalidArgument):
            # The verifier does not take this policy (its source is too large, say): the policy's fault, not ours.
            self._reject(item.candidate, f"not taken: {error.message}")
        elif call.kind in (CallKind.HELD_OUT, CallKind.GATE):
            self._needs_operator(call, f"verifier: {reason}", error)
        else:
            self._lost = True
            self._hold()
            self._change(Transition(SearchState.FAILED, f"candidate {call.number}: {reason}"))

    def _other_build(self, build: str) -> FailedPrecondition:
        return FailedPrecondition(
            f"the simulator is build {build!r} now and was {self._context.simulator_build!r} when the search began: "
            "their scores cannot be compared. Go back to that build and resume, or fork the search from its best "
            "candidate",
            reason="SIMULATOR_CHANGED",
        )

    def _pause(self, reason: str) -> None:
        """Until the user resumes the search."""
        paused = Transition(SearchState.PAUSED, reason, paused_by_user=True, events=(BackendTrouble("", reason, True),))
        self._change(paused)

    # ------------------------------------------------------------------------------------------------ what calls bring

    def _generated(self, number: int, generation: Generation) -> None:
        item = self._under_way[number]
        candidate = answered(item.candidate, generation, self._spec.assume_usd_nano)
        write = CandidateWrite(candidate, source=generation.source or None, generation=generation.record)
        if candidate.state.settled:
            self._settle(write)
            return
        self._planner.record(candidate)
        self._under_way[number] = _UnderWay(candidate)
        self._write(write, events=[CandidateChanged(candidate)])

    def _spent(self, number: int, charge: Charge | None) -> None:
        """Money of a request that has no result yet counts at once, and is booked whatever comes of the request."""
        item = self._under_way[number]
        if charge is None or item.candidate.state is not CandidateState.REQUESTED:
            return
        charge = charge.with_tools_of(item.candidate.charge)
        if charge == item.candidate.charge:
            return
        item.candidate = replace(item.candidate, charge=charge)
        self._planner.record(item.candidate)
        self._write(CandidateWrite(item.candidate))

    def _say_in_batch(self, number: int) -> None:
        """Once: it is asked for again and again."""
        item = self._under_way[number]
        if item.candidate.summary != _IN_BATCH:
            item.candidate = replace(item.candidate, summary=_IN_BATCH)
            self._planner.record(item.candidate)
            self._write(CandidateWrite(item.candidate), events=[CandidateChanged(item.candidate)])

    def _tools_used(self, number: int, spent: Charge | None, uses: tuple[ToolUse, ...]) -> None:
        """What tools said and what it cost is written in one piece; then the request is sent again with it."""
        item = self._under_way[number]
        charge = replace(
            spent or item.candidate.charge,
            tool_runs=sum(use.runs for use in uses),
            tool_seconds=sum(use.seconds for use in uses),
        )
        item.candidate, item.durable = replace(item.candidate, charge=charge), False
        self._planner.record(item.candidate)
        self._write(CandidateWrite(item.candidate, tools=uses))

    def _verified(self, call: m.Call, verification: Verification, parent: Candidate | None) -> None:
        if call.kind is CallKind.GATE:
            self._step_gates(verification)
        elif call.kind is CallKind.HELD_OUT:
            self._held_out_scored(verification)
        else:
            self._broke_verifier = False
            item = self._under_way[call.number]
            plan = item.candidate.plan
            if plan is not None and plan.screen is not None and not item.screened:
                why = self._planner.refusal(item.candidate, verification)
                if not why:
                    item.screened = True
                    return
                candidate = stopped(item.candidate, verification, why)
            else:
                candidate = self._planner.with_twin(verified(item.candidate, verification, parent, self._context))
            self._out.append(m.Remember(candidate, verification.feedback))
            self._settle(CandidateWrite(candidate, verdict=verification.record, feedback=verification.feedback))

    def _held_out_scored(self, verification: Verification) -> None:
        candidate, events = self._held_out.made(verification)
        self._write(CandidateWrite(candidate, held_out=verification.record), events=events)

    def _reject(self, candidate: Candidate, summary: str) -> None:
        self._settle(CandidateWrite(replace(candidate, state=CandidateState.REJECTED, summary=summary[:300])))

    def _settle(self, write: CandidateWrite) -> None:
        del self._under_way[write.candidate.number]
        self._planner.record(write.candidate)
        self._write(write, events=[CandidateChanged(write.candidate)])

    # ----------------------------------------------------------------------------------- requests that get no answer

    def _keep_to_budget(self) -> None:
        """What waits when the time or the money is used up is given up: nothing waits beyond the budget."""
        if self._holding or not self._ledger.used_up(self.control.budget):
            return
        for number, item in self._under_way.items():
            if item.candidate.state is not CandidateState.REQUESTED or not item.durable or item.asked_for:
                continue
            waits = item.call is not None and self._calls.waits(item.call)
            if _converses(item.candidate) and not waits and not self._ledger.out_of_money(self.control.budget):
                continue  # it is under way, and will be finished
            in_batch = item.call is not None and self._calls.postponed(item.call)
            if in_batch and not self._ledger.out_of_time(self.control.budget):
                continue  # what it may cost is reserved
            if item.call is not None and not waits:
                self._recall(item.call)
                continue
            if item.call is not None:
                self._drop(item.call)
            self._look_up(number)
        busy = self._calls.any or self._looking_up
        if self.control.state is SearchState.PAUSED and not busy and self._batcher.empty:
            self._calls.failing.clear()
            self._change(Transition(SearchState.RUNNING, "the budget is used up: ends without waiting"))

    @property
    def _looking_up(self) -> bool:
        return self._late.asking or any(item.asked_for for item in self._under_way.values())

    def _look_up_unanswered(self) -> None:
        """After the end: requests that were recorded but perhaps never sent. What was paid is booked, nobody is called,
        and no reservation stays."""
        for number, item in self._under_way.items():
            if item.candidate.state is CandidateState.REQUESTED and not item.asked_for:
                self._look_up(number)

    def _charged_late(self, found: m.LookedUp) -> None:
        candidate = self._late.found(found, self._spec.assume_usd_nano)
        if candidate is not None:
            self._ledger.correct(candidate)
            self._write(CandidateWrite(candidate, generation=found.generation.record if found.generation else None))

    def _look_up(self, number: int) -> None:
        self._under_way[number].asked_for = True
        self._out.append(m.LookUp(number))

    def _looked_up(self, found: m.LookedUp) -> None:
        if self._late.asked(found.number):
            self._charged_late(found)
            return
        item = self._under_way.get(found.number)
        if item is None or not item.asked_for:
            return
        item.asked_for = False
        if found.generation is not None:
            self._generated(found.number, found.generation)
            return
        # Where the generator is away or cannot say, what was reserved is the most that it may have cost.
        spent, reserved = found.spent or item.candidate.charge, item.candidate.reserved.usd_nano
        certain = found.known or found.spent is not None
        risk = spent.at_risk_usd_nano if certain else max(spent.at_risk_usd_nano, reserved - spent.usd_nano)
        what = "search ended" if self.control.state.ended else "budget was used up"
        candidate = replace(
            item.candidate,
            state=CandidateState.REJECTED,
            charge=replace(spent, at_risk_usd_nano=risk).with_tools_of(item.candidate.charge),
            summary=f"the {what} before it was answered",
        )
        if candidate.waits_for_charge:
            self._late.given_up(candidate)
        self._settle(CandidateWrite(candidate))

    # ---------------------------------------------------------------------------------------------------------- gates

    def _end(self, reason: str) -> None:
        """All is told: score what is left on held-out, let the gates decide, and end."""
        if self._ending or self._held_out.next is not None or self._calls.any or not self._batcher.empty:
            return
        reference = self._held_out.reference
        assert reference is not None, "a search is done after its seeds were told"
        steps = promote(self._spec, self._context, self._planner.rank(), reference, self._held_out.scored)
        self._gates.begin(steps, reason)
        self._step_gates(None)

    def _step_gates(self, answer: GateAnswer) -> None:
        if not self._gates.running:
            return
        match self._gates.step(answer):
            case LoadCandidates(numbers):
                self._out.append(m.Load(numbers))
            case GateCheck() as check:
                self._write(events=[self._gates.checking(check, self._clock or 0.0)])
                call = self._calls.new(CallKind.GATE, check.number)
                self._call(m.Verify(call, check.parts, check.check_determinism, check.confirm))
            case Promotion() as promotion:
                self._decided(promotion)

    def _gate_progressed(self, done: int, total: int) -> None:
        progress = self._gates.progressed(done, total, self._clock or 0.0)
        if progress is not None:
            self._write(events=[progress])

    def _decided(self, promotion: Promotion) -> None:
        self._ending = True
        transition = promotion.transition(self._gates.reason, self.control.budget, self._held_out.scored)
        again = self._late.look_again_at(self._epoch)
        self._batcher.add(
            Draft(promotion.writes, transition=transition, idle_in=SearchState.FINISHED, look_again_at=again)
        )

    def _stop_gates(self) -> None:
        """They begin anew when all is told again."""
        self._gates.stop()
        for call in self._calls.of(CallKind.GATE):
            self._drop(call)


def _converses(candidate: Candidate) -> bool:
    """Whether a conversation has begun."""
    charge, plan = candidate.charge, candidate.plan
    return plan is not None and plan.operator == AGENT and (charge.usd_nano > 0 or charge.tool_runs > 0)
