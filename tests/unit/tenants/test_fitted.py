"""Models fitted to recordings of this package: what is known of an instance is its own, not its first request's."""

from __future__ import annotations

from importlib import resources

import pytest

from quintain.plugins.grammar import Grammar
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.package_files import package_files
from quintain.plugins.recorder import RecordedRun
from quintain.plugins.simulator import Part, RunOptions, narrowed
from quintain_generator.backends.offline.genome import complete
from quintain_generator.backends.offline.render import render as render_policy
from quintain_system.fit.grammar import render
from quintain_system.fit.package_fit import PackageFit
from quintain_system.plugin import simulator
from quintain_system.recorder import recorder

TIGHT = "tenants/smoke/tight"
QUIET = b"""
objective = "on_time"
[[scenarios]]
name = "quiet"
part = "train"
duration = 300.0
seed = 5
workload = true
config = { nodes = 2, functions = 8, tenants = 4, node_cores = 1, requests_per_second = 0.7 }
"""


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
    assert "made.is_first = " in source
    assert "it.luck_finished" in source  # a request takes as long under every policy


def quiet(policy: str = "") -> PackageFit:
    """Recorded under one policy, the first baseline if none is given."""
    files = package_files(resources.files("quintain_system") / "packages" / "tenants")
    files = {n: c for n, c in files.items() if not n.startswith("suites/")} | {"suite.toml": QUIET}
    plugin = narrowed(simulator, "log", files=files)
    source = policy or plugin.describe().baselines[0].source
    (scenario,) = (entry.scenario for entry in plugin.suite("log").entries)
    outcome = simulate(plugin, plugin.scenario(scenario), in_process(plugin, source), RunOptions(timeline=True))
    run = RecordedRun("log", files, scenario, Part.TRAIN, "only", outcome.detail)
    package, _ = recorder.package([run])
    return PackageFit({**package, **dict([recorder.recording(package, run)])}, "test", "log")


def test_a_decision_of_the_same_moment_that_says_less_makes_no_instance() -> None:
    grammar = Grammar.from_json(narrowed(simulator, "tenants/smoke").describe().grammar)
    genes = {"keep_law": "gaps", "prewarm": "early", "spare": "share"}
    made_by = quiet(render_policy(grammar, complete(grammar, genes)))._lifecycle.made_by
    assert set(made_by["instance"]) == {"place", "warm"}  # and not keep_alive


def test_the_law_of_a_made_thing_reads_what_its_own_event_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few cold starts of one policy: their times seem to depend on the memory that the instance's event tells."""
    monkeypatch.setattr("quintain_system.fit.package_fit.RUNS", 3)
    few = quiet()
    source = render(few.grammar, {}, "as recorded")
    assert "it.memory_mb" in source.partition("def seconds_to_ready")[2].partition("def ")[0]
    assert few.run(few.scenario("log/train"), in_process(few, source), RunOptions()).failure is None
