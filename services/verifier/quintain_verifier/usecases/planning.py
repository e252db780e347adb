"""From what a caller asks for to a plan: names resolved, defaults filled in, everything checked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quintain.errors import FailedPrecondition
from quintain.plugins.naming import near, unknown
from quintain.plugins.simulator import (
    Aggregation,
    Description,
    InvalidInput,
    Objective,
    Part,
    Scenario,
    Simulator,
    Suite,
    SuiteEntry,
    narrowed,
)
from quintain_verifier.domain.plan import PlannedScenario, RunPlan
from quintain_verifier.sandbox.limits import Limits


@dataclass(frozen=True, slots=True)
class InlineScenario:
    name: str
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What a caller asks for; empty means the default, as in the contract. `limits` validated by the planner.
    `suite_files`: the suite's own, if it comes with the request. `ignore_cache`: run, whatever is on record."""

    simulator: str
    source: str
    suite: str = ""
    suite_files: Mapping[str, bytes] | None = None
    parts: frozenset[Part] = frozenset()
    scenarios: Sequence[str] = ()
    inline_scenarios: Sequence[InlineScenario] = ()
    objective: str = ""
    aggregation: Aggregation | None = None
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    calling_mode: str = ""
    check_determinism: bool = False
    confirm: bool = False
    stop_below_score: float | None = None
    parent_digest: str = ""
    include_detail: bool = False
    continue_after_time_limit: bool = False
    ignore_cache: bool = False


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """`files` by scenario name: the inline scenarios' content. `suite` and `suite_files` as in the request."""

    plan: RunPlan
    files: Mapping[str, Mapping[str, bytes]]
    suite: str
    suite_files: Mapping[str, bytes] | None


