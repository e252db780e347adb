"""Each kind of bad input has its own word: what was wrong, where, what would be right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.spot_deadline.conftest import run

from quintain.plugins.simulator import FailureKind, InvalidInput
from quintain_spot_deadline import recorded, settings, suites
from quintain_spot_deadline.importer import read_window_file, scenario_files
from quintain_spot_deadline.plugin import simulator
from quintain_spot_deadline.scenario import spec_of
from quintain_spot_deadline.series import parse_samples, parse_table

HEAD = "series\tticks\tfirst\truns\n"
RUNS_HEAD = "run,series,window,offset,overhead_s,deadline_s,duration_s\n"
JOB = "overhead_seconds = 60\ndeadline_seconds = 6000\nduration_seconds = 3000\n"


def rows(states: str, gap: int = 600) -> str:
    return "time_seconds,available\n" + "".join(f"{tick * gap},{state}\n" for tick, state in enumerate(states))


def refused(toml: str = JOB, trace: str = rows("1" * 20), **files: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        simulator.inline_scenario("own", {"scenario.toml": toml.encode(), "trace.csv": trace.encode(), **files})
    return caught.value


@pytest.mark.parametrize(
    ("trace", "field", "words"),
    [
        (rows("111").replace("1200", "1800"), "trace.csv:4:time_seconds", "1800 follows 600; a row every 600 s is due"),
        (rows("1x1"), "trace.csv:3:available", "'x' is no state; must be 1 (spot exists) or 0 (gone)"),
        (rows("1").replace("0,1", "zero,1"), "trace.csv:2:time_seconds", "'zero' is not a whole number"),
        ("time,available\n", "trace.csv:1", "must be time_seconds,available"),
        ("time_seconds,available\n", "trace.csv", "has no rows"),
        (rows("1" * 11), "trace.csv", "has 11 ticks, and a window is 13 ticks long"),
    ],
)
def test_a_series_with_gaps_unknown_symbols_or_too_few_ticks(trace: str, field: str, words: str) -> None:
    error = refused(trace=trace)
    assert error.field == field
    assert words in error.message


@pytest.mark.parametrize(
    ("toml", "field", "words"),
    [
        (JOB.replace("6000", "3000"), "scenario.toml", "is shorter than the work and one launch: 3000 + 60 s"),
        (JOB + "window_ticks = 12", "scenario.toml:window_ticks", "12 ticks is shorter than the deadline: 13 ticks"),
        (JOB.replace("6000", "6100"), "scenario.toml", "no whole number of ticks of 600 s"),
        (JOB + "spot_usd_per_hour = 5", "scenario.toml", "spot costs 5.0 and on-demand 3.06"),
        (JOB + "spot_usd_per_hour = nan", "scenario.toml", "must be dollars an hour, above 0"),
        (JOB + "overhead = 3", "scenario.toml:overhead", "unknown key; known are: overhead_seconds"),
        (JOB.replace("60\n", "'60'\n", 1), "scenario.toml:overhead_seconds", "is not a whole number"),
        ("deadline_seconds = 6000", "scenario.toml:overhead_seconds", "is missing"),
        (JOB + "window_every_ticks = 0", "scenario.toml:window_every_ticks", "at least 1"),
        ("overhead_seconds = ", "scenario.toml", "is not TOML"),
        (JOB.replace("6000", "60000000"), "scenario.toml", "deadline is 60000000 s; must be from 1"),
        (JOB + "gap_seconds = 0", "scenario.toml", "gap is 0 s"),
    ],
)
def test_a_job_that_cannot_be(toml: str, field: str, words: str) -> None:
    error = refused(toml=toml)
    assert error.field == field
    assert words in error.message


def test_missing_files_and_unreadable_ones() -> None:
    with pytest.raises(InvalidInput, match=r"trace\.csv: is missing; the files given are: scenario\.toml"):
        simulator.inline_scenario("own", {"scenario.toml": JOB.encode()})
    with pytest.raises(InvalidInput, match=r"trace\.csv: is not UTF-8"):
        simulator.inline_scenario("own", {"scenario.toml": JOB.encode(), "trace.csv": b"\xff"})


def test_a_scenario_of_ones_own_is_cut_into_windows_that_are_runs_of_their_own() -> None:
    files = {"scenario.toml": (JOB + "window_every_ticks = 5").encode(), "trace.csv": rows("10" * 12).encode()}
    own = simulator.inline_scenario("own", files)
    assert [one.label for one in spec_of(own).windows] == ["from tick 0", "from tick 5", "from tick 10"]
    assert {len(one.window.available) for one in spec_of(own).windows} == {13}


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        (HEAD + "a\t4\t1\t2,3\n", "series.tsv:2:runs", "add up to 5 ticks, not to the 4"),
        (HEAD + "a\t4\t2\t4\n", "series.tsv:2:first", "'2' is no state"),
        (HEAD + "a\t4\t1\t2,x\n", "series.tsv:2:runs", "'x' is not a whole number"),
        (HEAD + "a\t1\t1\t1\na\t1\t1\t1\n", "series.tsv:3:series", "not there yet"),
        ("a,b\n", "series.tsv:1", "tab-separated"),
    ],
)
def test_a_series_table_that_is_none(text: str, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_table("series.tsv", text)
    assert caught.value.field == field
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        ("0,b,0,0,72,187200,172800\n", "runs.csv:2:series", "'b' is unknown; known are: a"),
        ("0,a,0,5,72,187200,172800\n", "runs.csv:2", "the window of 305 ticks is shorter than the deadline"),
        ("0,a,0,x,72,187200,172800\n", "runs.csv:2", "whole numbers"),
        ("0,a,0,-1,72,187200,172800\n", "runs.csv:2", "the window of 0 ticks"),
        ("0,a,0,0,72,172800,172800\n", "runs.csv:2", "shorter than the work and one launch"),
    ],
)
def test_a_table_of_runs_that_is_none(tmp_path: Path, row: str, field: str, words: str) -> None:
    (tmp_path / "series.tsv").write_text(f"{HEAD}a\t310\t1\t310\n")
    (tmp_path / "runs.csv").write_text(RUNS_HEAD + row)
    with pytest.raises(InvalidInput) as caught:
        recorded.load(tmp_path)
    assert caught.value.field == field
    assert words in caught.value.message


def test_a_folder_without_recordings_costs_only_their_suites(tmp_path: Path) -> None:
    """In a process of its own: the folder is looked at once, at the start."""
    code = (
        "from quintain_spot_deadline.plugin import simulator as s; import json; d = s.describe();"
        "print(json.dumps([list(d.suites), dict(d.unavailable_suites)]))"
    )
    command = [sys.executable, "-c", code]
    for folder, reason in (("", "needs recorded series"), (str(tmp_path), "series.tsv: cannot be read")):
        done = subprocess.run(command, env={settings.VARIABLE: folder}, capture_output=True, text=True, check=True)
        offered, missing = json.loads(done.stdout)
        assert offered == ["spot", "smoke"]
        assert set(missing) == {"spot-recorded", "adrs-single"}
        assert all(reason in said and settings.VARIABLE in said for said in missing.values())


def test_a_suite_that_needs_recordings_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    suites.suites()  # made once in a process: other tests must not get what this one makes up
    monkeypatch.setattr(suites, "_from_recordings", lambda: ([], {"adrs-single": suites.NO_DATA}))
    with pytest.raises(InvalidInput, match="'adrs-single' is not available here: needs recorded series"):
        simulator.suite("adrs-single")
    with pytest.raises(InvalidInput, match="is unknown"):
        simulator.suite("adrs-double")


@pytest.mark.parametrize("answer", ["'SPOT'", "None", "1", "['spot']", "True", "ClusterType.SPOT"])
def test_an_answer_that_is_none_of_the_three(answer: str) -> None:
    head = "import enum\nclass ClusterType(enum.Enum):\n    SPOT = 'spot'\n"
    outcome = run(f"{head}def decide(job, now):\n    return {answer} if now.tick == 3 else 'none'\n")
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.rule) == (FailureKind.REJECTED, "unknown_machine")
    assert (outcome.failure.step, outcome.failure.time_seconds) == (3, 1800.0)
    assert "must return one of 'none', 'spot', 'on_demand'" in outcome.failure.message


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        (b"{", "0.json", "is not JSON"),
        (b"[]", "0.json", "a list 'data'"),
        (b'{"data": [0, 2]}', "0.json:data[1]", "2 is no state; must be 0 (spot exists) or 1 (gone)"),
        (b'{"data": [0, true]}', "0.json:data[1]", "True is no state"),
        (b'{"data": []}', "0.json:data", "has 0 samples"),
        (
            b'{"data": [0], "metadata": {"gap_seconds": 0.5}}',
            "0.json:metadata.gap_seconds",
            "0.5 is not a whole number",
        ),
        (b'{"data": [0], "metadata": 3}', "0.json:metadata", "3 is no object"),
    ],
)
def test_a_window_file_that_is_none(document: bytes, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_window_file("0.json", document)
    assert caught.value.field == field
    assert words in caught.value.message


def test_a_window_file_becomes_a_scenario_in_which_1_means_that_spot_exists() -> None:
    samples = [1, 0, 0] * 200
    gap, available = read_window_file(
        "0.json", json.dumps({"metadata": {"gap_seconds": 600}, "data": samples}).encode()
    )
    files = scenario_files(gap, available, overhead=72, deadline=187_200, duration=172_800)
    own = simulator.inline_scenario("own", {name: text.encode() for name, text in files.items()})
    (only,) = spec_of(own).windows
    assert only.window.available == "011" * 200
    assert parse_samples("trace.csv", files["trace.csv"], 600) == only.window.available
    with pytest.raises(InvalidInput, match="shorter than the deadline"):
        scenario_files(gap, available[:300], overhead=72, deadline=187_200, duration=172_800)
