"""What a person reads on a terminal of 80 and of 140 columns: no line is wider, and no column is blank."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController, FakeVerifier, scored
from tests.unit.cli.test_search import finished
from tests.unit.cli.test_verify import failed_verdict, good_verdict

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain_cli import render

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LONG = "every class waits in a queue of its own, and whoever waited longest goes first. " * 4
WIDTHS = pytest.mark.parametrize("width", [80, 140])


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> int:
    monkeypatch.setattr(render.out, "width", width)
    monkeypatch.setattr(render.out, "_force_terminal", True)
    return width


def lines_of(text: str) -> list[str]:
    return [line.rstrip() for line in re.split(r"[\r\n]+", CONTROL.sub("", text))]


def check(text: str, width: int, *words: str) -> None:
    lines = lines_of(text)
    assert [line for line in lines if cell_len(line) > width] == []
    whole = re.sub(r"[\s│]+", " ", " ".join(lines))
    for word in words:
        assert word in whole, text


@pytest.fixture
def searched(controller: FakeController) -> FakeController:
    """A search whose every text is long."""
    finished(controller)
    controller.search.stop_reason = f"stopped: {LONG}"
    del controller.search.gates[:]
    for number in (1, 2):
        controller.search.gates.add(name="bootstrap", detail=LONG, candidate_id=f"s1.{number}")
    said = f"score 1.2, 50.0% of the bound. {LONG}"
    controller.candidates += [
        scored(n, 1.2, [2], summary=said, backend="a-model-of-a-provider", operator=generator_pb2.OPERATOR_CROSSOVER)
        for n in range(3, 120)
    ]
    controller.candidates[7].summary.verdict_status = 0
    controller.candidates[7].summary.state = pb.CANDIDATE_STATE_REJECTED
    return controller


@WIDTHS
def test_a_search(services: str, quintain: Run, searched: FakeController, terminal: int) -> None:
    ran = quintain("search", "--suite", "smoke", "--candidates", "3", "--title", LONG)
    check(ran.out, terminal, "best found, #2", "gate bootstrap of #1 not passed: every class", "winner: #2")


@WIDTHS
def test_a_shown_search(services: str, quintain: Run, searched: FakeController, terminal: int) -> None:
    out = quintain("show", "s1", "--candidates").out
    check(out, terminal, "a-model-of-a-provider", "gate bootstrap of #2 not passed: every class")
    rows = [line for line in lines_of(out) if re.match(r"[│ ]*119 ", line)]
    assert len(rows) == 1
    assert "of the bound" not in rows[0]  # the score has a column of its own
    header = next(line for line in lines_of(out) if "parents" in line)
    assert "cost" not in header  # nothing was paid


@WIDTHS
def test_a_comparison(services: str, quintain: Run, verifier: FakeVerifier, tmp_path: Path, terminal: int) -> None:
    verifier.verdict = failed_verdict()
    verifier.verdict.scenarios[0].scenario = "a-day-in-november-with-query-storms-of-many-tenants"
    mine, theirs = (tmp_path / name for name in ("the-policy-of-mine.py", "the-policy-of-theirs.py"))
    for path in (mine, theirs):
        path.write_text("# a policy\n")
    out = quintain("compare", str(mine), str(theirs), "--suite", "smoke").out
    check(out, terminal, "the-policy-of-mine.py and the-policy-of-theirs.py are equal everywhere")


@WIDTHS
@pytest.mark.parametrize("verdict", [good_verdict(), failed_verdict()], ids=["good", "failed"])
def test_a_verdict(
    services: str, quintain: Run, verifier: FakeVerifier, policy: str, terminal: int, verdict: object
) -> None:
    verifier.verdict = verdict  # type: ignore[assignment]
    verifier.verdict.scenarios[0].scenario = "a-day-in-november-with-query-storms-of-many-tenants"
    verifier.verdict.scenarios[0].failure.message = LONG
    check(quintain("verify", policy, "--suite", "smoke").out, terminal, "a-day-in-november", "whoever waited longest")
