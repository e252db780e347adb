"""Runs one policy on one scenario: baseline, run, second opinions, score. Part of a worker process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import (
    FailureKind,
    InvalidInput,
    Outcome,
    PolicyFailure,
    RunOptions,
    Scenario,
    ScenarioScore,
    Simulator,
    SimulatorFault,
)
from quintain_verifier.domain.determinism import parting
from quintain_verifier.domain.verdict import Reference, ScenarioResult, canonical
from quintain_verifier.sandbox.faults import RunCancelled, SandboxFault
from quintain_verifier.sandbox.jail import Jail, JailedRun
from quintain_verifier.sandbox.limits import MAX_LIMITS, Limits
from quintain_verifier.sandbox.report import IsolationReport
from quintain_verifier.workers.messages import Ran, ReferenceJob, RunJob, ScenarioJob

HASH_SEED, OTHER_HASH_SEED = 0, 1
K = TypeVar("K")
V = TypeVar("V")
_SCENARIOS_KEPT, _BASELINES_KEPT = 64, 1024


class BuildChanged(Exception):
    """The simulator is not the build that the verdict was planned with."""


@dataclass(slots=True)
class _Use:
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    killed_by: list[str] = field(default_factory=list)


class Jails:
    """The worker's jail, and a second one with another hash seed that is started when it is first needed."""

    def __init__(self, guest_modules: tuple[str, ...], *, insecure_dev: bool) -> None:
        self._guest_modules = guest_modules
        self._insecure_dev = insecure_dev
        self._jails: dict[int, Jail] = {}

    def get(self, hash_seed: int) -> Jail:
        """Raises SandboxFault if it cannot be started."""
        if hash_seed not in self._jails:
            isolation: Literal["required", "insecure_dev"] = "insecure_dev" if self._insecure_dev else "required"
            jail = Jail(self._guest_modules, isolation=isolation, hash_seed=hash_seed)
            jail.start()
            self._jails[hash_seed] = jail
        return self._jails[hash_seed]

    def close(self) -> None:
        for jail in self._jails.values():
            jail.close()
        self._jails.clear()


