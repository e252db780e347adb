"""Answers that are made in batches, in the machine of a search: calls that wait without having failed."""

from __future__ import annotations

from tests.unit.controller.machine import World, generation

from quintain.errors import Unavailable
from quintain_controller.domain.machine import messages as m
from quintain_controller.domain.machine.messages import CallKind
from quintain_controller.domain.model import NANO, Budget, CandidateState, Charge, GenerationOutcome, SearchState

SPENT = Charge(usd_nano=1_000_000)


def waiting(**given: object) -> tuple[World, m.Call]:
    """A search whose one request waits for a batch."""
    world = World(**{"parallel_generations": 1, "window": 1, **given})  # type: ignore[arg-type]
    world.answer_all([CallKind.VERIFY])
    call = world.place()
    world.placed.discard(call)
    world.tell(m.Postponed(call, 60.0, SPENT))
    return world, call


def test_it_is_asked_for_again_and_nothing_is_said_to_be_wrong() -> None:
    world, call = waiting()
    assert world.waits == {call: 60.0}
    assert world.record.control.state is SearchState.RUNNING
    assert world.record.spend.usd_nano == SPENT.usd_nano
    world.due(call)
    world.answer(call)
    world.answer_all()
    assert world.sent[:2] == [1, 1]
    assert world.record.control.state is SearchState.FINISHED


def test_a_provider_that_is_back_ends_the_pause_although_the_answer_is_not_there() -> None:
    world, call = waiting()
    world.due(call)
    world.fail(call, Unavailable("down", reason="BACKEND_DOWN", retry_after_seconds=5.0))
    assert world.record.control.state is SearchState.PAUSED
    world.due(call)
    world.tell(m.Postponed(call, 60.0, None))
    assert world.record.control.state is SearchState.RUNNING


def test_a_search_that_is_cancelled_gives_the_batch_up_and_books_what_it_cost() -> None:
    world, _ = waiting()
    world.user(SearchState.CANCELLED)
    assert (world.waits, world.looked_up) == ({}, [1])
    given_up = generation(1, outcome=GenerationOutcome.CANCELLED, usd=0.005)
    world.tell(m.LookedUp(1, given_up, known=True))
    assert world.finished
    assert world.store.candidate("s", 1).candidate.state is CandidateState.REJECTED
    assert world.record.spend.usd_nano == 5_000_000
    assert world.record.spend.reserved_usd_nano == 0


def test_a_pause_and_a_new_owner_ask_again_for_the_same_request() -> None:
    world, _ = waiting()
    world.user(SearchState.PAUSED)
    assert (world.waits, world.looked_up, world.finished) == ({}, [], True)
    world.user(SearchState.RUNNING)
    world.own()
    assert world.sent == [1]
    world.tell(m.Postponed(world.calls(CallKind.GENERATE)[0], 60.0, None))
    world.crash()
    assert world.sent == [1]


def test_the_end_of_the_time_gives_it_up_and_the_end_of_the_money_does_not() -> None:
    world, call = waiting(budget=Budget(candidates=4, usd_nano=NANO, wall_seconds=3600.0))
    world.extend(Budget(candidates=4, usd_nano=SPENT.usd_nano, wall_seconds=3600.0))
    world.later(1.0)
    assert world.waits == {call: 60.0}
    world.later(3600.0)
    assert (world.waits, world.looked_up) == ({}, [1])
