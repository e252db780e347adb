"""`quintain notebook`: what a search has learnt, to read, to keep, and to give to another search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController

from quintain.controller.v1 import controller_pb2 as pb

LESSON = "#4 from #1: small [bold]jobs[/] first. Predicted T2 +0.020, measured -0.020: false; mean +0.1250."


@pytest.fixture(autouse=True)
def claimed(controller: FakeController) -> None:
    controller.search.state = pb.SEARCH_STATE_FINISHED
    controller.notebook.lessons.append(LESSON)
    entry = controller.notebook.entries.add(number=4, parent_number=1, hypothesis="small jobs first", change=0.125)
    entry.text = LESSON
    entry.predictions.add(scenario="T2", predicted=0.02, measured=-0.02, outcome="false")
    entry.predictions.add(predicted=0.01)


def test_every_claim_is_shown_as_it_was_written(services: str, quintain: Run) -> None:
    ran = quintain("notebook", "s1")
    assert ran.code == 0
    assert LESSON in ran.out
    assert "1 hypotheses; predictions: 1 false" in ran.out
    assert quintain("notebook", "s1", "--lessons").out.strip() == LESSON


def test_a_search_that_is_shown_says_how_its_claims_ended(services: str, quintain: Run) -> None:
    assert "1 hypotheses; predictions: 1 false: quintain notebook s1" in quintain("show", "s1").out


def test_what_is_written_can_be_carried_by_the_next_search(
    services: str, quintain: Run, controller: FakeController, tmp_path: Path
) -> None:
    assert quintain("notebook", "s1", "--out", "n.json").code == 0
    document = json.loads((tmp_path / "n.json").read_text())
    assert document["entries"][0]["predictions"] == [
        {"scenario": "T2", "predicted": 0.02, "measured": -0.02, "outcome": "false"},
        {"scenario": "", "predicted": 0.01, "outcome": ""},
    ]
    (tmp_path / "own.txt").write_text("never below 4 CPUs\n\nqueries first\n")
    notebooks = ("--notebook", "n.json", "--notebook", "own.txt", "--notebook", "s1")
    quintain("search", "--suite", "smoke", "--candidates", "3", "--hints", *notebooks)
    spec = controller.calls[0].spec
    assert list(spec.carried_lessons) == [f"s1 {LESSON}", "never below 4 CPUs", "queries first", f"s1 {LESSON}"]
    assert spec.hints
    assert quintain("notebook", "s1", "--out", "n.json").code == 2, "it exists"


@pytest.mark.parametrize("text", ['{"entries": []}', '{"lessons": [1]}', "{", "[bold"])
def test_what_is_no_notebook_is_refused(services: str, quintain: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "n.json").write_text(text)
    ran = quintain("search", "--suite", "smoke", "--candidates", "3", "--notebook", "n.json")
    assert (ran.code, "without a list of texts in `lessons`" in ran.err) == (
        (2, True) if text[0] == "{" else (0, False)
    )


def test_a_search_that_there_is_not_is_named(services: str, quintain: Run) -> None:
    ran = quintain("search", "--suite", "smoke", "--candidates", "3", "--notebook", "s9")
    assert ran.code != 0
    assert "s9" in ran.err
