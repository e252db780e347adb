"""What every simulator must do, as checks that run on an installed one and on a remote one alike.

    for result in check_simulator(simulator):
        print(result.name, "ok" if result.passed else result.message)

Checks run on the cheapest scenarios of each suite, and each baseline there as seldom as they allow: it takes seconds in
this process, longer where every message of a run crosses a network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import (
    Baseline,
    Direction,
    FailureKind,
    InvalidInput,
    JsonValue,
    ManySystems,
    OpenPolicy,
    Outcome,
    Part,
    Policy,
    PolicyError,
    PolicyFailure,
    RunOptions,
    Scenario,
    ScenarioScore,
    Simulator,
    SimulatorFault,
    SimulatorUnavailable,
    SuiteReader,
    narrowed,
    scenario_notes,
)

SCENARIOS_PER_SUITE = 2
MOST_COST = 5.0  # of a scenario that is run, in costs of the cheapest
MOST_NOTES = 4_000  # characters of `ScenarioNotes.scenario_notes`
UNKNOWN = "no-such-thing"
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")

# Opens one policy of a simulator for one run; on leaving the context it is gone.
OpenPolicyFactory: TypeAlias = Callable[[Simulator, str], AbstractContextManager[OpenPolicy]]

# Sources that no policy language takes, and what they must end as.
BAD_SOURCES = {
    "a syntax error": "def (:\n",
    "an exception at import": "raise RuntimeError('at import')\n",
    "nothing defined": "x = 1\n",
}
# What every module may hold: annotations that are text, a dataclass that looks its own module up.
BEFORE_A_POLICY = "from __future__ import annotations\n"
AFTER_A_POLICY = """

import dataclasses
import typing


@dataclasses.dataclass
class ConformanceState:
    kind: typing.ClassVar[str] = "state"
    seen: dict[str, int] = dataclasses.field(default_factory=dict)
    best: "int | None" = None


assert [f.name for f in dataclasses.fields(ConformanceState())] == ["seen", "best"]
assert typing.get_type_hints(ConformanceState)["best"] == int | None
"""
# Answers that a policy process may send instead of its guest's.
GARBAGE: tuple[JsonValue, ...] = (
    "not an answer at all",
    None,
    -1,
    1e308,
    [],
    {},
    [[[[]]]],
    {"a": {"b": [None, True, "c"]}},
    [None] * 1000,
    {"assignments": "many", "0": -(10**30)},
)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`message` says what was found and what would be right; empty if the check passed."""

    name: str
    passed: bool
    message: str = ""


class Nonconformance(AssertionError):
    """A check found something."""


def check_simulator(simulator: Simulator, open_policy_factory: OpenPolicyFactory | None = None) -> list[CheckResult]:
    """Run all checks, up to the one that finds the simulator out of reach; never raises for what the simulator does.
    A fault that several checks meet is said once. `open_policy_factory`: where policies run, by default in this process
    (see `quintain.plugins.inprocess`). A simulator that is another one in each of its suites is checked in each."""
    factory = open_policy_factory or _in_this_process
    subjects: dict[str, _Subject] = {}
    results: list[CheckResult] = []
    met: dict[str, str] = {}  # a fault of the simulator -> the check that met it first
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            subjects = subjects or _subjects(simulator, factory)
            _check_each(check, subjects)
        except Nonconformance as finding:
            results.append(CheckResult(name, False, str(finding)))
        except SimulatorUnavailable as gone:
            left = len(CHECKS) - len(results) - 1
            results.append(CheckResult(name, False, f"{gone}; the {left} checks that follow were not run"))
            break
        except SimulatorFault as fault:
            first = met.setdefault(str(fault), name)
            results.append(CheckResult(name, False, str(fault) if first == name else f"the same fault as in: {first}"))
        except Exception as error:  # noqa: BLE001 - the boundary to the simulator's code
            results.append(CheckResult(name, False, f"{type(error).__name__}: {error}"))
        else:
            results.append(CheckResult(name, True))
    return results


