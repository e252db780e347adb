"""Every race of a search that the crash tests can meet, as an order of inputs: no clock, no task, no service."""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import replace

import pytest
from tests.unit.controller.machine import WITH_HELD_OUT, World, generation, until, verification

from quintain.errors import (
    Aborted,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    QuintainError,
    ResourceExhausted,
    Unavailable,
)
from quintain_controller.domain.events import BackendTrouble, BetterOnHeldOut, GateProgress, HeldOutScored, Promoted
from quintain_controller.domain.machine import messages as m
from quintain_controller.domain.machine.messages import CallKind
from quintain_controller.domain.model import (
    Budget,
    CandidateState,
    Charge,
    GenerationOutcome,
    SearchState,
    VerdictStatus,
)

RUNNING, PAUSED, FINISHED, CANCELLED, FAILED = SearchState
NO_KEY = FailedPrecondition("no key", reason="AUTHENTICATION_FAILED")
DOWN = Unavailable("circuit open", reason="BACKEND_DOWN", retry_after_seconds=5.0)


def asked(**given: object) -> World:
    """A search whose seed is verified and whose first generations are called."""
    world = World(**given)  # type: ignore[arg-type]
    world.answer_all([CallKind.VERIFY])
    assert len(world.calls(CallKind.GENERATE)) == world.record.spec.parallel_generations
    return world


def test_a_search_goes_from_its_seed_to_its_winner() -> None:
    world = World(context=WITH_HELD_OUT)
    world.run_to_the_end()
    record = world.record
    assert (record.state, record.needs_owner, record.winner_number) == (FINISHED, False, record.best_number)
    assert [c.state for c in world.candidates()] == [CandidateState.VERIFIED] * 5
    assert record.spend.candidates == 4
    assert record.spend.reserved_usd_nano == 0
    assert len(world.happened(HeldOutScored)) >= 1
    assert len(world.happened(Promoted)) == 1


def test_nothing_is_sent_before_its_request_is_durable_nor_verified_before_its_answer_is() -> None:
    world = World(at_once=False)
    assert world.open == {}
    world.write()
    (seed,) = world.calls(CallKind.VERIFY)
    world.answer(seed)
    assert world.sent == []
    world.write()
    assert world.sent == [1, 2]
    world.answer(world.calls(CallKind.GENERATE)[0])
    assert world.calls(CallKind.VERIFY) == []
    world.write()
    assert [call.number for call in world.calls(CallKind.VERIFY)] == [1]


# ---------------------------------------------------------------------------------------------------- pause and resume


def test_a_pause_during_a_generation_keeps_what_was_sent_and_recalls_what_was_not() -> None:
    world = asked()
    first = world.place()
    world.user(PAUSED)
    assert list(world.open) == [first]
    world.answer(first)
    world.answer_all([CallKind.VERIFY])  # the paid answer is verified
    assert world.finished
    assert [c.state for c in world.candidates()[:3]] == [CandidateState.VERIFIED] * 2 + [CandidateState.REQUESTED]
    assert world.record.spend.reserved_usd_nano > 0
    assert not world.record.needs_owner
    world.user(RUNNING)
    world.own()
    world.run_to_the_end()
    assert world.record.state is FINISHED
    assert sorted(world.sent) == [2, 3, 4]


def test_a_resume_before_the_paused_search_was_given_back_goes_on_at_once() -> None:
    world = asked()
    world.writes_at_once = False
    world.user(PAUSED)
    world.user(RUNNING)  # overtakes the note that nothing is left to do
    world.write()
    assert not world.finished
    world.writes_at_once = True
    world.run_to_the_end()
    assert world.record.state is FINISHED


def test_a_word_that_was_overtaken_does_not_undo_a_cancel() -> None:
    world = asked()
    world.place()
    before = world.machine.control
    world.user(CANCELLED)
    world.tell(m.ControlChanged(before))
    world.answer_all()
    assert world.sent == [1, 2]
    assert world.record.state is CANCELLED


def test_a_failure_of_a_call_from_before_the_resume_does_not_pause_the_search_again() -> None:
    world = asked()
    call = world.place()
    world.user(PAUSED)
    world.user(RUNNING)
    world.fail(call, NO_KEY)
    assert world.record.state is RUNNING
    world.open.pop(call, None)
    world.run_to_the_end()
    assert [state for state, _ in world.reasons()].count(PAUSED) == 1


