"""Conversations with tools on the command line: asked for, shown, counted."""

from __future__ import annotations

from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController
from tests.unit.cli.test_search import finished

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2

CALL = generator_pb2.ToolCall(
    call_id="1.0", name="run", arguments_json='{"policy": "a = 1\\nb = 2\\n", "scenarios": ["t1"]}'
)
RESULT = generator_pb2.ToolResult(call_id="1.0", content="It ran to [the] end.")


def test_a_search_asks_for_conversations_within_bounds(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    quintain("search", "--candidates", "3", "--agent", "--agent-runs", "5", "--usd-per-candidate", "0.2")
    spec = controller.calls[0].spec
    assert spec.agent == pb.AgentOptions(max_runs=5)
    assert spec.allowance.max_cost_usd == 0.2
    quintain("search", "--candidates", "3")
    assert not controller.calls[1].spec.HasField("agent")
    ran = quintain("search", "--candidates", "3", "--agent-turns", "4")
    assert ran.code == 2
    assert "had with --agent" in ran.err


def test_a_prompt_shows_each_turn_with_its_tools(services: str, quintain: Run, controller: FakeController) -> None:
    finished(controller)
    generation = controller.candidates[1].generation
    generation.prompt.add(role="user", content="Try first.")
    turn = generation.turns.add(text="I try.", tool_calls=[CALL], tool_results=[RESULT], message="Submit now.")
    turn.tool_calls.add(call_id="1.1", name="fly", arguments_json="{")
    turn.tool_results.add(call_id="1.1", content="there is no tool 'fly'", failed=True)
    out = quintain("prompt", "s1", "1").out
    lines = [line.rstrip() for line in out.splitlines()]
    for line in ("I try.", "run (1.0)", "    a = 1", 'scenarios: ["t1"]', "It ran to [the] end.", "fly (1.1)",
                 "arguments: {", "refused", "there is no tool 'fly'", "Submit now."):  # fmt: skip
        assert line in lines, line


def test_a_conversation_that_goes_on_is_shown_as_far_as_it_is(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    one = controller.candidates[1]
    one.ClearField("generation")
    one.tool_uses.add(call=CALL, result=RESULT, runs=1, seconds=2.5)
    out = quintain("prompt", "s1", "1").out
    assert "its conversation goes on" in out
    assert "It ran to [the] end." in out


def test_a_candidate_shows_the_tools_that_its_model_called(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    one = controller.candidates[1]
    one.summary.cost.usd = 0.25
    one.generation.turns.add()
    one.generation.turns.add()
    for seconds in (2.5, 1.0):
        one.tool_uses.add(call=CALL, result=RESULT, runs=1, seconds=seconds)
    one.tool_uses.add(call=generator_pb2.ToolCall(name="source"), result=generator_pb2.ToolResult(failed=True))
    out = quintain("show", "s1", "1").out
    assert "conversation: 2 turns, 2 runs, 3.5 s of the verifier, $0.2500" in out
    cells = [[cell for cell in line.split() if cell != "│"] for line in out.splitlines()]
    assert ["run", "2", "2", "3.5"] in cells
    assert ["source", "1", "1"] in cells


def test_runs_by_tools_are_part_of_what_was_spent(services: str, quintain: Run, controller: FakeController) -> None:
    finished(controller)
    controller.search.spend.verifications, controller.search.spend.tool_runs = 9, 6
    controller.search.spend.tool_seconds = 75.0
    assert "9 verifications (6 by tools, 1 min 15 s)" in quintain("show", "s1").out
