"""Conversations with tools in the machine of a search: a request that goes on is one that was not answered yet."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.controller.machine import World
from tests.unit.controller.toy import CONTEXT

from quintain.errors import Unavailable
from quintain_controller.domain.machine import messages as m
from quintain_controller.domain.machine.messages import CallKind
from quintain_controller.domain.model import (
    AGENT,
    AgentOptions,
    Budget,
    CandidateState,
    Charge,
    SearchState,
    ToolCall,
    ToolUse,
)

BACKENDS = tuple(replace(backend, operators=(*backend.operators, AGENT)) for backend in CONTEXT.backends)
FIRST = ToolUse(ToolCall("1.0", "run", "{}"), "it ran", False, runs=1, seconds=2.0)
SECOND = ToolUse(ToolCall("2.0", "note", "{}"), "Noted.", False, runs=0, seconds=0.0)
SPENT = Charge(usd_nano=10_000_000)


def conversing(**given: object) -> World:
    """A search whose one conversation was asked for."""
    world = World(
        **{  # type: ignore[arg-type]
            "context": replace(CONTEXT, backends=BACKENDS),
            "agent": AgentOptions(max_turns=5, max_runs=3, max_seconds=30.0),
            "parallel_generations": 1,
            "window": 1,
            **given,
        }
    )
    world.answer_all([CallKind.VERIFY])
    return world


def use_tools(world: World, *uses: ToolUse) -> None:
    call = world.place()
    world.answer(call, m.ToolsUsed(call, SPENT, uses))


def test_what_tools_said_is_durable_before_the_request_is_sent_again() -> None:
    world = conversing()
    world.writes_at_once = False
    use_tools(world, FIRST)
    assert world.calls(CallKind.GENERATE) == []
    world.write()
    assert world.sent == [1, 1]
    assert world.store.candidate("s", 1).tools == (FIRST,)
    spend = world.record.spend
    assert (spend.usd_nano, spend.tool_runs, spend.tool_seconds) == (10_000_000, 1, 2.0)
    assert (spend.reserved_tool_runs, spend.reserved_tool_seconds) == (2, 28.0)


def test_the_result_keeps_what_the_tools_used() -> None:
    world = conversing(budget=Budget(candidates=1))
    use_tools(world, FIRST)
    use_tools(world, FIRST, SECOND)
    world.run_to_the_end()
    (candidate,) = [c for c in world.candidates() if c.number == 1]
    assert candidate.state is CandidateState.VERIFIED
    assert (candidate.charge.tool_runs, candidate.charge.tool_seconds) == (1, 2.0)
    spend = world.record.spend
    assert (spend.verifications, spend.tool_runs, spend.reserved_tool_runs) == (3, 1, 0)


def test_a_pause_holds_between_two_turns_and_a_resume_goes_on() -> None:
    world = conversing()
    call = world.place()
    world.user(SearchState.PAUSED)
    world.answer(call, m.ToolsUsed(call, SPENT, (FIRST,)))
    assert world.calls(CallKind.GENERATE) == []
    assert world.finished
    assert world.store.candidate("s", 1).tools == (FIRST,)
    world.store.change_state("s", SearchState.RUNNING, "")
    world.own()
    assert world.sent == [1]  # by the new owner


def test_a_drain_hands_over_between_two_turns() -> None:
    world = conversing()
    call = world.place()
    world.tell(m.Drain())
    assert not world.finished
    world.answer(call, m.ToolsUsed(call, SPENT, (FIRST,)))
    assert world.finished
    world.own()
    assert world.sent == [1]


def test_a_crash_before_the_write_runs_the_tools_again_and_counts_them_once() -> None:
    world = conversing()
    world.writes_at_once = False
    use_tools(world, FIRST)
    world.crash()
    assert world.store.candidate("s", 1).tools == ()
    use_tools(world, FIRST)
    assert world.record.spend.tool_runs == 1


def test_a_verifier_that_is_away_is_waited_for_and_is_not_the_backend() -> None:
    world = conversing()
    call = world.place()
    world.placed.discard(call)
    world.tell(m.Troubled(call, Unavailable("no workers"), by_verifier=True))
    assert call in world.waits
    assert world.record.spend.usd_nano == 0
    world.due(call)
    use_tools(world, FIRST)
    assert world.record.state is SearchState.RUNNING


def test_a_cancel_books_the_turns_and_the_tools() -> None:
    world = conversing()
    use_tools(world, FIRST)
    world.user(SearchState.CANCELLED)
    for number in list(world.looked_up):
        world.tell(m.LookedUp(number, None, known=True, spent=Charge(usd_nano=20_000_000)))
    spend = world.record.spend
    assert (spend.usd_nano, spend.tool_runs, spend.tool_seconds) == (20_000_000, 1, 2.0)
    assert (spend.reserved_usd_nano, spend.reserved_tool_runs, spend.reserved_tool_seconds) == (0, 0, 0.0)


def test_a_conversation_that_was_begun_is_finished_when_the_time_is_over() -> None:
    world = conversing(budget=Budget(wall_seconds=20.0))
    use_tools(world, FIRST)
    world.later(30.0)
    assert world.looked_up == []
    use_tools(world, FIRST, SECOND)
    world.run_to_the_end()
    assert world.record.state is SearchState.FINISHED
    assert world.store.candidate("s", 1).candidate.state is CandidateState.VERIFIED


def test_but_nothing_waits_for_a_backend_beyond_the_time() -> None:
    world = conversing(budget=Budget(wall_seconds=20.0))
    use_tools(world, FIRST)
    call = world.place()
    world.fail(call, Unavailable("circuit open", reason="BACKEND_DOWN", retry_after_seconds=86_400.0))
    world.later(30.0)
    for number in list(world.looked_up):
        world.tell(m.LookedUp(number, None, known=True, spent=SPENT))
    world.run_to_the_end()
    assert world.record.state is SearchState.FINISHED
    rejected = world.store.candidate("s", 1).candidate
    assert rejected.state is CandidateState.REJECTED
    assert (rejected.charge.usd_nano, rejected.charge.tool_runs) == (10_000_000, 1)