# -------------------------------------------------------------------------------------------------------------- cancel


def test_a_cancel_books_what_was_sent_and_leaves_no_reservation() -> None:
    world = asked()
    sent = world.place()
    world.user(CANCELLED)
    assert not world.finished
    world.answer(sent)
    assert world.looked_up == [2, 3, 4][: len(world.looked_up)]
    for number in list(world.looked_up):
        world.tell(m.LookedUp(number, None, known=True))
    assert world.finished
    assert world.record.spend.reserved_usd_nano == 0
    assert world.record.spend.usd_nano == 10_000_000
    assert world.store.candidate("s", 1).generation == b"generation"
    assert not world.record.needs_owner


def test_a_generator_that_is_away_at_the_cancel_leaves_the_reservation_at_risk() -> None:
    world = asked()
    reserved = world.record.spend.reserved_usd_nano
    world.user(CANCELLED)
    for number in list(world.looked_up):
        world.tell(m.LookedUp(number, None, known=False))
    assert world.finished
    assert (world.record.spend.reserved_usd_nano, world.record.spend.at_risk_usd_nano) == (0, reserved)


def test_a_request_whose_call_still_runs_at_the_cancel_is_booked_with_what_the_generator_says() -> None:
    world = asked(parallel_generations=1)
    world.user(CANCELLED)
    first, *others = world.looked_up
    world.tell(m.LookedUp(first, None, known=False, spent=Charge(usd_nano=5, at_risk_usd_nano=7)))
    for number in others:
        world.tell(m.LookedUp(number, None, known=True))
    assert world.finished
    spend = world.record.spend
    assert (spend.usd_nano, spend.at_risk_usd_nano, spend.reserved_usd_nano) == (5, 7, 0)


def test_a_cancel_during_the_gates_ends_without_a_winner() -> None:
    world = World(context=WITH_HELD_OUT)
    until(world, lambda: bool(world.calls(CallKind.GATE)))
    world.user(CANCELLED)
    assert world.finished
    assert world.open == {}
    assert (world.record.state, world.record.winner_number, world.happened(Promoted)) == (CANCELLED, None, [])


def test_a_cancel_that_comes_while_the_end_is_written_wins_and_the_search_is_settled() -> None:
    world = World()
    until(world, lambda: len(world.calls(CallKind.GATE)) == 1)
    world.writes_at_once = False
    world.answer(world.calls(CallKind.GATE)[0])
    world.store.change_state("s", CANCELLED, "the user")  # the machine has not heard of it
    world.write()
    world.write()
    assert world.finished
    assert (world.record.state, world.record.winner_number, world.record.needs_owner) == (CANCELLED, None, False)


# ------------------------------------------------------------------------------------------------- drain and lost lease


def test_a_drain_waits_for_what_is_paid_and_drops_the_rest() -> None:
    world = asked()
    sent = world.place()
    world.tell(m.Drain())
    assert list(world.open) == [sent]
    assert not world.finished
    world.answer(sent)
    assert world.finished
    assert world.calls(CallKind.VERIFY) == []
    assert world.store.candidate("s", 1).generation == b"generation"
    world.crash()
    world.run_to_the_end()
    assert world.record.state is FINISHED
    assert 1 not in world.sent


def test_a_drain_does_not_wait_for_a_call_that_is_to_be_repeated() -> None:
    world = asked()
    world.fail(world.place(), Unavailable("away"))
    world.tell(m.Drain())
    assert world.finished
    assert world.waits == {}


def test_a_drain_before_the_answer_is_durable_waits_for_the_write() -> None:
    world = asked()
    call = world.place()
    world.writes_at_once = False
    world.answer(call)
    world.tell(m.Drain())
    assert not world.finished
    world.write()
    assert world.finished


def test_a_drain_during_the_gates_hands_over_at_once() -> None:
    world = World()
    until(world, lambda: bool(world.calls(CallKind.GATE)))
    world.tell(m.Drain())
    assert world.finished
    assert world.open == {}
    world.crash()
    world.run_to_the_end()
    assert world.record.winner_number is not None


def test_a_lost_lease_writes_nothing_and_the_next_owner_repeats_nothing_that_is_recorded() -> None:
    world = asked()
    world.answer(world.place())
    late = world.calls(CallKind.GENERATE)[0]
    world.store.release(world.lease)
    (lease,) = world.store.acquire("other", 1, 60.0)
    world.writes_at_once = False
    world.answer(late)
    with pytest.raises(Aborted):
        world.write()
    world.store.release(lease)
    world.own()
    world.run_to_the_end()
    assert 1 not in world.sent
    assert 2 in world.sent  # the generator has its record: the same request id


