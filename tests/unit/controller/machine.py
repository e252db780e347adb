"""A search's machine with a world around it that a test moves by hand: who is called, who answers, what is written.

Nothing here runs by itself and nothing waits: a race is an order of lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from tests.unit.controller.toy import CONTEXT, SCENARIOS, make_spec

from quintain.backoff import Backoff
from quintain.errors import QuintainError
from quintain_controller.adapters.store.memory import MemoryStore
from quintain_controller.domain.machine import messages as m
from quintain_controller.domain.machine.messages import CallKind
from quintain_controller.domain.machine.search import SearchMachine
from quintain_controller.domain.model import (
    Budget,
    Candidate,
    Charge,
    Generation,
    GenerationOutcome,
    PartScore,
    SearchContext,
    SearchSpec,
    SearchState,
    VerdictStatus,
    Verification,
)
from quintain_controller.domain.records import NewSearch, SearchRecord
from quintain_controller.usecases.strategies import make_planner

T = TypeVar("T")

WITH_HELD_OUT = replace(CONTEXT, held_out=("h1", "h2"))


def generation(number: int, *, outcome: GenerationOutcome = GenerationOutcome.OK, usd: float = 0.01) -> Generation:
    source = f"x = {number}" if outcome is GenerationOutcome.OK else ""
    return Generation(outcome, source, Charge(usd_nano=round(usd * 1e9), tokens=100), "", b"generation")


def verification(
    number: int, *, status: VerdictStatus = VerdictStatus.OK, build: str = "b", x: float | None = None
) -> Verification:
    value = (0.2 + number / 1000 if x is None else x) if status is VerdictStatus.OK else 0.0
    part = PartScore(value, 0.1, 1.0, value, dict.fromkeys(SCENARIOS, value))
    return Verification(
        digest=f"d{number}",
        simulator_build=build,
        status=status,
        train=part,
        held_out=replace(part, values={"h1": value, "h2": value}),
        metrics={"x": value},
        behavior=f"behaviour {number}",
        failure="" if status is VerdictStatus.OK else "it failed",
        rule="",
        determinism_checked=True,
        confirmed=True,
        feedback="fine",
        record=b"verdict",
        identity=b"",
    )


class World:
    """One controller that owns one search. `crash` gives it to another one, on the same store."""

    def __init__(
        self,
        *,
        budget: Budget | None = None,
        context: SearchContext = CONTEXT,
        at_once: bool = True,
        **spec: object,
    ) -> None:
        self.now = m.Instant(1000.0, 1_700_000_000.0)
        self.store = MemoryStore(clock=lambda: self.now.epoch)
        wanted: SearchSpec = replace(
            make_spec("best-of-n", budget=budget or Budget(candidates=4)),
            **({"parallel_generations": 2} | spec),  # type: ignore[arg-type]
        )
        self.store.create(NewSearch("s", "r", "d", wanted, context))
        self.own(at_once)

    def own(self, at_once: bool = True) -> None:
        """Take the search over. `at_once`: what is to be written is durable at once, else when `write` says so."""
        (self.lease,) = self.store.acquire("me", 1, 60.0)
        record = self.record
        self.machine = SearchMachine(record, make_planner(record.spec, record.context), Backoff(1.0, 10.0))
        self.open: dict[m.Call, m.Send | m.Verify] = {}
        self.placed: set[m.Call] = set()  # really sent: can be recalled no more
        self.waits: dict[m.Call, float] = {}
        self.looked_up: list[int] = []
        self.sent: list[int] = []  # numbers of candidates that were asked for, with repetitions
        self.unwritten: list[m.Write] = []
        self.finished = False
        self.writes_at_once = at_once
        self.tell(m.Restored(tuple(self.store.candidate_page("s", -1, 1000)), self._requests()))

    def _requests(self) -> dict[int, bytes]:
        return {c.number: b"request" for c in self.store.candidate_page("s", -1, 1000)}

    # ------------------------------------------------------------------------------------------------ what happens

    @property
    def record(self) -> SearchRecord:
        return self.store.search("s")

    def tell(self, *inputs: m.Input) -> None:
        for given in inputs:
            for instruction in self.machine.handle(given, self.now):
                self._do(instruction)

    def _do(self, instruction: m.Instruction) -> None:
        match instruction:
            case m.Send(call) | m.Verify(call):
                self.open[call] = instruction
                self.waits.pop(call, None)
                if call.kind is CallKind.GENERATE:
                    self.sent.append(call.number)
            case m.Wait(call, seconds):
                self.waits[call] = seconds
            case m.Recall(call):
                if call not in self.placed and call in self.open:
                    del self.open[call]
                    self.tell(m.Recalled(call))
            case m.Abandon(call):
                self.open.pop(call, None)
                self.waits.pop(call, None)
            case m.MakeRequest():
                self.tell(m.RequestMade(b"request", "digest"))
            case m.LookUp(number):
                self.looked_up.append(number)
            case m.Load(numbers):
                self.tell(m.Loaded(self.store.candidates("s", numbers)))
            case m.Write():
                self.unwritten.append(instruction)
                if self.writes_at_once:
                    self.write()
            case m.Finish():
                self.finished = True
                self.store.release(self.lease)

    def write(self) -> None:
        """What waits becomes durable."""
        while self.unwritten:
            self.tell(m.Written(self.store.commit(self.lease, self.unwritten.pop(0).batch)))

    def user(self, state: SearchState) -> None:
        self.tell(m.ControlChanged(self.store.change_state("s", state, "the user").control))

    def extend(self, budget: Budget) -> None:
        self.tell(m.ControlChanged(self.store.extend_budget("s", lambda _record: budget).control))

    def later(self, seconds: float) -> None:
        self.now = m.Instant(self.now.monotonic + seconds, self.now.epoch + seconds)
        self.tell(m.Tick())

    def crash(self) -> None:
        """Killed between two steps: what was not written is gone, and another owner begins."""
        self.store.release(self.lease)
        self.own()

    # -------------------------------------------------------------------------------------------------- who answers

    def calls(self, kind: CallKind) -> list[m.Call]:
        """Sent or waiting for a place, the oldest first."""
        return [call for call in self.open if call.kind is kind and call not in self.waits]

    def place(self, kind: CallKind = CallKind.GENERATE) -> m.Call:
        """The oldest call gets its place among all searches."""
        call = self.calls(kind)[0]
        self.placed.add(call)
        return call

    def answer(self, call: m.Call, given: m.Input | None = None) -> None:
        del self.open[call]
        self.placed.discard(call)
        if given is None:
            made = generation(call.number) if call.kind is CallKind.GENERATE else verification(call.number)
            given = m.Generated(call, made) if isinstance(made, Generation) else m.Verified(call, made)
        self.tell(given)

    def fail(self, call: m.Call, error: QuintainError) -> None:
        self.placed.discard(call)
        self.tell(m.Troubled(call, error))

    def due(self, call: m.Call) -> None:
        del self.waits[call]
        self.tell(m.Due(call))

    def answer_all(self, kinds: Iterable[CallKind] = tuple(CallKind)) -> None:
        """Everybody answers, until nobody is called any more."""
        while found := [call for kind in kinds for call in self.calls(kind)]:
            self.answer(found[0])

    def run_to_the_end(self) -> None:
        self.answer_all()
        assert self.finished, "nothing is under way, and it has not ended"

    # ------------------------------------------------------------------------------------------------- what is there

    def candidates(self) -> list[Candidate]:
        return self.store.candidate_page("s", -1, 1000)

    def reasons(self) -> list[tuple[SearchState, str]]:
        events, _ = self.store.events_after("s", 0, 10_000)
        return [(e.event.state, e.event.reason) for e in events if e.event.kind == "state_changed"]

    def happened(self, kind: type[T]) -> list[T]:
        events, _ = self.store.events_after("s", 0, 10_000)
        return [e.event for e in events if isinstance(e.event, kind)]


def until(world: World, condition: Callable[[], bool], kinds: Iterable[CallKind] = tuple(CallKind)) -> None:
    """Answer one call after the other until it is so."""
    while not condition():
        world.answer(next(call for kind in kinds for call in world.calls(kind)))
