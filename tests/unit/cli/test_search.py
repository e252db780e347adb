"""`quintain search` and the commands on searches."""

from __future__ import annotations

import json
import signal

import pytest
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController, scored

from quintain.controller.v1 import controller_pb2 as pb
from quintain.type.v1 import type_pb2


def test_a_role_that_there_is_not_is_refused_with_those_that_there_are(services: str, quintain: Run) -> None:
    for text, said in (("a=boss", "'boss' is none of main, strong, sweep"), ("a", "'a' is not key=value")):
        ran = quintain("search", "--suite", "smoke", "--candidates", "3", "--backend", "a", "--role", text)
        assert ran.code == 2
        assert said in ran.err


def finished(controller: FakeController) -> None:
    controller.candidates = [scored(0, 0.25), scored(1, 1.2, [0]), scored(2, 2.0, [1])]
    search = controller.search
    search.state = pb.SEARCH_STATE_FINISHED
    search.stop_reason = "the budget is used up"
    search.direction = type_pb2.DIRECTION_MAXIMIZE
    search.objective.name = "throughput"
    search.best.CopyFrom(controller.candidates[2].summary)
    search.best.held_out_score, search.best.held_out_baseline_score = 1.5, 0.5
    search.winner.CopyFrom(search.best)
    search.gates.add(name="held_out", passed=True, detail="fine")
    controller.events = [
        pb.Event(sequence=1, state_changed=pb.StateChanged(state=pb.SEARCH_STATE_RUNNING)),
        pb.Event(sequence=2, new_best=pb.NewBest(candidate=controller.candidates[2].summary)),
        pb.Event(
            sequence=3,
            state_changed=pb.StateChanged(state=pb.SEARCH_STATE_FINISHED, reason="the budget is used up"),
        ),
    ]
    search.last_sequence = 0