# --------------------------------------------------------------------------------------- services down, slow and wrong


def test_a_backend_that_is_down_pauses_the_search_until_it_is_back() -> None:
    world = asked(parallel_generations=1)
    call = world.place()
    world.fail(call, DOWN)
    assert world.record.state is PAUSED
    assert not world.record.paused_by_user
    assert world.waits[call] == 5.0
    world.due(call)
    world.fail(call, DOWN)
    world.due(call)
    assert [e.search_paused for e in world.happened(BackendTrouble)] == [True, True]
    world.run_to_the_end()
    assert world.record.state is FINISHED
    assert [state for state, _ in world.reasons()][-2:] == [RUNNING, FINISHED]


def test_a_pause_by_the_user_outlives_the_return_of_the_backend() -> None:
    world = asked(parallel_generations=1)
    world.fail(world.place(), DOWN)
    world.user(PAUSED)
    assert world.finished
    assert world.waits == {}
    assert (world.record.state, world.record.paused_by_user) == (PAUSED, True)


def test_a_search_paused_for_its_backend_is_tried_at_once_by_the_next_owner() -> None:
    world = asked(parallel_generations=1)
    world.fail(world.place(), DOWN)
    world.crash()
    assert world.record.state is RUNNING
    world.run_to_the_end()


def test_a_backend_that_comes_back_without_its_key_needs_the_operator() -> None:
    world = asked(parallel_generations=1)
    call = world.place()
    world.fail(call, DOWN)
    world.due(call)
    world.fail(call, NO_KEY)
    assert (world.record.state, world.record.paused_by_user) == (PAUSED, True)
    assert "AUTHENTICATION_FAILED" in world.record.reason
    assert world.finished


def test_failures_are_waited_for_longer_and_longer_and_as_long_as_the_service_asks() -> None:
    world = asked(parallel_generations=1)
    call = world.place()
    waited = []
    for error in (Unavailable("away"), Unavailable("away"), Unavailable("away", retry_after_seconds=30.0)):
        world.fail(call, error)
        waited.append(world.waits[call])
        world.due(call)
    assert waited == [1.0, 2.0, 30.0]
    assert len(world.happened(BackendTrouble)) == 1


@pytest.mark.parametrize("error", [NO_KEY, ResourceExhausted("quota used up")])
def test_what_waiting_does_not_help_pauses_for_the_user_and_loses_nothing(error: QuintainError) -> None:
    world = asked()
    for call in list(world.calls(CallKind.GENERATE)):
        world.fail(call, error)
        world.open.pop(call, None)
    assert world.finished
    assert (world.record.state, world.record.paused_by_user) == (PAUSED, True)
    assert len(world.reasons()) == 1  # said once
    world.user(RUNNING)
    world.own()
    world.run_to_the_end()
    assert world.record.spend.candidates == 4


def test_a_request_that_is_wrong_as_written_fails_the_search() -> None:
    world = asked()
    call, other = world.place(), world.calls(CallKind.GENERATE)[1]
    world.placed.add(other)
    world.fail(call, InvalidArgument("task: no parents"))
    world.open.pop(call)
    assert world.record.state is FAILED
    assert not world.finished  # the other one is paid for
    world.answer(other)
    for number in list(world.looked_up):
        world.tell(m.LookedUp(number, None, known=True))
    assert world.finished
    assert world.record.spend.reserved_usd_nano == 0


def test_one_policy_that_breaks_the_verifier_is_rejected_and_two_in_a_row_are_the_verifier() -> None:
    world = asked()
    world.answer_all([CallKind.GENERATE])
    one, two = world.calls(CallKind.VERIFY)[:2]
    for call in (one, two):
        for _ in range(2):
            world.fail(call, Internal("crashed"))
            world.due(call)
        world.fail(call, Internal("crashed"))
        world.open.pop(call)
    assert world.candidates()[1].state is CandidateState.REJECTED
    assert world.candidates()[2].state is CandidateState.GENERATED
    assert (world.record.state, world.record.paused_by_user) == (PAUSED, True)


