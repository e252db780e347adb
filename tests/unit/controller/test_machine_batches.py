"""Answers that are made in batches, in the machine of a search: calls that wait without having failed."""

from __future__ import annotations

from tests.unit.controller.machine import World, generation

from quintain.errors import Unavailable
from quintain_controller.domain.events import CandidateChanged
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
    assert world.store.candidate("s", 1).candidate.summary == "in its provider's batch"
    world.due(call)
    world.tell(m.Postponed(call, 60.0, SPENT))
    said = [event.candidate for event in world.happened(CandidateChanged) if event.candidate.number == 1]
    assert [candidate.summary for candidate in said] == ["", "in its provider's batch"], "once"
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


# ------------------------------------------------------------------------------- what it cost is known only later

AT_RISK = Charge(at_risk_usd_nano=9_000_000)
UNKNOWN_YET = m.LookedUp(1, None, known=False, spent=AT_RISK)


def given_up() -> World:
    """A cancelled search whose provider has not stopped the batch in time."""
    world, _ = waiting()
    world.user(SearchState.CANCELLED)
    world.tell(UNKNOWN_YET)
    assert world.finished
    assert world.record.spend.at_risk_usd_nano == AT_RISK.at_risk_usd_nano
    return world


def is_looked_at_again(world: World, seconds: float) -> bool:
    """Whether somebody takes the search after so many seconds."""
    world.now = m.Instant(world.now.monotonic + seconds, world.now.epoch + seconds)
    if not (leases := world.store.acquire("me", 1, 60.0)):
        return False
    world.store.release(leases[0])
    world.own()
    return True


def test_what_a_batch_cost_that_took_long_to_stop_is_booked_later() -> None:
    world = given_up()
    assert not is_looked_at_again(world, 59.0)
    assert is_looked_at_again(world, 2.0)
    assert world.looked_up == [1]
    world.tell(m.LookedUp(1, generation(1, outcome=GenerationOutcome.CANCELLED, usd=0.005), known=True))
    assert world.finished
    spend = world.record.spend
    assert (spend.usd_nano, spend.at_risk_usd_nano, spend.tokens) == (5_000_000, 0, 100)
    stored = world.store.candidate("s", 1)
    assert (stored.candidate.state, stored.generation) == (CandidateState.REJECTED, b"generation")
    assert not is_looked_at_again(world, 1e6)


def test_a_batch_that_never_ends_is_looked_up_ever_more_rarely_and_after_a_day_no_more() -> None:
    world, minutes = given_up(), []
    for minute in range(1, 3 * 24 * 60):
        if is_looked_at_again(world, 60.0):
            minutes.append(minute)
            world.tell(UNKNOWN_YET)
            assert world.finished
    assert minutes == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
    assert world.record.spend.at_risk_usd_nano == AT_RISK.at_risk_usd_nano


def test_whoever_is_killed_while_it_is_looked_up_leaves_it_to_the_next() -> None:
    world = given_up()
    assert is_looked_at_again(world, 60.0)
    world.crash()
    assert world.looked_up == [1]
    world.writes_at_once = False
    cancelled = m.LookedUp(1, generation(1, outcome=GenerationOutcome.CANCELLED, usd=0.005), known=True)
    world.tell(cancelled)
    world.crash()  # before it was written
    assert world.looked_up == [1]
    world.writes_at_once = False
    world.tell(cancelled)
    world.tell(m.Written(world.store.commit(world.lease, world.unwritten.pop(0).batch)))
    world.crash()  # after that, and before it was written that nothing is left to do
    assert (world.looked_up, world.finished) == ([], True)
    assert world.record.spend.usd_nano == 5_000_000


def test_a_request_that_the_generator_never_saw_has_cost_nothing() -> None:
    world = given_up()
    assert is_looked_at_again(world, 60.0)
    world.tell(m.LookedUp(1, None, known=True))
    assert (world.record.spend.usd_nano, world.record.spend.at_risk_usd_nano) == (0, 0)
    assert not is_looked_at_again(world, 1e6)


def test_a_search_that_goes_on_keeps_to_what_was_decided_with_the_money_at_risk() -> None:
    world, _ = waiting(budget=Budget(candidates=4, usd_nano=NANO, wall_seconds=3600.0))
    world.later(3600.0)
    world.tell(UNKNOWN_YET)
    world.answer_all()
    assert world.record.control.state is SearchState.FINISHED
    assert is_looked_at_again(world, 60.0)
    world.tell(m.LookedUp(1, generation(1, outcome=GenerationOutcome.CANCELLED, usd=0.005), known=True))
    assert world.record.spend.usd_nano == 5_000_000
    world.store.extend_budget("s", lambda _record: Budget(candidates=4, usd_nano=NANO, wall_seconds=7200.0))
    world.own()
    world.run_to_the_end()
    assert len(world.candidates()) == 5
    assert world.record.spend.usd_nano == 5_000_000 + 3 * 10_000_000
    assert world.record.spend.at_risk_usd_nano == 0
