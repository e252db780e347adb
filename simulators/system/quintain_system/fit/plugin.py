"""The simulator as quintain sees it: the object behind the entry point ``quintain.simulators: fit``."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING

from quintain.plugins.package_files import package_files
from quintain.plugins.simulator import (
    Description,
    InvalidInput,
    OpenPolicy,
    Outcome,
    RunOptions,
    Scenario,
    ScenarioScore,
    Simulator,
    Suite,
)
from quintain_system.kept_packages import KeptPackages, one_owner, owner_of
from quintain_system.plugin import engine_build

if TYPE_CHECKING:
    from quintain_system.fit.package_fit import PackageFit

PACKAGES_KEPT = 8  # that came as files
GUIDE = """\
A suite of this simulator is a system package with recordings, and a candidate is a model of that system: describe it by
its suite's name.
"""


class FitSimulator:
    """Satisfies `Simulator`, `ManySystems` and `SuiteReader`. No state beside caches."""

    guest_module = "quintain_system.guest.rollout"
    guest_source = ""

    def __init__(self) -> None:
        self._from_files: KeptPackages[PackageFit] = KeptPackages(_open, PACKAGES_KEPT)

    def describe(self) -> Description:
        packages = recorded_packages()
        first = next(iter(packages.values())).describe()
        return replace(
            first,
            title="Models fitted to recordings of a system",
            build=hashlib.sha256("\n".join(p.build for p in packages.values()).encode()).hexdigest(),
            policy_guide=GUIDE,
            suites=tuple(packages),
            grammar="",
        )

    def narrowed(self, suite: str = "", scenarios: Sequence[str] = ()) -> Simulator:
        owner = one_owner([suite] if suite else scenarios)
        return _package(owner, "suite" if suite else "scenarios")

    def from_files(self, name: str, files: Mapping[str, bytes]) -> PackageFit:
        return self._from_files.get(name, files)

    def suite_template(self, name: str) -> Mapping[str, bytes]:
        raise InvalidInput(
            "name", "a model is fitted to a system package with recordings: `quintain system new` makes one"
        )

    def suite_notes(self, name: str, files: Mapping[str, bytes]) -> Sequence[str]:
        return self.from_files(name, files).unverified

    def suite(self, name: str) -> Suite:
        return _package(owner_of(name), "suite").suite(name)

    def scenario(self, name: str) -> Scenario:
        return _package(owner_of(name), "scenario").scenario(name)

    def inline_scenario(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        raise InvalidInput("scenario.toml", "a recording belongs to its package: give the package as a suite")

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        return _package(owner_of(scenario.name), "scenario").run(scenario, open_policy, options)

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        return _package(owner_of(scenario.name), "scenario").score(objective, scenario, outcome, baseline)


@functools.cache
def recorded_packages() -> Mapping[str, PackageFit]:
    """Systems that are shipped as recordings, by name: `quintain record` made them, their models are not among them."""
    folders = (resources.files("quintain_system") / "recorded").iterdir()
    named = {folder.name: folder for folder in folders if folder.is_dir()}
    return {n: _open(package_files(f), n) for n, f in sorted(named.items()) if n[0] not in "._"}


def _open(files: Mapping[str, bytes], prefix: str) -> PackageFit:
    # Here, since each process of a verifier loads every simulator, and few of them ever fit a model.
    from quintain_system.fit.package_fit import PackageFit

    return PackageFit(files, engine_build(), prefix)


def _package(name: str, field: str) -> PackageFit:
    packages = recorded_packages()
    if name not in packages:
        raise InvalidInput(field, f"{name!r} is unknown; packages with recordings are: {', '.join(packages)}")
    return packages[name]


simulator = FitSimulator()