def _subjects(simulator: Simulator, factory: OpenPolicyFactory) -> dict[str, _Subject]:
    suites = simulator.describe().suites if isinstance(simulator, ManySystems) else ()
    systems = {suite: narrowed(simulator, suite) for suite in suites} or {"": simulator}
    once = {one.describe().build: (suite, one) for suite, one in reversed(systems.items())}  # of several suites
    return {suite: _Subject(one, factory) for suite, one in once.values()}


def _check_each(check: Callable[[_Subject], None], subjects: Mapping[str, _Subject]) -> None:
    for suite, subject in subjects.items():
        try:
            check(subject)
        except Nonconformance as finding:
            raise Nonconformance(f"suite {suite}: {finding}" if suite else str(finding)) from finding


@contextmanager
def _in_this_process(simulator: Simulator, source: str) -> Iterator[OpenPolicy]:
    yield in_process(simulator, source)


class _Subject:
    def __init__(self, simulator: Simulator, factory: OpenPolicyFactory) -> None:
        self.simulator = simulator
        self._factory = factory
        self._finished: dict[tuple[str, str], Outcome] = {}  # by scenario and baseline

    def like(self, simulator: Simulator) -> _Subject:
        """Another simulator, with policies where this one's are."""
        return _Subject(simulator, self._factory)

    def run(self, scenario: Scenario, source: str, options: RunOptions | None = None) -> Outcome:
        with self._factory(self.simulator, source) as open_policy:
            return simulate(self.simulator, scenario, open_policy, options or RunOptions())

    def finished(self, scenario: Scenario, baseline: Baseline) -> Outcome:
        """Of a first run, for all checks that need no further one."""
        key = (scenario.name, baseline.name)
        if key not in self._finished:
            self._finished[key] = self.run(scenario, baseline.source)
        return self._finished[key]

    def run_altered(self, scenario: Scenario, alter: Callable[[Policy], Policy]) -> Outcome:
        """A run of the default baseline, whose messages `alter` may replace."""
        with self._factory(self.simulator, self.baseline.source) as open_policy:
            return simulate(self.simulator, scenario, lambda setup: alter(open_policy(setup)), RunOptions())

    @property
    def baseline(self) -> Baseline:
        """The default one."""
        return self.simulator.describe().baselines[0]

    @property
    def scenarios(self) -> list[Scenario]:
        """The cheapest of each suite, without those that cost much more than the cheapest of all."""
        chosen: dict[str, Scenario] = {}
        for name in self.simulator.describe().suites:
            entries = [self.simulator.scenario(e.scenario) for e in self.simulator.suite(name).entries]
            for scenario in sorted(entries, key=lambda s: (s.cost, s.name))[:SCENARIOS_PER_SUITE]:
                chosen[scenario.name] = scenario
        least = min(scenario.cost for scenario in chosen.values())
        return [scenario for scenario in chosen.values() if scenario.cost <= MOST_COST * least]

    @property
    def cheapest(self) -> Scenario:
        return min(self.scenarios, key=lambda s: (s.cost, s.name))


def _demand(condition: bool, message: str) -> None:
    if not condition:
        raise Nonconformance(message)


# ---------------------------------------------------------------------------------------------------------- the checks


def description_is_complete(subject: _Subject) -> None:
    description = subject.simulator.describe()
    for name in ("name", "title", "build", "policy_guide"):
        _demand(bool(getattr(description, name)), f"describe().{name} is empty")
    for name in ("required_definitions", "objectives", "suites", "baselines"):
        _demand(bool(getattr(description, name)), f"describe().{name} is empty; at least one is needed")
    for kind, names in (
        ("objective", [o.name for o in description.objectives]),
        ("baseline", [b.name for b in description.baselines]),
        ("suite", list(description.suites)),
        ("calling mode", list(description.calling_modes)),
    ):
        _demand(len(set(names)) == len(names), f"two {kind}s have one name: {names}")
    for descriptor in description.descriptors:
        edges = descriptor.edges
        _demand(list(edges) == sorted(set(edges)), f"descriptor {descriptor.metric}: edges {edges} do not ascend")


