"""The skeleton of `quintain system new`: it is read without a complaint, runs, and can be bettered by its numbers."""

from __future__ import annotations

import pytest
from tests.support.systems import run

from quintain.plugins.simulator import InvalidInput
from quintain_system.package_simulator import PackageSimulator
from quintain_system.plugin import simulator


@pytest.fixture(scope="module")
def skeleton() -> PackageSimulator:
    made = simulator.from_files("my-system", simulator.suite_template("my-system"))
    assert isinstance(made, PackageSimulator)
    return made


def test_it_takes_its_name_from_its_folder(skeleton: PackageSimulator) -> None:
    assert b'name = "my_system"' in simulator.suite_template("my-system")["system.toml"]
    for wrong in ("My system", "9lives", ""):
        with pytest.raises(InvalidInput, match="lower-case letters"):
            simulator.suite_template(wrong)


def test_larger_weights_for_urgent_jobs_are_better_in_every_scenario(skeleton: PackageSimulator) -> None:
    baseline = skeleton.describe().baselines[0].source
    urgent_first = baseline.replace("URGENT_WEIGHT = 1.0", "URGENT_WEIGHT = 20.0")
    assert urgent_first != baseline
    for entry in skeleton.suite("my-system").entries:
        scenario = skeleton.scenario(entry.scenario)
        base, better = (run(skeleton, entry.scenario, source) for source in (baseline, urgent_first))
        assert base.failure is None
        assert (
            skeleton.score("cost", scenario, better, base).value <= skeleton.score("cost", scenario, base, base).value
        )


def test_what_an_author_should_know_is_said(skeleton: PackageSimulator) -> None:
    notes = simulator.suite_notes("my-system", simulator.suite_template("my-system"))
    assert notes == ["hidden from policies: job.seconds"]