class Runner:
    """One job at a time, from one thread; `cancel` from any thread."""

    def __init__(self, simulators: Mapping[str, Simulator], jails: Jails) -> None:
        self._simulators = simulators
        self._jails = jails
        self._scenarios: OrderedDict[tuple[str, str, str], Scenario] = OrderedDict()
        self._baselines: OrderedDict[tuple[str, str, str], Outcome] = OrderedDict()
        self._lock = threading.Lock()
        self._current: JailedRun | None = None
        self._cancelled = False

    def begin(self, *, cancelled: bool) -> None:
        """A new job comes; `cancelled` if it is already unwanted."""
        with self._lock:
            self._cancelled = cancelled

    def cancel(self) -> None:
        """End the run of the current job: its policy is killed, and `run` raises RunCancelled."""
        with self._lock:
            self._cancelled = True
            if self._current is not None:
                self._current.cancel()

    def run(self, job: RunJob) -> Ran:
        """Raises InvalidInput, SimulatorFault, BuildChanged, SandboxFault and RunCancelled; never PolicyError."""
        simulator = self._simulators[job.simulator]
        scenario = self._scenario(simulator, job)
        baseline = self._baseline(simulator, scenario, job)
        use = _Use()
        outcome = self._examine(simulator, scenario, job, use)
        outcome = canonical(outcome, job.source)
        score = self._score(simulator, scenario, outcome, baseline, job.objective)
        baseline_score = self._score(simulator, scenario, baseline, baseline, job.objective)
        self._check_build(simulator, job)
        if not job.include_detail:
            outcome = replace(outcome, detail="")
        result = ScenarioResult(outcome, score, baseline_score.normalized)
        return Ran(job.job, result, use.cpu_seconds, use.peak_memory_bytes, use.killed_by, self._isolation())

    def reference(self, job: ReferenceJob) -> Reference:
        simulator = self._simulators[job.simulator]
        scenario = self._scenario(simulator, job)
        baseline = self._baseline(simulator, scenario, job)
        failed = Outcome(scenario.name, {}, (), "", "", PolicyFailure(FailureKind.DIED, "it was not run"))
        worst = self._score(simulator, scenario, failed, baseline, job.objective)
        baseline_score = self._score(simulator, scenario, baseline, baseline, job.objective)
        self._check_build(simulator, job)
        return Reference(worst, baseline_score.normalized)

    def _examine(self, simulator: Simulator, scenario: Scenario, job: RunJob, use: _Use) -> Outcome:
        """The policy's outcome, with the failure of a second opinion where one was asked for and parted."""
        first = self._policy(simulator, scenario, job, use, HASH_SEED, job.calling_mode)
        if job.check_determinism:
            second = self._policy(simulator, scenario, job, use, OTHER_HASH_SEED, job.calling_mode)
            parted = parting(first, second, "when the same run is repeated")
            if parted is not None:
                return replace(first, failure=parted)
        modes = simulator.describe().calling_modes
        if job.confirm and modes and first.calling_mode != modes[0]:
            literal = self._policy(simulator, scenario, job, use, HASH_SEED, modes[0])
            parted = parting(first, literal, f"when the policy is called in the mode {modes[0]}")
            if parted is not None:
                return replace(first, failure=parted)
        return first

    def _policy(
        self, simulator: Simulator, scenario: Scenario, job: RunJob, use: _Use, hash_seed: int, calling_mode: str
    ) -> Outcome:
        options = RunOptions(calling_mode=calling_mode, timeline=job.include_detail)
        return self._jailed(simulator, scenario, job.source, job.limits, job.seed, options, use, hash_seed)

    def _jailed(
        self,
        simulator: Simulator,
        scenario: Scenario,
        source: str,
        limits: Limits,
        seed: int,
        options: RunOptions,
        use: _Use,
        hash_seed: int,
    ) -> Outcome:
        jail = self._jails.get(hash_seed)
        with jail.open(
            source,
            guest_module=simulator.guest_module,
            guest_source=simulator.guest_source,
            limits=limits,
            seed=seed,
        ) as run:
            try:
                self._set_current(run)
                outcome = simulator.run(scenario, run.open_policy, options)
            except (SandboxFault, RunCancelled, SimulatorFault, InvalidInput):
                raise
            except Exception as error:
                raise SimulatorFault(f"{type(error).__name__}: {error}") from error
            finally:
                self._set_current(None)
        with self._lock:
            if self._cancelled:
                raise RunCancelled
        use.cpu_seconds += run.usage.cpu_seconds
        use.peak_memory_bytes = max(use.peak_memory_bytes, run.usage.max_rss_bytes)
        if run.usage.killed_by:
            use.killed_by.append(run.usage.killed_by)
        return outcome

    def _set_current(self, run: JailedRun | None) -> None:
        with self._lock:
            self._current = run
            if run is not None and self._cancelled:
                raise RunCancelled

    def _scenario(self, simulator: Simulator, job: ScenarioJob) -> Scenario:
        key = (job.simulator, job.build, job.digest)
        if key not in self._scenarios:
            if job.files is not None:
                scenario = simulator.inline_scenario(job.scenario, job.files)
            else:
                scenario = simulator.scenario(job.scenario)
            if scenario.digest != job.digest:
                raise BuildChanged(f"scenario {job.scenario} is not the one that was planned with")
            _keep(self._scenarios, key, scenario, _SCENARIOS_KEPT)
        scenario = self._scenarios[key]
        # The same content may come under another name.
        return scenario if scenario.name == job.scenario else replace(scenario, name=job.scenario)

    def _baseline(self, simulator: Simulator, scenario: Scenario, job: ScenarioJob) -> Outcome:
        """The default baseline's outcome. Its source is ours, so it runs right here unless its guest is not."""
        key = (job.simulator, job.build, job.digest)
        if key not in self._baselines:
            source = simulator.describe().baselines[0].source
            if simulator.guest_source:
                outcome = self._jailed(simulator, scenario, source, MAX_LIMITS, 0, RunOptions(), _Use(), HASH_SEED)
            else:
                outcome = simulator.run(scenario, in_process(simulator, source), RunOptions())
            if outcome.failure is not None:
                raise SimulatorFault(f"the default baseline failed on {scenario.name}: {outcome.failure.message}")
            _keep(self._baselines, key, replace(outcome, timeline=(), decision_log=(), detail=""), _BASELINES_KEPT)
        return replace(self._baselines[key], scenario=scenario.name)

    def _score(
        self, simulator: Simulator, scenario: Scenario, outcome: Outcome, baseline: Outcome, objective: str
    ) -> ScenarioScore:
        score = simulator.score(objective, scenario, outcome, baseline)
        if score.value != score.value or not 0.0 <= score.normalized <= 1.0:
            raise SimulatorFault(f"{scenario.name}: value {score.value}, normalised {score.normalized} is no score")
        return score

    def _check_build(self, simulator: Simulator, job: ScenarioJob) -> None:
        build = simulator.describe().build
        if build != job.build:
            raise BuildChanged(f"simulator {job.simulator} changed from build {job.build} to {build}")

    def _isolation(self) -> IsolationReport:
        return self._jails.get(HASH_SEED).report()


def _keep(cache: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    cache[key] = value
    while len(cache) > most:
        cache.popitem(last=False)
