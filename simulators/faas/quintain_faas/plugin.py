"""The FaaS simulator as quintain sees it: the object behind the entry point ``quintain.simulators: faas``."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable

from quintain.plugins.naming import unknown
from quintain.plugins.package_files import build_digest, package_files
from quintain.plugins.simulator import (
    Baseline,
    Description,
    Descriptor,
    InvalidInput,
    OpenPolicy,
    Outcome,
    RequiredDefinition,
    RunOptions,
    Scenario,
    ScenarioScore,
    Suite,
)
from quintain_faas import objective as objectives
from quintain_faas.bounds import scenario_bounds
from quintain_faas.grammar import grammar_json
from quintain_faas.notes import scenario_notes
from quintain_faas.outcome import run_scenario
from quintain_faas.scenario import scenario_from_files, spec_of
from quintain_faas.scenario_suite import (
    BUILT_IN,
    LoadedSuite,
    built_in_scenarios,
    built_in_suites,
    suite_from_files,
    weaknesses,
)

BASELINES_FOLDER = "baselines/"

REQUIRED = (
    RequiredDefinition(
        "decorator", "register_scheduler_init", "a function of the scheduler, called once before the first tick"
    ),
    RequiredDefinition(
        "decorator",
        "register_scheduler",
        "a function (scheduler, results, pipelines) that returns (suspensions, assignments)",
    ),
)
DESCRIPTORS = (
    Descriptor("mean_memory_consumed_percent", (15.0, 30.0, 45.0, 60.0)),
    Descriptor("mean_container_ram_percent", (8.0, 11.5, 15.0, 25.0, 50.0)),
    Descriptor("query_completion_share", (0.25, 0.5, 0.75, 0.95)),
    Descriptor("suspensions_per_assignment", (0.001, 0.05)),
)


class FaasSimulator:
    """Satisfies `quintain.plugins.simulator.Simulator`. Holds no state beside caches; safe to use from many threads."""

    guest_module = "quintain_faas.guest"
    guest_source = ""

    def describe(self) -> Description:
        return _description()

    def suite(self, name: str) -> Suite:
        suites = built_in_suites()
        if name not in suites:
            raise InvalidInput("suite", unknown(name, suites))
        return suites[name].suite

    def scenario(self, name: str) -> Scenario:
        scenarios = built_in_scenarios()
        if name not in scenarios:
            raise InvalidInput("scenario", unknown(name, scenarios))
        return scenarios[name]

    def inline_scenario(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        return scenario_from_files(name, files)

    def from_files(self, name: str, files: Mapping[str, bytes]) -> OwnSuite:
        return OwnSuite(name, suite_from_files(name, files), files)

    def suite_template(self, name: str) -> Mapping[str, bytes]:
        folder = resources.files("quintain_faas") / "template"
        return package_files(folder)

    def suite_notes(self, name: str, files: Mapping[str, bytes]) -> Sequence[str]:
        return weaknesses(suite_from_files(name, files))

    def scenario_notes(self, scenario: Scenario) -> str:
        return scenario_notes(spec_of(scenario))

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        return run_scenario(scenario, open_policy, options)

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        spec = spec_of(scenario)
        bounds = scenario_bounds(spec)
        return objectives.score(
            objective,
            outcome,
            baseline,
            duration=float(spec.params.duration),
            bounds={"throughput": bounds.throughput, "penalised_latency": bounds.penalised_latency},
        )


class OwnSuite(FaasSimulator):
    """This simulator with one suite of the caller's, and the caller's policies to compare with: ``baselines/*.py``, of
    which the first by name sets the floors. Without any they are the simulator's own."""

    def __init__(self, name: str, loaded: LoadedSuite, files: Mapping[str, bytes]) -> None:
        self._name, self._loaded = name, loaded
        sources = {
            file.removeprefix(BASELINES_FOLDER).removesuffix(".py"): _text(file, files[file])
            for file in sorted(files)
            if file.startswith(BASELINES_FOLDER) and file.endswith(".py") and file.count("/") == 1
        }
        own = tuple(Baseline(baseline, _about(source), source) for baseline, source in sources.items())
        common = super().describe()
        build = hashlib.sha256(f"{common.build}\0{sorted(sources.items())}".encode()).hexdigest()
        self._described = replace(
            common, suites=(name,), baselines=own or common.baselines, build=build if own else common.build, hints=""
        )

    def describe(self) -> Description:
        return self._described

    def suite(self, name: str) -> Suite:
        if name != self._name:
            raise InvalidInput("suite", f"{name!r} is unknown; the files hold {self._name!r}")
        return self._loaded.suite

    def scenario(self, name: str) -> Scenario:
        if name not in self._loaded.scenarios:
            raise InvalidInput("scenario", unknown(name, self._loaded.scenarios))
        return self._loaded.scenarios[name]


@functools.cache
def _description() -> Description:
    package = resources.files("quintain_faas")
    return Description(
        name="faas",
        title="FaaS scheduling (Eudoxia's policy interface)",
        build=build_digest(package_files(package)),
        policy_guide=(package / "guide.md").read_text(encoding="utf-8"),
        required_definitions=REQUIRED,
        objectives=tuple(objectives.OBJECTIVES.values()),
        suites=BUILT_IN,
        baselines=tuple(_baseline(package, name) for name in ("fifo", "priority")),
        descriptors=DESCRIPTORS,
        grammar=grammar_json(),
        calling_modes=("every_tick", "fixed_point", "guard"),
        hints=(package / "hints.md").read_text(encoding="utf-8"),
    )


def _baseline(package: Traversable, name: str) -> Baseline:
    source = (package / "baselines" / f"{name}.py").read_text(encoding="utf-8")
    return Baseline(name=name, description=_about(source), source=source)


def _about(source: str) -> str:
    """A policy's docstring."""
    return source.partition('"""')[2].partition('"""')[0]


def _text(file: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(file, f"is not UTF-8 (byte {error.start})") from None


simulator = FaasSimulator()