def test_scores_of_another_build_are_not_taken() -> None:
    world = asked()
    world.answer(world.place())
    (call,) = world.calls(CallKind.VERIFY)
    world.answer(call, m.Verified(call, verification(1, build="b2")))
    assert "b2" in world.record.reason
    assert world.candidates()[1].train is None


def test_held_out_scores_that_cannot_be_had_pause_the_search_once() -> None:
    world = World(context=WITH_HELD_OUT)
    world.answer_all([CallKind.VERIFY])
    world.writes_at_once = False
    (call,) = world.calls(CallKind.HELD_OUT)
    world.fail(call, InvalidArgument("nobody may verify that"))
    world.open.pop(call)
    assert world.calls(CallKind.HELD_OUT) == []  # not again before the pause is durable
    world.write()
    assert world.record.reason.startswith("held-out: verifier: ")


# ------------------------------------------------------------------------------------------------- the end, and budgets


def test_a_budget_that_is_raised_during_the_gates_stops_them_and_the_search_goes_on() -> None:
    world = World()
    until(world, lambda: bool(world.calls(CallKind.GATE)))
    world.extend(Budget(candidates=6))
    assert world.calls(CallKind.GATE) == []
    world.run_to_the_end()
    assert world.record.spend.candidates == 6
    assert len(world.happened(Promoted)) == 1


def test_a_budget_that_is_raised_while_the_end_is_written_keeps_the_search_going() -> None:
    world = World()
    until(world, lambda: len(world.calls(CallKind.GATE)) == 1)
    world.writes_at_once = False
    world.answer(world.calls(CallKind.GATE)[0])
    world.store.extend_budget("s", lambda record: replace(record.budget, candidates=6))
    world.write()
    world.writes_at_once = True
    world.write()
    assert world.record.state is RUNNING
    world.run_to_the_end()
    assert world.record.spend.candidates == 6
    assert [state for state, _ in world.reasons()] == [FINISHED]


def test_the_time_budget_ends_a_search_while_a_backend_asks_for_a_day() -> None:
    world = asked(parallel_generations=1, budget=Budget(wall_seconds=20.0))
    call = world.place()
    world.fail(call, ResourceExhausted("slow down", retry_after_seconds=86_400.0))
    assert world.record.state is PAUSED
    assert "tries again at 2023-11-15 22:13:20 UTC" in world.record.reason
    world.later(19.0)
    assert world.record.state is PAUSED
    world.later(2.0)
    for number in list(world.looked_up):
        world.tell(m.LookedUp(number, None, known=True))
    world.run_to_the_end()
    assert world.record.state is FINISHED
    assert world.record.reason.startswith("budget used up: wall_seconds")
    assert world.record.spend.reserved_usd_nano == 0
    assert all(c.state.settled for c in world.candidates())


def test_time_in_a_pause_by_the_user_is_not_counted() -> None:
    world = asked(budget=Budget(wall_seconds=20.0))
    world.place()
    world.user(PAUSED)
    world.later(1000.0)
    assert world.machine.wall_seconds == 0.0


def test_money_of_a_request_without_a_result_counts_at_once_and_is_booked_at_the_cancel() -> None:
    world = asked(budget=Budget(usd_nano=1_000_000_000), parallel_generations=1)
    call = world.place()
    broken = Unavailable("broken off", metadata={"calls": "3", "spent_usd": "0.02", "at_risk_usd": "0.3"})
    world.fail(call, broken)
    spend = world.record.spend
    assert (spend.usd_nano, spend.at_risk_usd_nano) == (20_000_000, 300_000_000)
    world.user(CANCELLED)
    for number in list(world.looked_up):
        world.tell(m.LookedUp(number, None, known=True))
    spend = world.record.spend
    assert (spend.usd_nano, spend.at_risk_usd_nano, spend.reserved_usd_nano) == (20_000_000, 300_000_000, 0)


def test_a_request_that_costs_the_whole_budget_without_a_result_is_given_up() -> None:
    world = asked(budget=Budget(usd_nano=1_000_000_000), parallel_generations=1)
    call = world.place()
    for spent in ("0.4", "1.1"):
        world.fail(call, Unavailable("broken off", metadata={"spent_usd": "0", "at_risk_usd": spent}))
        if call in world.waits:
            world.due(call)
    for number in list(world.looked_up):
        world.tell(m.LookedUp(number, None, known=True))
    world.run_to_the_end()
    assert world.record.reason.startswith("budget used up: usd")
    assert world.record.spend.at_risk_usd_nano == 1_100_000_000
    assert len(world.sent) <= 3