def there_is_exactly_one_guest(subject: _Subject) -> None:
    module, source = subject.simulator.guest_module, subject.simulator.guest_source
    _demand(bool(module) != bool(source), "exactly one of guest_module and guest_source must be set")


def suites_and_scenarios_resolve(subject: _Subject) -> None:
    simulator = subject.simulator
    objectives = {o.name for o in simulator.describe().objectives}
    for name in simulator.describe().suites:
        suite = simulator.suite(name)
        _demand(suite.name == name, f"suite {name} calls itself {suite.name}")
        _demand(suite.objective in objectives, f"suite {name}: objective {suite.objective!r} is none of {objectives}")
        names = [e.scenario for e in suite.entries]
        _demand(len(set(names)) == len(names), f"suite {name} names a scenario twice")
        _demand(any(e.part is Part.TRAIN for e in suite.entries), f"suite {name} has no train scenario")
        for entry in suite.entries:
            scenario = simulator.scenario(entry.scenario)
            _demand(scenario.name == entry.scenario, f"scenario {entry.scenario} calls itself {scenario.name}")
            _demand(scenario.cost > 0, f"scenario {scenario.name}: cost {scenario.cost} is not positive")


def notes_are_of_a_bounded_size(subject: _Subject) -> None:
    for scenario in subject.scenarios:
        notes = scenario_notes(subject.simulator, scenario)
        _demand(
            len(notes) <= MOST_NOTES,
            f"{scenario.name}: its notes have {len(notes)} characters; at most {MOST_NOTES}",
        )
        _demand(
            notes == scenario_notes(subject.simulator, scenario), f"{scenario.name}: its notes change from call to call"
        )


def digests_are_stable(subject: _Subject) -> None:
    simulator = subject.simulator
    _demand(simulator.describe().build == simulator.describe().build, "describe().build changes from call to call")
    digests: dict[str, str] = {}
    for scenario in subject.scenarios:
        again = simulator.scenario(scenario.name)
        _demand(bool(_HEX_DIGEST.fullmatch(scenario.digest)), f"{scenario.name}: {scenario.digest!r} is no hex sha256")
        _demand(scenario.digest == again.digest, f"{scenario.name}: the digest changes from call to call")
        other = digests.setdefault(scenario.digest, scenario.name)
        _demand(other == scenario.name, f"{scenario.name} and {other} have one digest")


def unknown_names_are_invalid_input(subject: _Subject) -> None:
    simulator, scenario = subject.simulator, subject.cheapest
    baseline = subject.finished(scenario, subject.baseline)
    attempts: dict[str, Callable[[], object]] = {
        "suite": lambda: simulator.suite(UNKNOWN),
        "scenario": lambda: simulator.scenario(UNKNOWN),
        "objective": lambda: simulator.score(UNKNOWN, scenario, baseline, baseline),
        "inline scenario": lambda: simulator.inline_scenario(UNKNOWN, {"nonsense.bin": b"\xff\x00"}),
    }
    for what, attempt in attempts.items():
        _must_be_invalid(what, attempt)


