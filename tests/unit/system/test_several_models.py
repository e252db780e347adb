"""A package with several models: each scenario in each of them, and of one scenario the worst counts."""

from __future__ import annotations

import pytest
from tests.support.systems import MODEL, POLICY, package, run
from tests.unit.system.test_card import card

from quintain.plugins.simulator import Fidelity, InvalidInput, Part
from quintain_cli.fidelity.models import structure
from quintain_system.form.package import read_package
from quintain_system.package_simulator import PackageSimulator

SLOW = MODEL.replace("time + seconds", "time + 2 * seconds")


def several(**files: str | None) -> PackageSimulator:
    return PackageSimulator(read_package(package(**{"models/slow.py": SLOW, **files})), "build", "mine")


def test_each_scenario_runs_in_each_model() -> None:
    simulator = several()
    entries = simulator.suite("mine").entries
    assert [(e.scenario, e.part, e.group, e.model) for e in entries] == [
        ("mine/few", Part.TRAIN, "mine/few", "model"),
        ("mine/few@slow", Part.TRAIN, "mine/few", "slow"),
        ("mine/many", Part.HELD_OUT, "mine/many", "model"),
        ("mine/many@slow", Part.HELD_OUT, "mine/many", "slow"),
    ]
    assert simulator.scenario("mine/few").digest != simulator.scenario("mine/few@slow").digest
    fast, slow = (run(simulator, name, POLICY).metrics["seconds"] for name in ("mine/few", "mine/few@slow"))
    assert slow > fast == pytest.approx(6.0 / 4)


def test_with_one_model_nothing_is_grouped() -> None:
    simulator = PackageSimulator(read_package(package()), "build", "mine")
    assert [(e.scenario, e.group, e.model) for e in simulator.suite("mine").entries] == [
        ("mine/few", "", ""),
        ("mine/many", "", ""),
    ]


def test_a_further_model_needs_the_first_one_and_a_name() -> None:
    with pytest.raises(InvalidInput, match=r"^model\.py: is missing"):
        read_package(package(**{"models/slow.py": SLOW, "model": None}))
    with pytest.raises(InvalidInput, match=r"^models/model\.py: its name must be"):
        read_package(package(**{"models/model.py": SLOW}))


def test_they_are_trusted_as_far_as_the_worst_of_them() -> None:
    both = {"models/slow.py": SLOW, "fidelity.json": card()}
    found = read_package(package(**both))
    assert (found.fidelity, found.fidelity_reason.partition(" has")[0]) == (
        Fidelity.UNVERIFIED,
        "models/slow.py: the model",
    )
    refused = card("failed", source=SLOW, refused=["tau 0.1"])
    found = read_package(package(**both, **{"models/slow.json": refused}))
    assert (found.fidelity, found.fidelity_reason) == (Fidelity.FAILED, "models/slow.py: tau 0.1")
    found = read_package(package(**both, **{"models/slow.json": card(source=SLOW)}))
    assert found.fidelity is Fidelity.VERIFIED


def test_structures_differ_by_more_than_numbers_and_comments() -> None:
    assert structure(MODEL) == structure(f'"""Mine."""\n{MODEL.replace("0.0", "7.5")}# a comment\n')
    assert structure(MODEL) != structure(MODEL.replace("self.free == 0", "self.free <= 0"))
