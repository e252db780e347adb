"""What people get wrong on the command line, and what they are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController, FakeVerifier
from tests.unit.cli.test_search import finished
from tests.unit.cli.test_verify import good_verdict

from quintain.controller.v1 import controller_pb2 as pb
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import render


def test_a_policy_saved_with_a_byte_order_mark_is_the_policy_without_it(
    services: str, quintain: Run, verifier: FakeVerifier, tmp_path: Path
) -> None:
    verifier.verdict = good_verdict()
    policy = tmp_path / "windows.py"
    policy.write_bytes(b"\xef\xbb\xbf# a policy\n")
    quintain("verify", str(policy), "--suite", "smoke")
    assert verifier.requests[0].policy.source == "# a policy\n"


def test_a_policy_that_fails_in_process_is_told_like_one_in_the_sandbox(quintain: Run, tmp_path: Path) -> None:
    policy = tmp_path / "broken.py"
    policy.write_text("x = 1\ny = )\n")
    ran = quintain("simulate", str(policy), "--scenario", "smoke_steady")
    assert ran.code == 1
    assert "load at line 2: SyntaxError: unmatched ')'" in ran.out


@pytest.mark.parametrize("command", ["backends", "up"])
def test_a_configuration_folder_that_is_named_and_not_there_is_refused(
    quintain: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("QUINTAIN_CONFIG", "/no/such/folder")
    ran = quintain(command)
    assert ran.code == 2
    assert ran.err.startswith("error: QUINTAIN_CONFIG: /no/such/folder is no folder")


def test_a_policy_to_begin_with_that_fails_is_said(services: str, quintain: Run, controller: FakeController) -> None:
    finished(controller)
    seed = pb.CandidateSummary(
        number=0,
        state=pb.CANDIDATE_STATE_VERIFIED,
        verdict_status=verifier_pb2.VERDICT_STATUS_POLICY_FAILED,
        summary="load at line 36: SyntaxError",
    )
    controller.events.insert(1, pb.Event(sequence=2, candidate_changed=pb.CandidateChanged(candidate=seed)))
    ran = quintain("search", "--candidates", "3")
    assert "#0 policy failed: load at line 36: SyntaxError" in ran.out


def test_the_outcome_fits_a_terminal_of_eighty_columns_without_cutting_words(
    services: str, quintain: Run, controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(controller)
    controller.search.objective.unit = "containers/s"
    controller.search.best.number = controller.search.winner.number = 156
    monkeypatch.setattr(render.out, "width", 80)
    ran = quintain("show", "s1")
    headers = " ".join(line for line in ran.out.splitlines() if line.startswith("┃"))
    for word in ("throughput", "(containers/s)", "better", "bound", "held-out"):
        assert f" {word} " in headers
    assert " +700.0 % " in ran.out
