"""Runs one policy on one scenario: baseline, run, second opinions, score. Part of a worker process."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Literal, TypeVar

from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import (
    MAX_PROGRAMS,
    FailureKind,
    InvalidInput,
    JsonValue,
    ModelFault,
    Outcome,
    Policy,
    PolicyError,
    PolicyFailure,
    Program,
    ProgramSimulator,
    RunOptions,
    Scenario,
    ScenarioScore,
    Simulator,
    SimulatorFault,
    narrowed,
)
from quintain_verifier.domain.determinism import parting, simulator_parted
from quintain_verifier.domain.jobs import Ran, ReferenceJob, RunJob, ScenarioJob
from quintain_verifier.domain.verdict import Reference, ScenarioResult, canonical
from quintain_verifier.sandbox.faults import RunCancelled, SandboxFault
from quintain_verifier.sandbox.fresh import FreshPolicies
from quintain_verifier.sandbox.jail import Jail, JailedRun
from quintain_verifier.sandbox.limits import MAX_LIMITS, Limits, program_limits
from quintain_verifier.sandbox.report import IsolationReport
from quintain_verifier.sandbox.same_core import SameCore

HASH_SEED, OTHER_HASH_SEED = 0, 1
K = TypeVar("K")
V = TypeVar("V")
_SCENARIOS_KEPT, _BASELINES_KEPT = 64, 1024
_SHORTEST_PROGRAM_SECONDS = 0.1


class BuildChanged(Exception):
    """The simulator is not the build that the verdict was planned with."""


@dataclass(slots=True)
class _Use:
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_bytes: int = 0
    killed_by: list[str] = field(default_factory=list)
    programs: int = 0  # of the simulator's own


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


class EngineRunner:
    """One job at a time, from one thread; `cancel` from any thread."""

    def __init__(self, load: Callable[[str], Simulator], jails: Jails, program_seconds: float) -> None:
        """`load` gives a simulator by its name. `program_seconds`: how long one job may wait for the simulator's own
        jailed programs, all in all."""
        self._load = load
        self._program_seconds = program_seconds
        self._program_seconds_left = program_seconds
        self._jails = jails
        self._scenarios: OrderedDict[tuple[str, str, str, bool, bool], Scenario] = OrderedDict()
        self._baselines: OrderedDict[tuple[str, str, str], Outcome] = OrderedDict()
        self._core = SameCore()
        self._lock = threading.Lock()
        self._current: list[JailedRun] = []
        self._cancelled = False

    def begin(self, *, cancelled: bool) -> None:
        """A new job comes; `cancelled` if it is already unwanted."""
        self._program_seconds_left = self._program_seconds
        with self._lock:
            self._cancelled = cancelled

    def cancel(self) -> None:
        """End the run of the current job: its policy is killed, and `run` raises RunCancelled."""
        with self._lock:
            self._cancelled = True
            for run in self._current:
                run.cancel()

    def run(self, job: RunJob) -> Ran:
        """Raises InvalidInput, SimulatorFault, BuildChanged, SandboxFault and RunCancelled; never PolicyError."""
        simulator = self._simulator(job)
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
        return Ran(
            job.job,
            result,
            use.cpu_seconds,
            use.wall_seconds,
            use.peak_memory_bytes,
            use.killed_by,
            self._isolation(),
        )

    def reference(self, job: ReferenceJob) -> Reference:
        simulator = self._simulator(job)
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
        modes = simulator.describe().calling_modes
        literally = job.confirm and bool(modes) and first.calling_mode != modes[0]
        if job.check_determinism and literally:  # one run for both, unless it shows that there is something to look at
            both = self._policy(simulator, scenario, job, use, OTHER_HASH_SEED, modes[0])
            if parting(first, both, "") is None:
                return first
        if job.check_determinism:
            second = self._policy(simulator, scenario, job, use, OTHER_HASH_SEED, job.calling_mode)
            _check_simulator(first, second, programs=use.programs > 0)
            parted = parting(first, second, "when the same run is repeated")
            if parted is not None:
                return replace(first, failure=parted)
        if literally:
            literal = self._policy(simulator, scenario, job, use, HASH_SEED, modes[0])
            parted = parting(first, literal, f"when the policy is called in the mode {modes[0]}")
            if parted is not None:
                return replace(first, failure=parted)
        return first

    def _policy(
        self, simulator: Simulator, scenario: Scenario, job: RunJob, use: _Use, hash_seed: int, calling_mode: str
    ) -> Outcome:
        options = RunOptions(calling_mode=calling_mode, timeline=job.include_detail, told_log=job.check_determinism)
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
        options = replace(options, policy_digest=hashlib.sha256(source.encode(errors="surrogatepass")).hexdigest())
        with ExitStack() as stack:

            def open_jailed(source: str, guest_module: str, guest_source: str, limits: Limits, seed: int) -> JailedRun:
                run = stack.enter_context(
                    jail.open(
                        source,
                        guest_module=guest_module,
                        guest_source=guest_source,
                        limits=limits,
                        seed=seed,
                        core=self._core,
                    )
                )
                self._add_current(run)
                return run

            def open_fresh(limits: Limits) -> JailedRun:
                run = jail.open(
                    source,
                    guest_module=simulator.guest_module,
                    guest_source=simulator.guest_source,
                    limits=limits,
                    seed=seed,
                    core=self._core,
                )
                try:
                    self._add_current(run)
                except RunCancelled:
                    run.close()
                    raise
                return run

            stack.enter_context(self._core.engaged())
            stack.callback(self._forget_current)
            policy = stack.enter_context(FreshPolicies(open_fresh, limits))
            programs = _Programs(self, open_jailed)
            try:
                if isinstance(simulator, ProgramSimulator):
                    outcome = simulator.run_with_programs(scenario, policy.open, programs.open, options)
                else:
                    outcome = simulator.run(scenario, policy.open, options)
            except (SandboxFault, RunCancelled, SimulatorFault, InvalidInput):
                raise
            except Exception as error:
                raise SimulatorFault(f"{type(error).__name__}: {error}") from error
        with self._lock:
            if self._cancelled:
                raise RunCancelled
        use.programs += programs.opened
        use.cpu_seconds += policy.usage.cpu_seconds
        use.wall_seconds += policy.usage.wall_seconds
        use.peak_memory_bytes = max(use.peak_memory_bytes, policy.usage.max_rss_bytes)
        if policy.usage.killed_by:
            use.killed_by.append(policy.usage.killed_by)
        return outcome

    def _add_current(self, run: JailedRun) -> None:
        with self._lock:
            self._current = [one for one in self._current if not one.closed] + [run]
            if self._cancelled:
                raise RunCancelled

    def _forget_current(self) -> None:
        with self._lock:
            self._current = []

    def program_seconds_left(self) -> float:
        return max(_SHORTEST_PROGRAM_SECONDS, self._program_seconds_left)

    def waited_for_program(self, seconds: float) -> None:
        self._program_seconds_left -= seconds

    def _simulator(self, job: ScenarioJob) -> Simulator:
        """As the job means it: with a suite of the caller's own, or one system of many."""
        simulator = self._load(job.simulator)
        if job.suite_files is None:
            return narrowed(simulator, job.suite, () if job.suite or job.files is not None else (job.scenario,))
        return narrowed(simulator, job.suite, files=job.suite_files)

    def _scenario(self, simulator: Simulator, job: ScenarioJob) -> Scenario:
        # A remote simulator's own scenario is a name, which means nothing where the same content came as files.
        key = (job.simulator, job.build, job.digest, job.files is not None, job.suite_files is not None)
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
        """The default baseline's outcome. Its source is ours, so it runs right here unless it or its guest is not."""
        key = (job.simulator, job.build, job.digest)
        if key not in self._baselines:
            source = simulator.describe().baselines[0].source
            if simulator.guest_source or isinstance(simulator, ProgramSimulator):
                outcome = self._jailed(simulator, scenario, source, MAX_LIMITS, 0, RunOptions(), _Use(), HASH_SEED)
            else:
                outcome = simulator.run(scenario, in_process(simulator, source), RunOptions())
            if outcome.failure is not None:
                raise SimulatorFault(f"the default baseline failed on {scenario.name}: {outcome.failure.message}")
            _keep(
                self._baselines,
                key,
                replace(outcome, timeline=(), decision_log=(), told_log=(), detail=""),
                _BASELINES_KEPT,
            )
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


