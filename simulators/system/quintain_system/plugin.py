"""The simulator as quintain sees it: the object behind the entry point ``quintain.simulators: system``."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources

from quintain.plugins.doors import SYSTEMS
from quintain.plugins.loading import PluginError
from quintain.plugins.naming import near
from quintain.plugins.package_files import build_digest, package_files
from quintain.plugins.simulator import (
    Description,
    InvalidInput,
    Objective,
    OpenPolicy,
    OpenProgram,
    Outcome,
    RunOptions,
    Scenario,
    ScenarioScore,
    Simulator,
    Suite,
)
from quintain_system.form.notes import notes
from quintain_system.form.package import read_package
from quintain_system.kept_packages import KeptPackages, one_owner, owner_of
from quintain_system.package_simulator import JailedSystems, PackageSimulator

PACKAGES_KEPT = 16  # that came as files
GUIDE = """\
A suite of this simulator is a system of its own, with its own guide, objectives and baselines: describe it by its
suite's name.
"""


class SystemSimulator(JailedSystems):
    """Satisfies `ProgramSimulator`, `ManySystems` and `SuiteReader`. No state beside caches."""

    def __init__(self) -> None:
        self._from_files: KeptPackages[PackageSimulator] = KeptPackages(
            lambda files, prefix: PackageSimulator(read_package(files), engine_build(), prefix), PACKAGES_KEPT
        )

    def describe(self) -> Description:
        packages, broken = installed()
        first = next(iter(packages.values())).describe()
        return replace(
            first,
            name="system",
            title="Systems as packages",
            build=hashlib.sha256("\n".join(p.build for p in packages.values()).encode()).hexdigest(),
            policy_guide=GUIDE,
            objectives=_unique([o for p in packages.values() for o in p.describe().objectives]),
            suites=tuple(name for p in packages.values() for name in p.suite_names),
            descriptors=(),
            grammar="",
            unavailable_suites=broken,
        )

    def narrowed(self, suite: str = "", scenarios: Sequence[str] = ()) -> Simulator:
        owner = one_owner([suite] if suite else scenarios)
        return _package(owner, "suite" if suite else "scenarios")

    def from_files(self, name: str, files: Mapping[str, bytes]) -> Simulator:
        return self._from_files.get(name, files)

    def suite_template(self, name: str) -> Mapping[str, bytes]:
        own = name.replace("-", "_")
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", own):
            raise InvalidInput("name", f"{name!r} must be lower-case letters, digits and - or _, a letter first")
        files = package_files(resources.files("quintain_system") / "template")
        return {file: content.replace(b'"NAME"', f'"{own}"'.encode()) for file, content in files.items()}

    def suite_notes(self, name: str, files: Mapping[str, bytes]) -> Sequence[str]:
        return notes(read_package(files).spec)

    def suite(self, name: str) -> Suite:
        return _package(owner_of(name), "suite").suite(name)

    def scenario(self, name: str) -> Scenario:
        return _package(owner_of(name), "scenario").scenario(name)

    def scenario_notes(self, scenario: Scenario) -> str:
        return _package(owner_of(scenario.name), "scenario").scenario_notes(scenario)

    def run_with_programs(
        self, scenario: Scenario, open_policy: OpenPolicy, open_program: OpenProgram, options: RunOptions
    ) -> Outcome:
        package = _package(owner_of(scenario.name), "scenario")
        return package.run_with_programs(scenario, open_policy, open_program, options)

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        return _package(owner_of(scenario.name), "scenario").score(objective, scenario, outcome, baseline)


@functools.cache
def installed() -> tuple[Mapping[str, PackageSimulator], Mapping[str, str]]:
    """The packages that are shipped here, and those of other wheels (entry points), by name; and what is wrong with
    those that cannot be used."""
    folders = {f.name: f for f in (resources.files("quintain_system") / "packages").iterdir() if f.is_dir()}
    folders.pop("__pycache__", None)
    broken: dict[str, str] = {}
    for installed_name in SYSTEMS.names():
        try:
            folders[installed_name] = resources.files(SYSTEMS.load(installed_name))
        except PluginError as error:
            broken[installed_name] = str(error)
    found = {}
    for name, folder in sorted(folders.items()):
        try:
            package = read_package(package_files(folder))
        except (InvalidInput, OSError) as error:
            broken[name] = str(error)
        else:
            found[package.name] = PackageSimulator(package, engine_build(), prefix=package.name)
    return found, broken


def _package(name: str, field: str) -> PackageSimulator:
    packages, broken = installed()
    if name in broken:
        raise InvalidInput(field, f"package {name} cannot be used: {broken[name]}")
    if name not in packages:
        installed_are = f"installed packages are: {', '.join(packages)}"
        raise InvalidInput(field, f"{name!r} is unknown{near(name, packages)}; {installed_are}")
    return packages[name]


def _unique(items: Sequence[Objective]) -> tuple[Objective, ...]:
    return tuple(dict.fromkeys(items))


@functools.cache
def engine_build() -> str:
    """sha256 (hex) over the engine's own code: the same on every machine and Python version."""
    files = package_files(resources.files("quintain_system"))
    return build_digest(
        {
            n: file
            for n, file in files.items()
            if n.endswith(".py") and not n.startswith(("packages/", "template/", "recorded/"))
        }
    )


simulator = SystemSimulator()
