"""The simulator as quintain sees it: the object behind the entry point ``quintain.simulators: spot_deadline``."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from statistics import fmean

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
from quintain_spot_deadline import objective as objectives
from quintain_spot_deadline.conversation import CALLING_MODES
from quintain_spot_deadline.grammar import grammar
from quintain_spot_deadline.notes import scenario_notes
from quintain_spot_deadline.optima import optimal_cost
from quintain_spot_deadline.outcome import run_scenario
from quintain_spot_deadline.scenario import from_files, spec_of
from quintain_spot_deadline.suites import scenarios, suites, unavailable

BASELINES = ("uniform_progress", "greedy", "on_demand")  # the default and a search's seed first
DESCRIPTORS = (
    Descriptor("launches_per_run", (10.0, 20.0, 30.0, 40.0)),
    Descriptor("waited_ticks_per_run", (5.0, 15.0, 30.0, 60.0)),
    Descriptor("spot_share", (0.3, 0.45, 0.55, 0.65)),
)


class SpotDeadline:
    """Satisfies `quintain.plugins.simulator.Simulator`. No state beside caches; safe to use from many threads."""

    guest_module = "quintain_spot_deadline.guest"
    guest_source = ""

    def describe(self) -> Description:
        return _description()

    def suite(self, name: str) -> Suite:
        if name in unavailable():
            raise InvalidInput("suite", f"{name!r} is not available here: {unavailable()[name]}")
        if name not in suites():
            raise InvalidInput("suite", unknown(name, suites()))
        return suites()[name]

    def scenario(self, name: str) -> Scenario:
        if name not in scenarios():
            reasons = "".join(f"; {suite}: {reason}" for suite, reason in unavailable().items())
            raise InvalidInput("scenario", f"{unknown(name, scenarios())}{reasons}")
        return scenarios()[name]

    def inline_scenario(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        return from_files(name, files)

    def scenario_notes(self, scenario: Scenario) -> str:
        return scenario_notes(spec_of(scenario))

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        return run_scenario(scenario, open_policy, options)

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        in_time = objective == objectives.NEVER_LATE.name
        windows = [labelled.window for labelled in spec_of(scenario).windows]
        bound = fmean(objectives.saved(w.job, optimal_cost(w, in_time=in_time)) for w in windows)
        return objectives.score(objective, outcome, baseline, bound)


@functools.cache
def _description() -> Description:
    package = resources.files("quintain_spot_deadline")
    return Description(
        name="spot_deadline",
        title="A job before its deadline on spot machines",
        build=build_digest(package_files(package)),
        policy_guide=package.joinpath("guide.md").read_text(encoding="utf-8"),
        required_definitions=(
            RequiredDefinition("function", "decide", 'decide(job, now): "none", "spot" or "on_demand" for this tick'),
        ),
        objectives=tuple(objectives.OBJECTIVES.values()),
        suites=tuple(suites()),
        baselines=tuple(_baseline(package, name) for name in BASELINES),
        descriptors=DESCRIPTORS,
        grammar=grammar().to_json(),
        calling_modes=CALLING_MODES,
        unavailable_suites=unavailable(),
    )


def _baseline(package: Traversable, name: str) -> Baseline:
    source = package.joinpath("baselines", f"{name}.py").read_text(encoding="utf-8")
    return Baseline(name=name, description=source.partition('"""')[2].partition('"""')[0], source=source)


simulator = SpotDeadline()
