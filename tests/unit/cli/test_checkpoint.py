"""A fit that was interrupted: what is gone on with, and what begins anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.systems import SYSTEM
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController, scored

from quintain.controller.v1 import controller_pb2 as pb

RECORDING = [
    {"recording": 1, "system": "counter", "policy": "fifo", "config": {"slots": 2}, "duration": 9.0},
    {"time": 1.0, "input": "job", "id": 1},
    {"time": 1.0, "event": "started", "job": 1},
    {"time": 2.0, "event": "done", "job": 1},
]


@pytest.fixture(autouse=True)
def folder(services: str, tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    (folder / "recordings").mkdir(parents=True)
    system = SYSTEM.replace(', seconds = { type = "float", min = 0.0, hidden = true }', "")
    (folder / "system.toml").write_text(system.replace('bound = "job_seconds_mean"\n', ""), encoding="utf-8")
    (folder / "recordings" / "monday.jsonl").write_text("\n".join(map(json.dumps, RECORDING)), encoding="utf-8")
    return folder


def created(controller: FakeController) -> list[str]:
    return [call.request_id for call in controller.calls if isinstance(call, pb.CreateSearchRequest)]


def interrupted(quintain: Run, controller: FakeController, *options: str) -> None:
    """A fit whose search pauses, as after Ctrl-C."""
    controller.needs_person("no key")
    assert quintain("fit", "log", *options).code == 1


def test_a_fit_goes_on_with_the_search_that_it_had_begun(
    quintain: Run, controller: FakeController, folder: Path
) -> None:
    interrupted(quintain, controller)
    assert (folder / ".fit.json").is_file()
    assert quintain("fit", "log").code != 0, "the fake has no candidate"
    assert len(created(controller)) == 1
    assert [call.search_id for call in controller.calls if isinstance(call, pb.ResumeSearchRequest)] == ["s1"]


@pytest.mark.parametrize("changed", ["options", "recordings", "cancelled"])
def test_a_fit_begins_anew_if_something_else_is_asked_for(
    quintain: Run, controller: FakeController, folder: Path, changed: str
) -> None:
    interrupted(quintain, controller)
    if changed == "recordings":
        (folder / "recordings" / "tuesday.jsonl").write_bytes((folder / "recordings" / "monday.jsonl").read_bytes())
    if changed == "cancelled":
        controller.search.state = pb.SEARCH_STATE_CANCELLED
    ran = quintain("fit", "log", *(["--seed", "3"] if changed == "options" else []))
    first, second = created(controller)
    assert first != second
    assert ("it begins anew (searches begun before: s1)" in " ".join(ran.err.split())) == (changed != "cancelled")


def test_a_model_that_is_there_is_not_overwritten_by_a_fit_that_did_not_write_it(
    quintain: Run, controller: FakeController, folder: Path
) -> None:
    (folder / "model.py").write_text("mine", encoding="utf-8")
    ran = quintain("fit", "log")
    assert (ran.code, "--force" in ran.err, created(controller)) == (2, True, [])


def test_a_checkpoint_that_cannot_be_read_is_named(quintain: Run, folder: Path) -> None:
    (folder / ".fit.json").write_text("{", encoding="utf-8")
    ran = quintain("fit", "log")
    assert ran.code == 2
    assert "log/.fit.json is no checkpoint of quintain fit" in " ".join(ran.err.split())


def test_a_search_whose_models_all_failed_says_what_was_wrong_with_the_first(
    quintain: Run, controller: FakeController
) -> None:
    controller.search.state = pb.SEARCH_STATE_FINISHED
    failed = scored(0, 0.0)
    failed.summary.summary = "rejected: counterexample ab_1: most at once is 7"
    controller.candidates = [failed]
    ran = quintain("fit", "log")
    assert ran.code == 2
    assert "the first one: rejected: counterexample ab_1: most at once is 7" in " ".join(ran.err.split())
    quintain("fit", "log")
    assert len(created(controller)) == 2, "asked for again it is another search"