def test_the_gates_say_what_they_do_when_they_begin_and_every_ten_seconds() -> None:
    world = World(context=WITH_HELD_OUT)
    until(world, lambda: bool(world.calls(CallKind.GATE)))
    (call,) = world.calls(CallKind.GATE)
    for done in range(60):
        world.later(1.0)
        world.tell(m.Progressed(call, done, 60))
    said = world.happened(GateProgress)
    assert [event.scenarios_done for event in said] == [0, 9, 19, 29, 39, 49, 59]
    assert (said[-1].name, said[-1].tries, said[-1].scenarios_total) == ("determinism", 1, 60)
    world.run_to_the_end()
    assert {event.name for event in world.happened(GateProgress)} == {"determinism"}, "one verification for both"
    assert [gate.name for gate in world.record.gates] == ["held_out", "bootstrap", "determinism", "confirmation"]


@pytest.mark.parametrize("crashed", [False, True])
def test_a_winner_that_an_earlier_best_beats_on_held_out_is_promoted_and_that_is_said(crashed: bool) -> None:
    """Train chooses, held-out has no say; whoever reads the end hears of it."""
    world = World(budget=Budget(candidates=3), context=WITH_HELD_OUT, parallel_generations=1)
    held_out = {0: 0.1, 1: 0.6, 2: 0.5, 3: 0.4}

    def scored(call: m.Call) -> m.Verified:
        made = verification(call.number)
        assert made.held_out is not None
        value = held_out[call.number]
        part = replace(made.held_out, score=value, normalized=value, values={"h1": value, "h2": value})
        return m.Verified(call, replace(made, held_out=part))

    while not world.finished:
        call = next(call for kind in CallKind for call in world.calls(kind))
        if crashed and call.kind is CallKind.GATE:
            crashed = False
            world.crash()
            continue
        world.answer(call, scored(call) if call.kind in (CallKind.HELD_OUT, CallKind.GATE) else None)
    assert world.record.winner_number == 3
    (said,) = world.happened(BetterOnHeldOut)
    assert (said.winner_number, said.winner_normalized, said.number, said.normalized) == (3, 0.4, 1, 0.6)
    assert "candidate 1 is better on held-out (0.6000) than the winner, candidate 3 (0.4000)" in world.record.reason


@pytest.mark.parametrize("rules", [1, 2])
def test_a_candidate_that_is_clearly_worse_on_held_out_than_an_earlier_best_is_passed_over(rules: int) -> None:
    """But not in a search that began before there was such a gate."""
    world = World(budget=Budget(candidates=3), context=replace(WITH_HELD_OUT, rules=rules), parallel_generations=1)
    held_out = {0: (0.1, 0.1), 1: (0.6, 0.6), 2: (0.7, 0.55), 3: (0.4, 0.4)}  # 1 and 2: now this one, now that one

    def scored(call: m.Call) -> m.Verified:
        values = dict(zip(("h1", "h2"), held_out[call.number], strict=True))
        mean = sum(values.values()) / 2
        part = replace(verification(call.number).held_out, score=mean, normalized=mean, values=values)  # type: ignore[type-var]
        return m.Verified(call, replace(verification(call.number), held_out=part))

    while not world.finished:
        call = next(call for kind in CallKind for call in world.calls(kind))
        world.answer(call, scored(call) if call.kind in (CallKind.HELD_OUT, CallKind.GATE) else None)
    assert world.record.winner_number == (3 if rules == 1 else 2)
    asked = [(gate.number, gate.passed) for gate in world.record.gates if gate.name == "earlier_bests"]
    assert asked == ([] if rules == 1 else [(3, False), (2, True)])


@pytest.mark.parametrize("rules", [1, 2])
def test_a_candidate_that_decides_everywhere_as_an_earlier_one_is_told_with_its_number(rules: int) -> None:
    world = World(budget=Budget(candidates=6), context=replace(WITH_HELD_OUT, rules=rules), parallel_generations=1)
    while not world.finished:
        call = next(call for kind in CallKind for call in world.calls(kind))
        same = call.kind is CallKind.VERIFY and call.number in (5, 6)  # in time to know of candidate 1
        world.answer(call, m.Verified(call, verification(1)) if same else None)
    said = {c.number: c.summary for c in world.candidates() if "The same decisions everywhere" in c.summary}
    words = "score 0.201, 20.1% of the bound. The same decisions everywhere as candidate 1:"
    assert said == ({} if rules == 1 else {5: words, 6: words})


