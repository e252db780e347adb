"""Runs of the exact FaaS engine as recordings of a system package, and the package's policies in the engine."""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources

import pytest

from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.package_files import package_files
from quintain.plugins.recorder import RecordedRun
from quintain.plugins.simulator import InvalidInput, Outcome, Part, RunOptions
from quintain_faas.plugin import simulator
from quintain_faas.recorder import recorder
from quintain_system.fit import package_fit
from quintain_system.fit.package_fit import PackageFit
from quintain_system.form.package import read_package
from quintain_system.recordings.consistency import consistency, placed
from quintain_system.recordings.form import Recording, read_recording

BASELINES = {
    name.removeprefix("baselines/").removesuffix(".py"): source.decode()
    for name, source in package_files(resources.files("quintain_faas") / "pools_package").items()
    if name.startswith("baselines/")
}
SCENARIOS = ("smoke_steady", "smoke_branch_2pools", "smoke_burst")


def ran(source: str, scenario: str) -> tuple[Outcome, RecordedRun]:
    options = RunOptions(timeline=True)
    outcome = simulate(simulator, simulator.scenario(scenario), in_process(simulator, recorder.policy(source)), options)
    return outcome, RecordedRun("smoke", None, scenario, Part.TRAIN, "mine", outcome.detail)


def recorded(run: RecordedRun) -> tuple[Recording, list[str]]:
    package, lost = recorder.package([run])
    assert lost == ()
    file, content = recorder.recording(package, run)
    spec = read_package({**package, file: content}).spec
    found = read_recording(file, content, spec)
    return found, list(consistency(found, placed(file, found.entries), spec).words())


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("policy", [*BASELINES, "priority"])
def test_a_recording_has_what_the_engine_counted_and_keeps_every_invariant(policy: str, scenario: str) -> None:
    source = BASELINES.get(policy) or next(b.source for b in simulator.describe().baselines if b.name == policy)
    outcome, run = ran(source, scenario)
    assert outcome.failure is None
    found, contradictions = recorded(run)
    assert contradictions == []
    counts = Counter(entry.kind for entry in found.entries)
    metrics = outcome.metrics
    # What ends in the last tick is counted by the engine, and is after the recording's end.
    assert 0 <= metrics["containers_completed"] - counts["finished"] <= 1
    assert 0 <= metrics["failures"] - counts["out_of_memory"] <= 1
    assert counts["started"] == counts["assign"] == metrics["assignments"]
    assert counts["pipeline"] == metrics["pipelines_arrived"]
    assert 0 <= metrics["pipelines_completed"] - counts["done"] <= 1


def test_a_policy_is_told_in_the_engine_what_the_recording_says() -> None:
    """It says what it was told by raising it."""
    speaks = BASELINES["fifo_tenths"].replace(
        "        for record in happened:\n",
        "        self.told = getattr(self, 'told', [])\n"
        "        for r in happened:\n"
        "            self.told.append((round(r.time, 6), r.kind, getattr(r, 'operator', r.__dict__.get('pipeline'))))\n"
        "        if observation['time'] > 30:\n"
        "            raise RuntimeError(repr(self.told))\n"
        "        for record in happened:\n",
        1,
    )
    outcome, _ = ran(speaks, "smoke_branch_2pools")
    assert outcome.failure is not None
    told = eval(outcome.failure.message.partition(": ")[2])  # our own text
    until = outcome.failure.time_seconds or 0.0
    found, _ = recorded(ran(BASELINES["fifo_tenths"], "smoke_branch_2pools")[1])
    said = [
        (round(e.time, 6), e.kind, e.fields.get("operator", e.fields.get("pipeline")))
        for e in found.entries
        if e.role != "decision" and e.time <= until
    ]
    unseen = [entry for entry in said if entry not in told]
    assert sorted(told) == sorted(entry for entry in said if entry in told)
    assert all(kind == "started" and time == round(until, 6) for time, kind, _ in unseen)


def test_the_packages_scenarios_have_the_engines_arrivals() -> None:
    _, run = ran(BASELINES["fifo_tenths"], "smoke_branch_2pools")
    package, _ = recorder.package([run])
    read = read_package({**package, "model.py": b"class Model: pass"})
    assert [(s.name, s.config) for s in read.suites[""].scenarios] == [
        ("smoke_branch_2pools", {"pools": 2, "cpus_per_pool": 16.0, "ram_gb_per_pool": 200.0})
    ]


def test_a_model_of_two_capacities_waits_for_both_and_says_what_is_free_of_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(package_fit, "RUNS", 6)
    monkeypatch.setattr(package_fit, "CALIBRATED_ON", 300)
    _, run = ran(BASELINES["fifo_tenths"], "smoke_steady")
    package, _ = recorder.package([run])
    file, content = recorder.recording(package, run)
    fit = PackageFit({**package, file: content}, "build", "pools")
    source = fit.describe().baselines[0].source
    assert "Whether there is room of cpu and ram" in source
    assert all(f"self.held_{room}" in source.partition("def observe")[2] for room in ("cpu", "ram"))
    outcome = fit.run(fit.scenario("pools/train"), in_process(fit, source), RunOptions())
    assert outcome.failure is None
    assert outcome.metrics["distance"] < 1.0


def test_what_the_package_cannot_say_is_refused() -> None:
    _, run = ran(BASELINES["fifo_tenths"], "smoke_deadline")
    with pytest.raises(InvalidInput, match="has a deadline for jobs"):
        recorder.package([run])
    _, run = ran(BASELINES["fifo_tenths"], "smoke_steady")
    with pytest.raises(InvalidInput, match="is fixed"):
        recorder.package([run], hide=["config.pools"])
    document = json.loads(run.detail)
    document["containers"]["operators"][0] = [0, 1]
    two = RecordedRun("smoke", None, run.scenario, run.part, run.policy, json.dumps(document))
    with pytest.raises(InvalidInput, match="held 2 operators"):
        recorder.recording({}, two)
