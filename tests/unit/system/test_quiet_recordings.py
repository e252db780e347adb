"""Recordings in which hardly anything happens: both floors and models of the grammar say something of every part."""

from __future__ import annotations

import random
from importlib import resources

import pytest
from tests.support.systems import in_process
from tests.unit.system.test_wrong_mechanism import SUITE, recorded, system

from quintain.plugins.package_files import package_files
from quintain.plugins.simulator import RunOptions
from quintain_generator.backends.offline.render import render
from quintain_generator.backends.offline.variation import random_genome
from quintain_system.fit import package_fit
from quintain_system.fit.package_fit import PackageFit
from quintain_system.recorder import recorder


def quiet_log(seed: int, seconds: float, nodes: int, functions: int, rate: float, policies: int) -> dict[str, bytes]:
    """`tenants`, recorded for a short while with few requests."""
    whole = package_files(resources.files("quintain_system") / "packages" / "tenants")
    suite = SUITE.replace("300.0", f"{seconds}").replace("seed = 5", f"seed = {seed}").replace("= 1.2", f"= {rate}")
    suite = suite.replace("nodes = 2", f"nodes = {nodes}").replace("= 20", f"= {functions}").replace("= 4,", "= 3,")
    truth = {n: c for n, c in whole.items() if not n.startswith("suites/")} | {"suite.toml": suite.encode()}
    found = system(truth)
    runs = [recorded(found, truth, b.name, b.source) for b in found.describe().baselines[:policies]]
    files = dict(recorder.package(runs[:1])[0])
    return files | dict(recorder.recording(files, run) for run in runs)


@pytest.mark.parametrize(
    ("seed", "seconds", "nodes", "functions", "rate", "policies"),
    [
        pytest.param(9, 40.0, 2, 5, 0.05, 1, id="what_makes_an_instance_is_all_that_train_holds"),
        pytest.param(11, 40.0, 2, 5, 0.4, 3, id="times_differ_by_what_an_event_said_of_the_request"),
        pytest.param(3, 90.0, 1, 5, 0.15, 2, id="kinds_that_occur_in_held_out_parts_only"),
    ],
)
def test_floors_and_models_stand_what_was_hardly_recorded(
    monkeypatch: pytest.MonkeyPatch,
    seed: int, seconds: float, nodes: int, functions: int, rate: float, policies: int,
) -> None:  # fmt: skip
    for name, value in {"CALIBRATED_ON": 200, "RUNS": 3, "ROLLOUTS": 1, "ROLLOUTS_TO_CALIBRATE": 1}.items():
        monkeypatch.setattr(package_fit, name, value)
    fit = PackageFit(quiet_log(seed, seconds, nodes, functions, rate, policies), "build", "log")
    model = render(fit.grammar, random_genome(fit.grammar, random.Random(seed)))
    for entry in fit.suite("log").entries:
        outcome = fit.run(fit.scenario(entry.scenario), in_process(fit, model), RunOptions())
        assert outcome.failure is None, outcome.failure.message
        assert {"distance", "floor_queueing", "floor_replay"} < outcome.metrics.keys()
