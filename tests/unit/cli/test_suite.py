"""``quintain suite``: a new one runs, a wrong one is named, a trace is split by time."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run

from quintain_faas.plugin import simulator
from quintain_faas.workload import Workload
from quintain_faas.workload.model import TRACE_COLUMNS

HEAD = ",".join(TRACE_COLUMNS)


def test_a_new_suite_can_be_read_and_has_both_parts(quintain: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert quintain("suite", "new", str(folder)).code == 0
    files = {p.name: p.read_bytes() for p in folder.iterdir()}
    parts = [e.part.value for e in simulator.from_files("mine", files).suite("mine").entries]
    assert parts == ["train", "train", "held_out"]
    again = quintain("suite", "new", str(folder))
    assert again.code == 2
    assert "is there already; name a new one" in again.err


def trace(tmp_path: Path) -> Path:
    rows = [HEAD]
    for number, time in enumerate([0.0, 5.0, 9.5, 11.0, 25.0, 39.0]):
        rows.append(f"p{number},{time},QUERY,op1,,1,const,1,0")
        rows.append(f"p{number},,,op2,op1,1,const,1,0")
    path = tmp_path / "log.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_trace_is_split_by_time_and_no_pipeline_is_torn(quintain: Run, tmp_path: Path) -> None:
    out = tmp_path / "windows"
    ran = quintain("suite", "split", str(trace(tmp_path)), "--out", str(out), "--windows", "4", "--held-out", "1")
    assert ran.code == 0, ran.err
    entries = tomllib.loads((out / "scenarios.toml").read_text())["scenarios"]
    assert [(e["name"], e["part"]) for e in entries] == [
        ("window01", "train"), ("window02", "train"), ("window03", "train"), ("window04", "held_out"),
    ]  # fmt: skip
    found = {}
    for entry in entries:
        text = (out / entry["workload"]["trace"]).read_text()
        Workload.from_trace_text(text)
        found[entry["name"]] = [r["arrival_seconds"] for r in csv.DictReader(text.splitlines()) if r["arrival_seconds"]]
    assert [float(t) for t in found["window01"]] == [0.0, 5.0, 9.5]
    assert [float(t) for t in found["window02"]] == [1.25]
    assert sum(len(times) for times in found.values()) == 6


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "log.csv:1: has none of the columns arrival_seconds, time"),
        ("time,x\nsoon,1\n", "log.csv:2: 'soon' is no time in seconds from 0 up"),
        ("time,x\n1\n", "log.csv:2: has 1 of 2 fields"),
        ("time,x\n,1\n", "log.csv:2: the first row needs a time"),
        ("time,x\n", "log.csv: holds no row"),
    ],
)
def test_a_trace_that_cannot_be_split_is_named_with_its_row(
    quintain: Run, tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "log.csv").write_text(text)
    ran = quintain("suite", "split", str(tmp_path / "log.csv"), "--out", str(tmp_path / "out"))
    assert ran.code == 2
    assert told in ran.err
    assert not (tmp_path / "out").exists()


def test_windows_that_leave_nothing_to_train_on_are_refused(quintain: Run, tmp_path: Path) -> None:
    ran = quintain(
        "suite", "split", str(trace(tmp_path)), "--out", str(tmp_path / "o"), "--windows", "2", "--held-out", "2"
    )
    assert "2 of 2 windows: at least one must be left to train on" in ran.err


def test_a_template_of_a_simulator_that_is_only_served_wants_its_address(quintain: Run, tmp_path: Path) -> None:
    ran = quintain("suite", "new", str(tmp_path / "far"), "--simulator", "balancer")
    assert (ran.code, "of a served one give HOST:PORT" in ran.err) == (2, True)
    assert not (tmp_path / "far").exists()
