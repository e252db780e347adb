"""What a person is told of a search's outcome, of one candidate, and of what a command waits for."""

from __future__ import annotations

import errno
import io
import os
import time
from pathlib import Path

import pytest
from rich.console import Console
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController, FakeVerifier, scored
from tests.unit.cli.test_search import finished
from tests.unit.cli.test_verify import failed_verdict, good_verdict

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import connect, files, live, render

REJECTED = pb.CANDIDATE_STATE_REJECTED


def generated(number: int, state: pb.CandidateState, **fields: object) -> pb.Candidate:
    summary = pb.CandidateSummary(
        candidate_id=f"s1.{number}",
        number=number,
        state=state,
        operator=generator_pb2.OPERATOR_FULL,
        **fields,  # type: ignore[arg-type]
    )
    return pb.Candidate(summary=summary)


def test_a_winner_that_another_beats_on_held_out_is_said_with_the_others_number(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    controller.candidates[1].summary.held_out_score = 1.75
    out = quintain("show", "s1").out
    assert "#1 is better on held-out (1.75) than the winner (1.5)" in out
    controller.candidates[1].summary.held_out_score = 1.25
    assert "is better on held-out" not in quintain("show", "s1").out


def test_of_several_objectives_the_front_is_shown_and_one_chooses_afterwards(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    controller.search.further_objectives.add(name="cost", metric="cost", direction=type_pb2.DIRECTION_MINIMIZE)
    for number, cost in enumerate((5.0, 1.0, 3.0)):
        controller.candidates[number].summary.further_values.append(cost)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in quintain("show", "s1").out.splitlines()]
    assert [row for row in rows if row[:1] in (["#0"], ["#1"], ["#2"])] == [
        ["#2", "2", "3", "winner"],
        ["#1", "1.2", "1", ""],
    ]
    chosen = quintain("best", "s1", "--prefer", "cost")
    assert "# policy 1" in chosen.out
    assert "not promoted" in chosen.out
    assert "# policy 2" in quintain("best", "s1", "--prefer", "throughput").out
    assert (
        "'speed' is no objective of search s1; it has throughput, cost"
        in quintain("best", "s1", "--prefer", "speed").err
    )
    refused = quintain("best", "s1", "--prefer", "cost", "--candidate", "1")
    assert "--prefer or --candidate, not both" in refused.err


def test_of_several_backends_it_is_told_what_each_cost_and_returned(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    controller.search.spec.backends.extend(["gpt", "offline"])
    for number, backend, usd in ((1, "gpt", 0.25), (2, "offline", 0.0)):
        controller.candidates[number].summary.backend = backend
        controller.candidates[number].summary.cost.usd = usd
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in quintain("show", "s1").out.splitlines()]
    assert ["gpt", "1", "$0.2500", "1", "+39.6 %"] in rows
    assert ["offline", "1", "$0.00", "1", "+33.3 %"] in rows


@pytest.mark.parametrize(
    ("candidates", "told"),
    [
        ([], "no candidate was generated"),
        (
            [
                generated(n, pb.CANDIDATE_STATE_REJECTED, generation_outcome=generator_pb2.OUTCOME_NO_CODE)
                for n in (1, 2)
            ],
            "no candidate held a policy that could be verified (2 no code)",
        ),
        (
            [
                generated(
                    n,
                    pb.CANDIDATE_STATE_VERIFIED,
                    verdict_status=verifier_pb2.VERDICT_STATUS_POLICY_FAILED,
                    summary="load at line 1: SyntaxError",
                )
                for n in (1, 2)
            ],
            "all 2 candidates failed; most often: load at line 1: SyntaxError",
        ),
    ],
    ids=["none", "no code", "all failed"],
)
def test_a_search_without_a_winner_says_what_became_of_its_candidates(
    services: str, quintain: Run, controller: FakeController, candidates: list[pb.Candidate], told: str
) -> None:
    controller.search.state = pb.SEARCH_STATE_FINISHED
    controller.candidates = [scored(0, 0.25), *candidates]
    assert f"no winner: {told}" in quintain("show", "s1").out


def test_one_candidate_is_shown_with_how_it_was_made_its_verdict_and_its_source(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    one = controller.candidates[2]
    one.summary.operator = generator_pb2.OPERATOR_CROSSOVER
    one.summary.backend = "llm"
    one.summary.cost.usd = 0.03
    one.summary.usage.input_tokens, one.summary.usage.output_tokens = 12_000, 800
    one.verdict.CopyFrom(good_verdict())
    out = quintain("show", "s1", "2").out
    assert "#2 crossover, from #1, by llm, $0.0300, 12,000 tokens in (0 cached), 800 out" in out
    assert "floor broken: query_completions 7 < 10" in out
    assert "# policy 2" in out


def test_a_prompt_says_how_the_candidate_was_made(services: str, quintain: Run, controller: FakeController) -> None:
    finished(controller)
    one = controller.candidates[1]
    one.summary.operator = generator_pb2.OPERATOR_DIFF
    one.summary.backend = "llm"
    one.generation.prompt.add(role="user", content="write a policy")
    assert quintain("prompt", "s1", "1").out.startswith("#1 diff, from #0, by llm, $0.00\n")


def test_a_comparison_names_its_files(services: str, quintain: Run, verifier: FakeVerifier, tmp_path: Path) -> None:
    verifier.verdict = failed_verdict()
    for name in ("mine.py", "theirs.py"):
        (tmp_path / name).write_text("# a policy\n")
    out = quintain("compare", str(tmp_path / "mine.py"), str(tmp_path / "theirs.py"), "--suite", "smoke").out
    assert "train: theirs.py - mine.py" in out
    assert "mine.py rejected overallocated_cpu" in out
    assert "mine.py and theirs.py are equal everywhere" in out


def test_a_file_that_exists_is_overwritten_by_force_alone(
    services: str, quintain: Run, controller: FakeController, tmp_path: Path
) -> None:
    finished(controller)
    mine = tmp_path / "policy.py"
    mine.write_text("my work\n")
    refused = quintain("best", "s1", "--out", str(mine))
    assert refused.code == 2
    assert refused.err == f"error: {mine} exists already; --force overwrites it\n"
    assert mine.read_text() == "my work\n"
    assert quintain("best", "s1", "--out", str(mine), "--force").code == 0
    assert mine.read_text().startswith("# Found by quintain")
    assert "--out best-s1.py" in quintain("show", "s1").out


def test_a_full_disk_leaves_no_piece_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(io.BytesIO):
        def write(self, _data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", lambda handle, _mode: os.close(handle) or FullDisk())
    with pytest.raises(OSError, match=r"No space left on device: '.*policy.py'"):
        files.write_file(tmp_path / "policy.py", "text")
    assert list(tmp_path.iterdir()) == []


def at(event: pb.Event, seconds_ago: float) -> pb.Event:
    event.at.FromSeconds(int(time.time() - seconds_ago))
    return event


def test_what_a_search_waits_for_is_said_with_how_long_it_has_taken() -> None:
    progress = live.SearchProgress(pb.Search(search_id="s1", state=pb.SEARCH_STATE_RUNNING))
    progress.search.spec.budget.candidates = 1
    for number, state in ((1, pb.CANDIDATE_STATE_REQUESTED), (2, pb.CANDIDATE_STATE_GENERATED)):
        changed = pb.CandidateChanged(candidate=generated(number, state).summary)
        progress.take(at(pb.Event(candidate_changed=changed), 90))
    assert progress.waits_for().startswith("waiting for 1 answer (for 1 min 3")
    assert " and 1 verdict (for 1 min 3" in progress.waits_for()
    in_batch = generated(3, pb.CANDIDATE_STATE_REQUESTED).summary
    in_batch.summary = "in its provider's batch"
    progress.take(at(pb.Event(candidate_changed=pb.CandidateChanged(candidate=in_batch)), 7200))
    assert "1 answer (for 1 min 3" in progress.waits_for()
    assert "1 answer in its provider's batch (for 2 h 00 min)" in progress.waits_for()
    trouble = pb.BackendTrouble(backend="llm", reason="429, again in 86400 s", search_paused=True)
    progress.take(pb.Event(backend_trouble=trouble))
    assert progress.waits_for() == "waiting for a backend: llm: 429, again in 86400 s"
    for number in (1, 2, 3):
        done = pb.CandidateChanged(candidate=generated(number, pb.CANDIDATE_STATE_VERIFIED).summary)
        progress.take(pb.Event(candidate_changed=done, spend=pb.Spend(candidates=1)))
    assert progress.waits_for() == "the best candidates go through the gates"
    assert "left" not in progress.headline()
    gate = pb.GateProgress(
        name="held_out", candidate_id="s1.7", tries=2, most_tries=5, scenarios_done=3, scenarios_total=24
    )
    progress.take(pb.Event(gate_progress=gate, spend=pb.Spend(candidates=1)))
    assert progress.waits_for() == "gate held-out of #7, candidate 2 of at most 5: 3 of 24 scenarios"
    progress.controller_trouble = connect.NOT_READY["controller"]
    assert "disk full" in progress.waits_for()


def test_columns_that_say_nothing_are_left_out() -> None:
    rows = render.table("scenario", "bound", "value", "")
    rows.add_row("steady", "-", "1.0", "")
    written = io.StringIO()
    Console(width=80, file=written).print(rows)
    assert "bound" not in written.getvalue()
    assert "│ steady   │ 1.0   │" in written.getvalue()


def test_what_a_budget_is_good_for_is_said_as_the_search_begins(
    services: str, quintain: Run, controller: FakeController
) -> None:
    finished(controller)
    controller.estimate = pb.SearchEstimate(candidates=3, usd=0.12, seconds=90, warnings=["3 candidates are no search"])
    err = quintain("search", "--candidates", "3").err
    assert "estimate: about 3 candidates, $0.1200, 1 min 30 s\n3 candidates are no search\n" in err


def test_an_earlier_best_that_is_better_on_held_out_is_said_while_it_is_watched() -> None:
    better = pb.BetterOnHeldOut(
        winner_candidate_id="s1.9", winner_held_out_normalized=0.5, candidate_id="s1.4", held_out_normalized=0.75
    )
    line = live.event_line(pb.Event(better_on_held_out=better), 0)
    assert line == "[yellow]#4 is better on held-out[/] (75.0 % of the bound) than the winner (50.0 %)"
