"""A model of a recorded system as a candidate: calibrated on train, judged on what it never saw, beside two floors."""

from __future__ import annotations

from importlib import resources

import pytest
from tests.support.systems import BALANCER_MODEL

from quintain.plugins.inprocess import in_process
from quintain.plugins.package_files import package_files
from quintain.plugins.simulator import FailureKind, OpenPolicy, Outcome, Part, Policy, RunOptions
from quintain_system.fit import package_fit
from quintain_system.fit.grammar import render
from quintain_system.fit.package_fit import PackageFit

RECORDED = resources.files("quintain_system") / "recorded" / "load_balancer"
TRAIN = "load_balancer/train"
OTHER = "load_balancer/other_policy/monday-random_lb"


@pytest.fixture(scope="module")
def fit() -> PackageFit:
    return PackageFit(package_files(RECORDED), "build", "load_balancer")


@pytest.fixture(scope="module")
def short() -> PackageFit:
    """Calibrates on the beginning of the recordings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package_fit, "CALIBRATED_ON", 400)
        return PackageFit(package_files(RECORDED), "quick", "load_balancer")


@pytest.fixture
def quick(short: PackageFit, monkeypatch: pytest.MonkeyPatch) -> PackageFit:
    """Hardly calibrates: for tests that are about something else."""
    monkeypatch.setattr(package_fit, "RUNS", 10)
    return short


@pytest.fixture(scope="module")
def right(fit: PackageFit) -> Outcome:
    """The right structure, calibrated nearly as everybody's is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package_fit, "RUNS", 90)
        return run(fit, BALANCER_MODEL, digest="right")


def run(fit: PackageFit, source: str, scenario: str = TRAIN, digest: str = "") -> Outcome:
    return fit.run(fit.scenario(scenario), in_process(fit, source), RunOptions(policy_digest=digest))


def words(outcome: Outcome) -> str:
    return "\n".join(event.text for event in outcome.timeline)


def test_the_right_structure_beats_both_floors_on_recordings_that_it_never_saw(fit: PackageFit, right: Outcome) -> None:
    for scenario in (TRAIN, OTHER):
        outcome = run(fit, BALANCER_MODEL, scenario, "right")
        assert outcome.failure is None
        baseline = run(fit, fit.describe().baselines[0].source, scenario, "floor")
        score = fit.score("distance", fit.scenario(scenario), outcome, baseline)
        floors = outcome.metrics["floor_queueing"], outcome.metrics["floor_replay"]
        assert score.value < min(floors)
        assert not score.broken_floors
        assert score.baseline == min(outcome.metrics["floor_queueing"], outcome.metrics["floor_replay"])


def test_calibration_comes_near_the_hidden_numbers(right: Outcome) -> None:
    metrics = right.metrics
    # Of the recorded system: lognormal work of median 0.05 s and 0.5 s, and every fourth server of half the speed.
    # A thousand requests do not tell them exactly: the ranges were a factor of twenty wide, and four for `slow`.
    assert 0.03 < metrics["parameter_small_seconds"] < 0.075
    assert 0.25 < metrics["parameter_large_seconds"] < 0.8
    assert 1.4 < metrics["parameter_slow"] < 3.2
    assert metrics["worth_slow"] > 0.0


def test_a_model_that_forgets_the_slow_servers_is_told_so(quick: PackageFit, right: Outcome) -> None:
    wrong = run(quick, BALANCER_MODEL.replace("server % 4 == 3", "False"))
    assert wrong.metrics["distance"] > right.metrics["distance"]
    assert "`started after route" in words(wrong)
    assert "parameter slow does nothing" in words(wrong)


def test_a_model_without_parameters_is_run_as_it_is_and_told_so(quick: PackageFit) -> None:
    source = BALANCER_MODEL.replace("PARAMETERS = {", "NO_PARAMETERS = {").replace("p = parameters", "p = Numbers")
    numbers = "\n\nclass Numbers:\n    small_seconds, large_seconds, sigma, slow = 0.05, 0.5, 0.5, 2.0\n"
    outcome = run(quick, source + numbers)
    assert outcome.failure is None
    assert outcome.metrics["calibration_runs"] == 1
    assert "declares no PARAMETERS" in words(outcome)


