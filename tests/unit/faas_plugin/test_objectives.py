"""Scoring: floors, failures, and the gaming that was measured in the wild."""

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.plugins.simulator import (
    Direction,
    FailureKind,
    Group,
    InvalidInput,
    Outcome,
    PolicyFailure,
    ScenarioScore,
    SimulatorFault,
)
from quintain_faas import objective
from quintain_faas.objective import CLASSES, OBJECTIVES, WEIGHTS

DURATION = 600.0
ARRIVALS = {"query": 60, "interactive": 200, "batch": 400}
BOUNDS = {"throughput": 2.4, "penalised_latency": 180.0}
Done = Mapping[str, tuple[int, float]]
"""By class: pipelines completed and their mean latency in seconds."""


def outcome(throughput: float, done: Done, failure: PolicyFailure | None = None) -> Outcome:
    weighted = sum(
        WEIGHTS[c] * (done[c][0] * done[c][1] + (ARRIVALS[c] - done[c][0]) * DURATION) for c in CLASSES
    ) / sum(WEIGHTS[c] * ARRIVALS[c] for c in CLASSES)
    metrics = {"throughput": throughput, "penalised_latency": weighted}
    completed = sum(n for n, _ in done.values())
    if completed:
        mean = sum(WEIGHTS[c] * n * s for c, (n, s) in done.items()) / sum(WEIGHTS[c] * n for c, (n, _) in done.items())
        metrics["adjusted_latency"] = mean / (completed / sum(ARRIVALS.values()))
    groups = tuple(Group(c, {"arrivals": float(ARRIVALS[c]), "completions": float(done[c][0])}) for c in CLASSES)
    return Outcome("s", metrics, groups, "", "guard", failure=failure)


FIFO = outcome(0.25, {"query": (15, 240.0), "interactive": (10, 300.0), "batch": (4, 350.0)})
HONEST = outcome(2.3, {"query": (60, 5.0), "interactive": (120, 100.0), "batch": (30, 250.0)})
NOTHING = outcome(0.0, dict.fromkeys(CLASSES, (0, 0.0)))
FAILED = PolicyFailure(FailureKind.RAISED, "boom", step=100, time_seconds=1.0)
SCORED = ("throughput", "penalised_latency")


def score(name: str, of: Outcome, baseline: Outcome = FIFO) -> ScenarioScore:
    return objective.score(name, of, baseline, duration=DURATION, bounds=BOUNDS)


def better(name: str, one: ScenarioScore, other: ScenarioScore) -> bool:
    if OBJECTIVES[name].direction is Direction.MAXIMIZE:
        return one.value > other.value
    return one.value < other.value


@pytest.mark.parametrize("name", SCORED)
def test_an_honest_policy_has_its_metric_as_its_value(name: str) -> None:
    result = score(name, HONEST)
    assert result.value == result.raw == HONEST.metrics[OBJECTIVES[name].metric]
    assert (result.bound, result.baseline) == (BOUNDS[name], FIFO.metrics[name])
    assert not result.broken_floors
    assert better(name, result, score(name, FIFO))


def test_normalized_is_the_share_of_the_way_from_the_worst_to_the_bound() -> None:
    assert score("throughput", HONEST).normalized == pytest.approx(2.3 / 2.4)
    seconds = HONEST.metrics["penalised_latency"]
    assert score("penalised_latency", HONEST).normalized == pytest.approx((600 - seconds) / (600 - 180))


def test_starving_every_query_for_throughput_scores_less_than_the_baseline() -> None:
    starves = outcome(2.4, {"query": (0, 0.0), "interactive": (150, 100.0), "batch": (300, 200.0)})
    result = score("throughput", starves)
    assert (result.raw, result.value, result.normalized) == (2.4, 0.0, 0.0)
    assert [(f.name, f.required, f.reached) for f in result.broken_floors] == [("query pipelines completed", 15, 0)]


def test_dropping_interactive_work_for_latency_scores_less_than_the_baseline() -> None:
    drops = outcome(0.3, {"query": (60, 4.0), "interactive": (1, 4.0), "batch": (4, 5.0)})
    assert drops.metrics["penalised_latency"] < FIFO.metrics["penalised_latency"]
    result = score("penalised_latency", drops)
    assert better("penalised_latency", score("penalised_latency", FIFO), result)
    assert result.value == pytest.approx(600 + 0.1 * (FIFO.metrics["penalised_latency"] - 600))


def test_eudoxias_own_metric_falls_for_it_which_is_why_no_suite_uses_it() -> None:
    fast_few = outcome(0.3, {"query": (60, 4.0), "interactive": (1, 4.0), "batch": (300, 5.0)})
    assert better("adjusted_latency", score("adjusted_latency", fast_few), score("adjusted_latency", HONEST))
    assert score("adjusted_latency", fast_few).floors == ()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_doing_nothing_is_the_worst(name: str) -> None:
    result = score(name, NOTHING)
    assert result.normalized == 0.0
    assert better(name, score(name, FIFO), result)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_failed_run_is_the_worst_however_far_it_came(name: str) -> None:
    failed = outcome(2.4, {"query": (60, 1.0), "interactive": (200, 1.0), "batch": (400, 1.0)}, FAILED)
    assert score(name, failed).value == score(name, NOTHING).value
    assert score(name, failed).normalized == 0.0


def test_the_worst_values_are_finite_and_in_the_metrics_unit() -> None:
    worst = {name: score(name, NOTHING).value for name in OBJECTIVES}
    assert worst == {"throughput": 0.0, "penalised_latency": 600.0, "adjusted_latency": 600.0 * 660}


@pytest.mark.parametrize("name", SCORED)
def test_below_a_floor_every_step_towards_it_pays_but_none_reaches_the_baseline(name: str) -> None:
    values = [
        score(name, outcome(2.4, {"query": (n, 1.0), "interactive": (200, 1.0), "batch": (400, 1.0)}))
        for n in range(15)
    ]
    assert all(better(name, after, before) for before, after in itertools.pairwise(values))
    assert all(better(name, score(name, FIFO), value) for value in values)


done = st.fixed_dictionaries({c: st.tuples(st.integers(0, ARRIVALS[c]), st.floats(0.0, DURATION)) for c in CLASSES})


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(SCORED), st.floats(0, 2.4), done, st.floats(0, 2.4), done)
def test_a_broken_floor_never_beats_the_baseline_and_never_gains_over_the_measurement(
    name: str, throughput: float, ours: Done, base_throughput: float, theirs: Done
) -> None:
    baseline = outcome(base_throughput, theirs)
    result = score(name, outcome(throughput, ours), baseline)
    honest = score(name, baseline, baseline)
    assert 0.0 <= result.normalized <= 1.0
    assert result.raw is not None
    if result.broken_floors:
        assert not better(name, result, honest)
        assert result.normalized <= honest.normalized
    else:
        assert result.value == result.raw
    assert abs(result.value - result.raw) <= 1e-9 or result.broken_floors


def test_an_unknown_objective_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="known are: throughput, penalised_latency, adjusted_latency"):
        score("speed", HONEST)


def test_a_baseline_that_failed_is_the_simulators_trouble_not_the_policys() -> None:
    with pytest.raises(SimulatorFault, match="boom"):
        score("throughput", HONEST, outcome(0.0, dict.fromkeys(CLASSES, (0, 0.0)), FAILED))