class RunPlanner:
    """Thread safe. A remote simulator is asked here, so `plan` may block. `unusable`: installed simulators that cannot
    be used, with the reason."""

    def __init__(self, simulators: Mapping[str, Simulator], unusable: Mapping[str, str], max_limits: Limits) -> None:
        self._simulators, self._unusable = simulators, unusable
        self._max_limits = max_limits

    def plan(self, request: VerifyRequest) -> PlannedRequest:
        """Raises InvalidInput, and SimulatorFault if a remote simulator cannot be reached."""
        simulator = self.narrowed(request.simulator, request.suite, request.scenarios, request.suite_files)
        description = simulator.describe()
        self._check_source(request)
        limits = request.limits.validate(self._max_limits)
        suite, entries = self._entries(simulator, request)
        if request.calling_mode and request.calling_mode not in description.calling_modes:
            raise InvalidInput("calling_mode", unknown(request.calling_mode, description.calling_modes))
        if request.stop_below_score is not None and not math.isfinite(request.stop_below_score):
            raise InvalidInput("stop_below_score", f"found {request.stop_below_score}; must be a finite number")
        objective = _objective(description, request.objective or (suite.objective if suite else ""))
        plan = RunPlan(
            source=request.source,
            simulator=request.simulator,
            build=description.build,
            scenarios=tuple(
                PlannedScenario(s.name, s.digest, e.part, s.cost, e.group, e.model, e.section) for s, e in entries
            ),
            objective=objective,
            aggregation=request.aggregation or (suite.aggregation if suite else Aggregation.MEAN_NORMALIZED),
            limits=limits,
            seed=request.seed,
            calling_mode=request.calling_mode,
            check_determinism=request.check_determinism,
            confirm=request.confirm,
            stop_below_score=request.stop_below_score,
            include_detail=request.include_detail,
            continue_after_time_limit=request.continue_after_time_limit,
            other_metrics=tuple(sorted({o.metric for o in description.objectives} - {objective.metric})),
            fidelity=description.fidelity,
            fidelity_reason=description.fidelity_reason,
        )
        files = {inline.name: inline.files for inline in request.inline_scenarios}
        return PlannedRequest(plan, files, request.suite, request.suite_files)

    def narrowed(
        self, name: str, suite: str, scenarios: Sequence[str] = (), suite_files: Mapping[str, bytes] | None = None
    ) -> Simulator:
        """The simulator as a request means it. Raises InvalidInput."""
        return narrowed(self.simulator(name), suite, scenarios, suite_files)

    def simulator(self, name: str) -> Simulator:
        """Raises InvalidInput for an unknown name, FailedPrecondition for one that cannot be used."""
        if name in self._unusable:
            raise FailedPrecondition(self._unusable[name], reason="SIMULATOR_UNUSABLE")
        if name not in self._simulators:
            raise InvalidInput("simulator", unknown(name, self._simulators))
        return self._simulators[name]

    def _check_source(self, request: VerifyRequest) -> None:
        if not request.source.strip():
            raise InvalidInput("policy.source", "is empty; must be Python source that implements the policy interface")
        size = len(request.source.encode())
        if size > request.limits.source_bytes:
            raise InvalidInput(
                "policy.source",
                f"has {size} bytes; the limit is {request.limits.source_bytes} (limits.source_bytes, at most"
                f" {self._max_limits.source_bytes})",
            )

    def _entries(
        self, simulator: Simulator, request: VerifyRequest
    ) -> tuple[Suite | None, list[tuple[Scenario, SuiteEntry]]]:
        """Scenarios named one by one or brought along steer like train scenarios: the caller has seen them."""
        if bool(request.suite or request.scenarios) == bool(request.inline_scenarios):
            raise InvalidInput(
                "suite", "give exactly one of suite (scenarios: some of it), scenarios and inline_scenarios"
            )
        if request.parts and not request.suite:
            raise InvalidInput("parts", "only a suite has parts")
        suite = simulator.suite(request.suite) if request.suite else None
        wanted = [e for e in suite.entries if e.part in (request.parts or frozenset(Part))] if suite else []
        if suite is not None and request.scenarios:
            wanted = _chosen(suite, wanted, request.scenarios)
        if suite is not None and not wanted:
            raise InvalidInput("parts", f"suite {suite.name} has no scenario in these parts")
        count = len(wanted) if suite is not None else len(request.scenarios) + len(request.inline_scenarios)
        if count > request.limits.scenarios:  # before the first of them is loaded
            raise InvalidInput("scenarios", f"found {count}; one request may have {request.limits.scenarios}")
        if suite is not None:
            entries = [(simulator.scenario(e.scenario), e) for e in wanted]
        elif request.scenarios:
            entries = [(simulator.scenario(name), SuiteEntry(name, Part.TRAIN)) for name in request.scenarios]
        else:
            inlines = [_inline(simulator, inline) for inline in request.inline_scenarios]
            entries = [(scenario, SuiteEntry(scenario.name, Part.TRAIN)) for scenario in inlines]
        repeated = [name for name, count in Counter(s.name for s, _ in entries).items() if count > 1]
        if repeated:
            raise InvalidInput("scenarios", f"{repeated[0]!r} is named more than once")
        return suite, entries


def _chosen(suite: Suite, entries: Sequence[SuiteEntry], names: Sequence[str]) -> list[SuiteEntry]:
    for name in names:
        if name not in [e.scenario for e in entries]:
            known = [e.scenario for e in entries]
            there = f"it has, in these parts: {', '.join(known)}"
            raise InvalidInput("scenarios", f"suite {suite.name} has no {name!r}{near(name, known)}; {there}")
    return [e for e in entries if e.scenario in names]


def _inline(simulator: Simulator, inline: InlineScenario) -> Scenario:
    if not inline.name:
        raise InvalidInput("inline_scenarios.name", "is empty; every scenario needs a name of its own")
    scenario = simulator.inline_scenario(inline.name, inline.files)
    if scenario.name != inline.name:
        raise InvalidInput("inline_scenarios.name", f"{inline.name!r} calls itself {scenario.name!r} in its files")
    return scenario


def _objective(description: Description, name: str) -> Objective:
    for objective in description.objectives:
        if objective.name == name or not name:
            return objective
    raise InvalidInput("objective", unknown(name, [o.name for o in description.objectives]))
