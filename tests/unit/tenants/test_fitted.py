"""Models fitted to recordings of this package: what is known of an instance is its own, not its first request's."""

from __future__ import annotations

import pytest

from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.recorder import RecordedRun
from quintain.plugins.simulator import Part, RunOptions, narrowed
from quintain_system.fit.grammar import render
from quintain_system.fit.package_fit import PackageFit
from quintain_system.plugin import simulator
from quintain_system.recorder import recorder

TIGHT = "tenants/smoke/tight"


@pytest.fixture(scope="module")
def fit() -> PackageFit:
    plugin = narrowed(simulator, "tenants/smoke")
    runs = []
    by_load = "sorted(range(len(self.free)), key=self.running.__getitem__)"
    for baseline in plugin.describe().baselines:
        if baseline.name == "hybrid_histogram":
            continue
        opened = in_process(plugin, baseline.source.replace(by_load, "[request.request % 4, 1, 3, 0, 2]"))
        outcome = simulate(plugin, plugin.scenario(TIGHT), opened, RunOptions(timeline=True))
        runs.append(RecordedRun("tenants/smoke", None, TIGHT, Part.TRAIN, baseline.name, outcome.detail))
    files, _ = recorder.package(runs[:1])
    return PackageFit({**files, **dict(recorder.recording(files, run) for run in runs)}, "test", "log")


def test_floors_and_written_models_run_on_recordings_of_several_policies(
    fit: PackageFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quintain_system.fit.package_fit.RUNS", 3)
    source = render(fit.grammar, {}, "as recorded")
    outcome = fit.run(fit.scenario("log/train"), in_process(fit, source), RunOptions())
    assert outcome.failure is None
    assert outcome.metrics.keys() >= {"distance", "floor_queueing", "floor_replay"}
    assert 'self.things["request"]' not in source.partition("def seconds_to_ready")[2].partition("def ")[0]