def test_a_search_ends_in_a_table_of_baseline_best_bound_and_held_out(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    ran = quintain("search", "--suite", "smoke", "--candidates", "3")
    assert ran.code == 0
    assert "#2 new best 2 (+700.0 %)" in ran.out
    for expected in ("baseline fifo", "best found, #2", "+700.0 %", "83.3 %", "+200.0 %", "provable bound"):
        assert expected in ran.out
    assert "winner: #2" in ran.out
    assert ran.out.count("the budget is used up") == 1, "the event and the outcome say the same end"
    assert "gate held-out passed: fine" in ran.out


def test_every_option_reaches_the_spec(services: str, quintain: Run, controller: FakeController) -> None:
    finished(controller)
    quintain(
        "search", "--simulator", "cache", "--suite", "big", "--strategy", "tree", "--option", "islands=3",
        "--option", "name=x", "--backend", "a", "--backend", "b", "--role", "b=strong", "--usd", "1.5",
        "--objective", "throughput", "--objective", "latency:min",
        "--minutes", "2", "--seed", "7",
    )  # fmt: skip
    spec = controller.calls[0].spec
    assert (spec.simulator, spec.suite, spec.strategy, list(spec.backends)) == ("cache", "big", "tree", ["a", "b"])
    assert (spec.objective, list(spec.further_objectives)) == ("throughput", ["latency:min"])
    assert dict(spec.backend_roles) == {"b": pb.BACKEND_ROLE_STRONG}
    assert dict(spec.strategy_options) == {"islands": 3.0, "name": "x"}
    assert spec.budget == pb.Budget(usd=1.5, wall_seconds=120.0)
    assert spec.seed == 7
    assert controller.calls[0].request_id


def test_a_search_without_a_budget_is_refused_before_anything_starts(quintain: Run) -> None:
    ran = quintain("search")
    assert ran.code == 2
    assert "give at least one of --candidates" in ran.err


def test_an_option_without_a_value_is_refused(services: str, quintain: Run) -> None:
    ran = quintain("search", "--candidates", "1", "--option", "islands")
    assert ran.code == 2
    assert "option: 'islands' is not key=value" in ran.err


@pytest.mark.parametrize("option", ["--seed", "--candidates", "--verifications", "--tokens", "--parallel-generations"])
def test_a_number_that_no_message_holds_is_refused(quintain: Run, option: str) -> None:
    ran = quintain("search", "--candidates", "1", option, "9" * 30)
    assert ran.code == 2
    assert f"Invalid value for '{option}'" in ran.err


def test_json_gives_every_event_and_then_the_search(services: str, quintain: Run, controller: FakeController) -> None:
    finished(controller)
    lines = [json.loads(line) for line in quintain("search", "--candidates", "3", "--json").out.splitlines()]
    assert [line.get("sequence") for line in lines] == [1, 2, 3, None]
    assert lines[-1]["state"] == "SEARCH_STATE_FINISHED"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_is_paused_and_says_how_to_go_on(
    services: str, quintain: Run, controller: FakeController, signum: signal.Signals
) -> None:
    controller.interrupt_when_watched(signum)
    ran = quintain("search", "--candidates", "3")
    assert ran.code == 130
    assert [type(call) for call in controller.calls] == [pb.CreateSearchRequest, pb.PauseSearchRequest]
    assert "quintain search --resume s1" in ran.err


def test_resume_extends_the_budget_and_resumes(services: str, quintain: Run, controller: FakeController) -> None:
    finished(controller)
    controller.search.state = pb.SEARCH_STATE_PAUSED
    ran = quintain("search", "--resume", "s1", "--candidates", "99")
    assert ran.code == 0
    assert controller.search.spec.budget.candidates == 99
    assert isinstance(controller.calls[-1], pb.ResumeSearchRequest)


def test_a_search_that_pauses_for_a_person_ends_the_command_with_its_reason(
    services: str, quintain: Run, controller: FakeController
) -> None:
    controller.needs_person("generator: AUTHENTICATION_FAILED")
    ran = quintain("search", "--candidates", "3")
    assert ran.code == 1
    assert ran.out.count("paused: generator: AUTHENTICATION_FAILED") == 1
    assert "go on with: quintain search --resume s1" in ran.out


def test_a_search_that_waits_for_its_backend_is_followed_on(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    down = pb.BackendTrouble(backend="llm", reason="circuit open", search_paused=True)
    controller.events = [
        pb.Event(sequence=1, backend_trouble=down),
        pb.Event(sequence=2, state_changed=pb.StateChanged(state=pb.SEARCH_STATE_PAUSED, reason="llm is down")),
        pb.Event(sequence=3, state_changed=pb.StateChanged(state=pb.SEARCH_STATE_RUNNING, reason="llm is back")),
        pb.Event(sequence=4, state_changed=pb.StateChanged(state=pb.SEARCH_STATE_FINISHED)),
    ]
    ran = quintain("search", "--candidates", "3")
    assert ran.code == 0
    assert "llm is back" in ran.out


def test_show_lists_every_candidate_over_all_pages(services: str, quintain: Run, controller: FakeController) -> None:
    finished(controller)
    out = quintain("show", "s1", "--candidates").out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("│ ") and "seed" in line] == ["0", "1", "2"]


def test_best_writes_where_a_policy_comes_from(services: str, quintain: Run, controller: FakeController) -> None:
    finished(controller)
    text = quintain("best", "s1").out
    assert text.endswith("\n# policy 2\n")
    assert "# Found by quintain, search s1, candidate 2 (s1.2)" in text
    assert f"# verdict {2:064x}" in text
    assert "# train 2.0 (baseline 0.25, +700.0 %)" in text
    assert "# gates: all passed (held_out)" in text


def test_a_file_that_cannot_be_written_is_named(services: str, quintain: Run, controller: FakeController) -> None:
    finished(controller)
    ran = quintain("best", "s1", "--out", "/nowhere/best.py")
    assert (ran.code, ran.err) == (2, "error: /nowhere/best.py: No such file or directory\n")


def test_best_of_an_unknown_format_lists_the_known(services: str, quintain: Run) -> None:
    ran = quintain("best", "s1", "--format", "yaml")
    assert ran.code == 2
    assert "known are: quintain, eudoxia" in ran.err


def test_a_candidate_number_that_does_not_exist_is_not_found(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    ran = quintain("prompt", "s1", "9")
    assert ran.code == 2
    assert "search s1 has no candidate 9; it has 3, from 0" in ran.err


def test_prompt_shows_exactly_what_was_sent(services: str, quintain: Run, controller: FakeController) -> None:
    finished(controller)
    generation = controller.candidates[1].generation
    generation.backend, generation.response_text = "llm", "the [bold]answer[/]"
    generation.prompt.add(role="system", content="Write a [red]policy[/].", cache_breakpoint=True)
    out = quintain("prompt", "s1", "1").out
    assert "system (cache breakpoint)" in out
    assert "Write a [red]policy[/]." in out
    assert "the [bold]answer[/]" in out
