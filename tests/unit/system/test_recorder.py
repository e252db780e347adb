"""Runs as recordings: what was heard in a run is what is written, and nothing of what is hidden."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.systems import MODEL, POLICY, SYSTEM, package, run

from quintain.plugins.recorder import RecordedRun
from quintain.plugins.simulator import InvalidInput, Part, RunOptions
from quintain_system.form.package import read_package
from quintain_system.form.toml_text import toml_text
from quintain_system.plugin import simulator
from quintain_system.recorder import recorder
from quintain_system.recordings.form import Recording, read_recording

FILES = package()


def recorded(files: Mapping[str, bytes] = FILES, scenario: str = "few") -> RecordedRun:
    made = simulator.from_files("mine", files)
    outcome = run(made, f"mine/{scenario}", POLICY, RunOptions(timeline=True))  # type: ignore[arg-type]
    return RecordedRun("mine", files, f"mine/{scenario}", Part.TRAIN, "fifo", outcome.detail)


def read(visible: Mapping[str, bytes], run: RecordedRun) -> Recording:
    file, content = recorder.recording(visible, run)
    return read_recording(file, content, read_package({**visible, file: content}).spec)


def test_a_run_becomes_a_package_without_model_and_a_recording_of_it() -> None:
    visible, lost = recorder.package([recorded()])
    assert set(visible) == {"system.toml", "suite.toml", "few.csv.gz", "baselines/fifo.py"}
    assert lost == ["objectives.seconds.bound: 'job_seconds_mean' is unknown; known are: duration, job_count, slots"]
    found = read(visible, recorded())
    assert (found.name, found.policy, found.duration, found.config) == ("few-fifo", "fifo", 10.0, {"slots": 2})
    assert [(e.time, e.role, e.kind, dict(e.fields)) for e in found.entries][:7] == [
        (0.5, "input", "job", {"id": 1}),
        (0.5, "input", "job", {"id": 2}),
        (0.5, "decision", "start", {"job": 1}),
        (0.5, "decision", "start", {"job": 2}),
        (0.5, "event", "started", {"job": 1}),
        (0.5, "event", "started", {"job": 2}),
        (1.0, "input", "job", {"id": 3}),
    ]


def test_the_packages_scenarios_have_the_recorded_inputs() -> None:
    visible, _ = recorder.package([recorded(), recorded(scenario="many")])
    made = simulator.from_files("seen", {**visible, "model.py": MODEL.encode()})
    assert [entry.scenario for entry in made.suite("seen").entries] == ["seen/few", "seen/many"]
    for name in ("few", "many"):
        truth = simulator.from_files("mine", FILES).scenario(f"mine/{name}").spec
        inputs = made.scenario(f"seen/{name}").spec.inputs  # type: ignore[attr-defined]
        assert inputs == [record[:3] for record in truth.inputs]  # type: ignore[attr-defined]


def test_more_can_be_hidden_and_what_needs_it_goes_with_it() -> None:
    visible, lost = recorder.package([recorded()], hide=["config.slots"])
    assert "slots" not in tomllib.loads(visible["system.toml"].decode()).get("config", {})
    assert [line.partition(":")[0] for line in lost] == ["invariants.slots", "objectives.seconds.bound"]
    assert read(visible, recorded()).config == {}


@pytest.mark.parametrize("place", ["config.slot", "colour", "decisions.start", "inputs.job.size", "config.slots.min"])
def test_what_is_not_there_cannot_be_hidden(place: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not declared; name config\.KEY"):
        recorder.package([recorded()], hide=[place])


def test_a_package_that_wants_more_than_the_run_has_is_told() -> None:
    visible, _ = recorder.package([recorded()])
    wants = SYSTEM.replace('seconds = { type = "float", min = 0.0, hidden = true }', 'size = "int"')
    with pytest.raises(InvalidInput, match=r"recordings/few-fifo\.jsonl\.gz:2:size: is missing"):
        recorder.recording({**visible, "system.toml": wants.encode()}, recorded())


def test_recording_changes_nothing_of_the_run() -> None:
    made = simulator.from_files("mine", FILES)
    plain = run(made, "mine/many", POLICY)  # type: ignore[arg-type]
    whole = run(made, "mine/many", POLICY, RunOptions(timeline=True))  # type: ignore[arg-type]
    assert (plain.metrics, plain.decisions_digest) == (whole.metrics, whole.decisions_digest)
    assert json.loads(whole.detail)["recording"]


names = st.text(min_size=1, max_size=8)
values = st.recursive(
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), names),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.dictionaries(names, values, max_size=4))
def test_toml_that_is_written_is_read_again(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(table)) == table