def _must_be_invalid(what: str, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except InvalidInput:
        return
    except Exception as error:
        raise Nonconformance(f"a wrong {what} raises {type(error).__name__}, must be InvalidInput") from error
    raise Nonconformance(f"a wrong {what} is accepted; must raise InvalidInput")


def baselines_run_to_the_end(subject: _Subject) -> None:
    for scenario in subject.scenarios:
        for baseline in subject.simulator.describe().baselines:
            outcome = subject.finished(scenario, baseline)
            _demand(outcome.failure is None, f"{baseline.name} fails on {scenario.name}: {outcome.failure}")
            _demand(outcome.scenario == scenario.name, f"the outcome of {scenario.name} names {outcome.scenario!r}")
            _demand(
                bool(_HEX_DIGEST.fullmatch(outcome.decisions_digest)),
                f"{scenario.name}: decisions_digest {outcome.decisions_digest!r} is no hex sha256",
            )
            metrics = dict(outcome.metrics) | {f"{g.name}.{n}": v for g in outcome.groups for n, v in g.metrics.items()}
            odd = [name for name, value in metrics.items() if not math.isfinite(value)]
            _demand(not odd, f"{scenario.name}: metrics {odd} are not finite; what does not exist must be absent")


def runs_are_deterministic(subject: _Subject) -> None:
    for scenario in subject.scenarios:
        for baseline in subject.simulator.describe().baselines:
            first, second = subject.finished(scenario, baseline), subject.run(scenario, baseline.source)
            _demand(first == second, f"{baseline.name} on {scenario.name}: two runs differ{_difference(first, second)}")


def _difference(first: Outcome, second: Outcome) -> str:
    for a, b in zip(first.decision_log, second.decision_log, strict=False):
        if a != b:
            return f", first where one decides {a!r} and the other {b!r}"
    return f" in their metrics: {dict(first.metrics)} against {dict(second.metrics)}"


def calling_modes_decide_the_same(subject: _Subject) -> None:
    scenario = subject.cheapest
    modes = subject.simulator.describe().calling_modes
    outcomes = {mode: subject.run(scenario, subject.baseline.source, RunOptions(calling_mode=mode)) for mode in modes}
    for mode, outcome in outcomes.items():
        _demand(outcome.calling_mode == mode, f"asked for mode {mode}, ran in {outcome.calling_mode!r}")
    digests = {o.decisions_digest for o in outcomes.values()}
    _demand(len(digests) <= 1, f"the default baseline decides differently in the modes {', '.join(modes)}")


def the_whole_timeline_changes_nothing(subject: _Subject) -> None:
    scenario = subject.cheapest
    plain = subject.finished(scenario, subject.baseline)
    whole = subject.run(scenario, subject.baseline.source, RunOptions(timeline=True))
    same = plain.decisions_digest == whole.decisions_digest and plain.metrics == whole.metrics
    _demand(same, "asking for the whole timeline changes the outcome")


def sources_that_do_not_load_fail(subject: _Subject) -> None:
    for what, source in BAD_SOURCES.items():
        outcome = subject.run(subject.cheapest, source)
        _demand(outcome.failure is not None, f"a policy with {what} ends without a failure")
        assert outcome.failure is not None
        kind = outcome.failure.kind
        _demand(kind is FailureKind.LOAD, f"a policy with {what} fails as {kind.value}, must be load")


def a_policy_is_a_module_like_any_other(subject: _Subject) -> None:
    """It is in ``sys.modules`` under its name, so that dataclasses and typing find it."""
    plain = subject.finished(subject.cheapest, subject.baseline)
    outcome = subject.run(subject.cheapest, BEFORE_A_POLICY + subject.baseline.source + AFTER_A_POLICY)
    _demand(
        outcome.failure is None,
        "the default baseline with a dataclass and `from __future__ import annotations` fails: "
        f"{outcome.failure and outcome.failure.message}; is the policy's module in sys.modules?",
    )
    _demand(outcome.decisions_digest == plain.decisions_digest, "a dataclass beside the baseline changes its decisions")


def failures_of_the_policy_are_reported(subject: _Subject) -> None:
    """Whatever ends the policy, at whatever message, is the outcome's failure: the same kind, no exception."""
    for kind in (FailureKind.RAISED, FailureKind.CPU_LIMIT, FailureKind.DIED):
        for after in (0, 1, 3):
            deaths: list[int] = []

            def alter(policy: Policy, k: FailureKind = kind, a: int = after, d: list[int] = deaths) -> Policy:
                return _Dying(policy, a, k, d)

            outcome = subject.run_altered(subject.cheapest, alter)
            if not deaths:
                continue  # the run has fewer messages
            found = outcome.failure.kind if outcome.failure else None
            _demand(found is kind, f"a policy that ends as {kind.value} at message {after + 1} is reported as {found}")


def garbage_from_the_policy_is_a_failure(subject: _Subject) -> None:
    """The policy process may say anything. The engine must not believe it, and must not fall over it."""
    for garbage in GARBAGE:
        for in_query in (False, True):
            outcome = subject.run_altered(
                subject.cheapest,
                lambda policy, g=garbage, q=in_query: _Garbling(policy, g, in_query=q),  # type: ignore[misc]
            )
            if garbage == GARBAGE[0] and not in_query:
                _demand(outcome.failure is not None, f"the answer {garbage!r} is accepted; must be a failure")


def an_abandoned_run_leaves_nothing_behind(subject: _Subject) -> None:
    before = subject.finished(subject.cheapest, subject.baseline)
    for after in (0, 1):
        try:
            subject.run_altered(subject.cheapest, lambda policy, a=after: _Dying(policy, a, None, []))  # type: ignore[misc]
        except _Abandoned:
            pass
    _demand(subject.run(subject.cheapest, subject.baseline.source) == before, "a run that was cut off changes the next")


def scores_are_reproducible_and_within_bounds(subject: _Subject) -> None:
    description = subject.simulator.describe()
    for scenario in subject.scenarios:
        reference = subject.finished(scenario, subject.baseline)
        for baseline in description.baselines:
            outcome = subject.finished(scenario, baseline)
            for objective in description.objectives:
                where = f"{baseline.name} on {scenario.name}, {objective.name}"
                score = subject.simulator.score(objective.name, scenario, outcome, reference)
                again = subject.simulator.score(objective.name, scenario, outcome, reference)
                _demand(score == again, f"{where}: scored {score} and then {again}")
                _check_score(where, score, objective.direction)


def _check_score(where: str, score: ScenarioScore, direction: Direction) -> None:
    _demand(math.isfinite(score.value), f"{where}: the value {score.value} is not finite")
    _demand(0.0 <= score.normalized <= 1.0, f"{where}: normalised {score.normalized} is outside 0..1")
    for what, reached in (("value", score.value), ("raw", score.raw), ("baseline", score.baseline)):
        if score.bound is None or reached is None:
            continue
        beyond = reached > score.bound if direction is Direction.MAXIMIZE else reached < score.bound
        _demand(not beyond, f"{where}: {what} {reached} is better than the bound {score.bound}, so it is none")


def a_failed_run_has_the_worst_score(subject: _Subject) -> None:
    description, scenario = subject.simulator.describe(), subject.cheapest
    reference = subject.finished(scenario, subject.baseline)
    failure = PolicyFailure(FailureKind.RAISED, "failed at the very end")
    early = Outcome(scenario.name, {}, (), "", "", PolicyFailure(FailureKind.LOAD, "failed before the first step"))
    for objective in description.objectives:
        for baseline in description.baselines:
            finished = subject.finished(scenario, baseline)
            good = subject.simulator.score(objective.name, scenario, finished, reference)
            for failed in (replace(finished, failure=failure), early):
                bad = subject.simulator.score(objective.name, scenario, failed, reference)
                _check_score(f"a failed run, {objective.name}", bad, objective.direction)
                _demand(
                    bad.normalized == 0.0, f"{objective.name}: a failed run has normalised {bad.normalized}, must be 0"
                )
                better = bad.value > good.value if objective.direction is Direction.MAXIMIZE else bad.value < good.value
                _demand(
                    not better, f"{objective.name}: a failed run ({bad.value}) beats {baseline.name} ({good.value})"
                )


def suites_of_ones_own_are_taken_and_checked(subject: _Subject) -> None:
    """Nothing to check for a simulator that takes none."""
    simulator, name = subject.simulator, "own"
    if not isinstance(simulator, SuiteReader):
        return
    try:
        files = dict(simulator.suite_template(name))
    except InvalidInput:
        return
    _demand(bool(files), "the template of a suite has no files")
    own, again = (narrowed(simulator, name, files=files) for _ in range(2))
    suite = own.suite(name)
    _demand(suite.name == name, f"a suite called {name!r} calls itself {suite.name!r}")
    _demand(any(e.part is Part.TRAIN for e in suite.entries), "the template has no train scenario")
    for entry in suite.entries:
        digests = {one.scenario(entry.scenario).digest for one in (own, again)}
        _demand(len(digests) == 1, f"{entry.scenario}: equal files gave the digests {sorted(digests)}")
    _demand(own.describe().build == again.describe().build, "equal files gave two builds")
    scenario, baseline = own.scenario(suite.entries[0].scenario), own.describe().baselines[0]
    outcome = subject.like(own).run(scenario, baseline.source)
    _demand(outcome.failure is None, f"baseline {baseline.name} fails on the template: {outcome.failure}")
    for objective in own.describe().objectives:
        score = own.score(objective.name, scenario, outcome, outcome)
        _check_score(f"the template, {objective.name}", score, objective.direction)
    _must_be_invalid("a suite without files that it names", lambda: narrowed(simulator, name, files={"x.txt": b""}))
    broken = {file: b"\xff\xfe = [" if file.endswith(".toml") else content for file, content in files.items()}
    _must_be_invalid("a suite whose files are no text", lambda: narrowed(simulator, name, files=broken))


CHECKS: tuple[Callable[[_Subject], None], ...] = (
    description_is_complete,
    there_is_exactly_one_guest,
    suites_and_scenarios_resolve,
    notes_are_of_a_bounded_size,
    digests_are_stable,
    unknown_names_are_invalid_input,
    baselines_run_to_the_end,
    runs_are_deterministic,
    calling_modes_decide_the_same,
    the_whole_timeline_changes_nothing,
    sources_that_do_not_load_fail,
    a_policy_is_a_module_like_any_other,
    failures_of_the_policy_are_reported,
    garbage_from_the_policy_is_a_failure,
    an_abandoned_run_leaves_nothing_behind,
    scores_are_reproducible_and_within_bounds,
    a_failed_run_has_the_worst_score,
    suites_of_ones_own_are_taken_and_checked,
)


# ---------------------------------------------------------------------------------------------- policies that misbehave


class _Abandoned(Exception):
    """The caller of a run gave it up."""


class _Dying:
    """Ends with a failure of `kind` after `after` answers, noted in `deaths`; without a kind the whole run is given
    up."""

    def __init__(self, policy: Policy, after: int, kind: FailureKind | None, deaths: list[int]) -> None:
        self.info = policy.info
        self._policy, self._left, self._kind, self._deaths = policy, after, kind, deaths

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        if self._left == 0:
            self._deaths.append(1)
            if self._kind is None:
                raise _Abandoned
            raise PolicyError(PolicyFailure(self._kind, "ended by the conformance suite"))
        self._left -= 1
        return self._policy.ask(message, on_query)


class _Garbling:
    """Says `garbage` instead of its first answer, or asks it where queries are taken."""

    def __init__(self, policy: Policy, garbage: JsonValue, *, in_query: bool) -> None:
        self.info = policy.info
        self._policy, self._garbage, self._in_query = policy, garbage, in_query
        self._said = False

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        if self._said:
            return self._policy.ask(message, on_query)
        self._said = True
        if not self._in_query:
            return self._garbage
        if on_query is not None:
            on_query(self._garbage)
        return self._policy.ask(message, on_query)