def test_what_a_generation_has_cost_so_far_is_seen_while_it_runs() -> None:
    world = asked(parallel_generations=1)
    call = world.place()
    before = world.record.spend.reserved_usd_nano
    world.tell(m.Spent(call, Charge(usd_nano=1_000_000, at_risk_usd_nano=2_000_000)))
    spend = world.record.spend
    assert (spend.usd_nano, spend.at_risk_usd_nano) == (1_000_000, 2_000_000)
    assert spend.reserved_usd_nano == before - 3_000_000
    world.crash()  # and it is known to the next owner
    assert world.record.spend.at_risk_usd_nano == 2_000_000
    world.run_to_the_end()
    assert world.record.spend.at_risk_usd_nano == 0  # the result says what it was


# ---------------------------------------------------------------------------------------------- everything at random


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_in_whatever_order_the_candidates_are_the_same_and_nothing_is_lost(seed: int) -> None:
    calm = World(budget=Budget(candidates=8), context=WITH_HELD_OUT)
    calm.run_to_the_end()
    chance = random.Random(seed)
    world = World(budget=Budget(candidates=8), context=WITH_HELD_OUT)
    for _ in itertools.count():
        if world.finished:
            if world.record.state.ended:
                break
            if world.record.state is PAUSED:
                world.user(RUNNING)
            world.own()
        world.writes_at_once = chance.random() < 0.7
        calls = [call for kind in CallKind for call in world.calls(kind)]
        draw = chance.random()
        if draw < 0.55 and calls:
            world.answer(chance.choice(calls))
        elif draw < 0.65 and calls:
            error = chance.choice([DOWN, Unavailable("away"), NO_KEY])
            call = chance.choice(calls)
            world.fail(call, error)
            if call not in world.waits:
                world.open.pop(call, None)
        elif draw < 0.75 and world.waits:
            world.due(chance.choice(list(world.waits)))
        elif draw < 0.80:
            world.user(chance.choice([PAUSED, RUNNING]))
        elif draw < 0.84:
            world.tell(m.Drain())
        elif draw < 0.88:
            world.crash()
        elif draw < 0.92 and world.record.state is PAUSED:
            world.user(RUNNING)
        else:
            world.write()
    assert [(c.number, c.train, c.plan) for c in world.candidates()] == [
        (c.number, c.train, c.plan) for c in calm.candidates()
    ]
    assert (world.record.winner_number, world.record.spend.usd_nano) == (
        calm.record.winner_number,
        calm.record.spend.usd_nano,
    )
    assert world.record.spend.reserved_usd_nano == 0
    events, ended = world.store.events_after("s", 0, 100_000)
    assert ended
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


def test_a_search_of_many_candidates_is_decided_in_microseconds_an_input() -> None:
    world = World(budget=Budget(candidates=200))
    inputs, handle = 0, world.machine.handle

    def counted(given: m.Input, now: m.Instant) -> list[m.Instruction]:
        nonlocal inputs
        inputs += 1
        return handle(given, now)

    world.machine.handle = counted  # type: ignore[method-assign]
    begin = time.perf_counter()
    world.run_to_the_end()
    assert (time.perf_counter() - begin) / inputs < 0.005  # the store in memory included


@pytest.mark.parametrize("outcome", [GenerationOutcome.REFUSED, GenerationOutcome.NO_CODE, GenerationOutcome.TRUNCATED])
def test_an_answer_without_a_policy_is_a_result(outcome: GenerationOutcome) -> None:
    world = asked()
    call = world.place()
    world.answer(call, m.Generated(call, generation(1, outcome=outcome)))
    assert world.candidates()[1].state is CandidateState.REJECTED
    world.run_to_the_end()
    assert world.record.spend.candidates == 4


def test_a_policy_that_fails_is_a_result() -> None:
    world = asked()
    world.answer(world.place())
    (call,) = world.calls(CallKind.VERIFY)
    world.answer(call, m.Verified(call, verification(1, status=VerdictStatus.POLICY_FAILED)))
    assert world.candidates()[1].status is VerdictStatus.POLICY_FAILED
    world.run_to_the_end()