def test_a_model_that_is_right_on_train_only_falls_below_both_floors_elsewhere(quick: PackageFit) -> None:
    came: dict[object, float] = {}
    begun: dict[object, float] = {}
    seen: dict[object, float] = {}
    for episode in quick._scenarios[TRAIN]:
        for time, (kind, request, *rest) in episode.history:
            name = quick._numbers.names[kind]
            if name in ("request", "started"):
                (came if name == "request" else begun)[request] = time
            elif name == "finished":
                seen[came[request], request, rest[0]] = time - begun[request]
    law = "self.seconds[self.size[request]] * math.exp(self.random.gauss(0.0, self.p.sigma))"
    size = "self.size[request.id] = request.size"
    assert law in BALANCER_MODEL
    source = BALANCER_MODEL.replace(law, "SEEN.get((self.size[request], request, server), 3.0)")
    source = f"SEEN = {seen!r}\n" + source.replace(size, "self.size[request.id] = time").replace("4 == 3", "4 == 9")
    later = next(name for name in quick._scenarios if "/later/" in name)
    found = {}
    for scenario in (TRAIN, later):
        outcome = run(quick, source, scenario, "memory")
        assert outcome.failure is None
        baseline = run(quick, quick.describe().baselines[0].source, scenario, "baseline")
        found[scenario] = quick.score("distance", quick.scenario(scenario), outcome, baseline)
    assert found[TRAIN].value < 0.05
    assert not found[TRAIN].broken_floors
    refused = [floor.name for floor in found[later].broken_floors]
    assert refused == ["nearer than the floor queueing", "nearer than the floor replay"]
    assert "parameter small_seconds does nothing" in words(run(quick, source, TRAIN, "memory"))


def test_a_model_that_starts_work_without_a_free_server_breaks_the_invariant(quick: PackageFit) -> None:
    outcome = run(quick, BALANCER_MODEL.replace("if not self.busy[route.server]:", "if True:"))
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.REJECTED
    assert outcome.failure.rule == "invariant one_at_a_time"


def test_decisions_that_the_real_system_took_count_when_a_model_refuses_them(quick: PackageFit) -> None:
    source = BALANCER_MODEL.replace(
        "    def on_decision(self, time, route):",
        "    def on_decision(self, time, route):\n"
        '        if route.server == 0:\n            raise Rejected("closed", "server 0 is closed")',
    )
    outcome = run(quick, source)
    assert outcome.failure is None
    assert outcome.metrics["decisions_refused"] > 50
    assert outcome.failures_by_reason == {"closed": outcome.metrics["decisions_refused"]}
    assert "recorded decisions were refused" in words(outcome)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (("return {", "return 1 / 0 or {"), None, ""),  # nobody asks what policies would see
        (("self.due.sort()", "raise KeyError(time)"), FailureKind.RAISED, "KeyError"),
        (("Event(\"started\",", "Event(\"begun\","), FailureKind.REJECTED, "'begun' is not declared"),
        (("Parameter(0.01, 0.2", "Parameter(0.3, 0.2"), FailureKind.LOAD, "Parameter(0.3, 0.2): low is above high"),
    ],
)  # fmt: skip
def test_what_a_model_does_wrong_is_its_own_failure(
    quick: PackageFit, change: tuple[str, str], kind: FailureKind | None, said: str
) -> None:
    outcome = run(quick, BALANCER_MODEL.replace(*change))
    assert (outcome.failure and outcome.failure.kind) == kind
    assert outcome.failure is None or said in outcome.failure.message
    score = quick.score(
        "distance", quick.scenario(TRAIN), outcome, outcome if kind is None else run(quick, BALANCER_MODEL)
    )
    assert (score.value == 1.0) == (kind is not None)


def test_scenarios_share_one_calibration(quick: PackageFit) -> None:
    opened: list[int] = []

    def counting(open_policy: OpenPolicy) -> OpenPolicy:
        def open_counted(setup: object) -> Policy:
            opened.append(1)
            return open_policy(setup)  # type: ignore[arg-type]

        return open_counted

    options = RunOptions(policy_digest="shared")
    for scenario in (TRAIN, OTHER, TRAIN):
        quick.run(quick.scenario(scenario), counting(in_process(quick, BALANCER_MODEL)), options)
    assert len(opened) == 1 + 3  # one to calibrate, one for each scenario
    assert (
        run(quick, BALANCER_MODEL, digest="").decisions_digest == run(quick, BALANCER_MODEL, digest="").decisions_digest
    )


def test_nothing_of_a_held_out_recording_is_in_the_guide(quick: PackageFit) -> None:
    description = quick.describe()
    assert "random_lb" not in description.policy_guide
    assert "`started`" in description.policy_guide
    suite = quick.suite("load_balancer")
    held_out = [e.scenario for e in suite.entries if e.part is Part.HELD_OUT]
    assert [e.scenario for e in suite.entries if e.part is Part.TRAIN] == [TRAIN]
    assert {name.split("/")[1] for name in held_out} == {"later", "other_policy", "busiest"}


def test_every_seed_of_the_grammar_is_a_model_that_runs(quick: PackageFit) -> None:
    grammar = quick.grammar
    distances = {}
    for seed in grammar.seeds:
        outcome = run(quick, render(grammar, seed.genes, seed.name))
        assert outcome.failure is None, (seed.name, outcome.failure)
        distances[seed.name] = outcome.metrics["distance"]
    assert distances["as_recorded"] < outcome.metrics["floor_queueing"]


def test_the_grammar_learns_the_slow_servers_and_the_large_requests(quick: PackageFit) -> None:
    source = render(quick.grammar, {}, "as recorded")
    assert "get(it.size, 1.0)" in source
    assert "get(it.server, 1.0)" in source