def _check_simulator(first: Outcome, second: Outcome, *, programs: bool) -> None:
    """Raises ModelFault or SimulatorFault if it was not the policy that made two runs differ."""
    number = simulator_parted(first, second)
    if number is None:
        return
    message = (
        f"in call {number}, two runs were told different things after equal decisions; use no clock, no hash order of "
        "sets, and only the random that is given"
    )
    if programs:
        raise ModelFault("model.py", PolicyFailure(FailureKind.NONDETERMINISTIC, message))
    raise SimulatorFault(f"it is not deterministic: {message}")


class _Programs:
    """Opens the jailed programs of one run, and turns what they do wrong into ModelFault."""

    def __init__(
        self,
        runner: EngineRunner,
        open_jailed: Callable[[str, str, str, Limits, int], JailedRun],
    ) -> None:
        self._runner, self._open_jailed = runner, open_jailed
        self.opened = 0

    def open(self, program: Program, setup: JsonValue) -> Policy:
        self.opened += 1
        if self.opened > MAX_PROGRAMS:
            raise SimulatorFault(f"a run may have {MAX_PROGRAMS} programs; {program.name} is one more")
        limits = program_limits(self._runner.program_seconds_left())
        run = self._open_jailed(program.source, program.guest_module, program.guest_source, limits, program.seed)
        try:
            return _JailedProgram(self._runner, program, run.open_policy(setup))
        except PolicyError as error:
            raise _model_fault(program, error) from error


def _model_fault(program: Program, error: PolicyError) -> ModelFault:
    failure = error.failure
    return ModelFault(program.name, replace(failure, message=failure.message.replace("policy process", "process")))


class _JailedProgram:
    """`Policy` over a program's jailed run."""

    def __init__(self, runner: EngineRunner, program: Program, inner: Policy) -> None:
        self.info = inner.info
        self._runner, self._program, self._inner = runner, program, inner

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        began = monotonic()
        try:
            return self._inner.ask(message, on_query)
        except PolicyError as error:
            raise _model_fault(self._program, error) from error
        finally:
            self._runner.waited_for_program(monotonic() - began)
