"""The package as a whole: baselines on the smoke suite, floors, and the same result every time."""

from __future__ import annotations

import pytest
from tests.support.systems import run

from quintain_system.package_simulator import PackageSimulator
from quintain_system.plugin import installed

SMOKE = ("steady", "tight", "failures")
BASELINES = ("fixed_keep_alive", "greedy_dual", "hybrid_histogram", "least_loaded")


@pytest.fixture(scope="module")
def tenants() -> PackageSimulator:
    return installed()[0]["tenants"]


def source(tenants: PackageSimulator, name: str) -> str:
    return next(b.source for b in tenants.describe().baselines if b.name == name)


def test_the_default_baseline_comes_first_and_the_literature_after_it(tenants: PackageSimulator) -> None:
    assert tuple(b.name for b in tenants.describe().baselines) == BASELINES
    assert tenants.suite_names == ("tenants/large", "tenants/smoke", "tenants/standard")


@pytest.mark.parametrize("scenario", SMOKE)
@pytest.mark.parametrize("baseline", BASELINES)
def test_every_baseline_runs_and_scores_between_worst_and_bound(
    tenants: PackageSimulator, scenario: str, baseline: str
) -> None:
    name = f"tenants/smoke/{scenario}"
    base = run(tenants, name, source(tenants, BASELINES[0]))
    outcome = run(tenants, name, source(tenants, baseline))
    assert outcome.failure is None
    assert outcome.metrics["requests"] > 100
    assert outcome.metrics["memory_used"] <= 1.0
    for objective in tenants.describe().objectives:
        score = tenants.score(objective.name, tenants.scenario(name), outcome, base)
        assert 0.0 <= score.normalized <= 1.0


def test_a_run_is_the_same_every_time(tenants: PackageSimulator) -> None:
    first, second = (run(tenants, "tenants/smoke/failures", source(tenants, "greedy_dual")) for _ in range(2))
    assert first.decisions_digest == second.decisions_digest
    assert first.metrics == second.metrics


def test_to_serve_nobody_is_worth_nothing_under_any_objective(tenants: PackageSimulator) -> None:
    idle = "def decide(observation, happened):\n    return []\n"
    name = "tenants/smoke/steady"
    base = run(tenants, name, source(tenants, BASELINES[0]))
    outcome = run(tenants, name, idle)
    assert outcome.failure is None
    for objective in tenants.describe().objectives:
        assert tenants.score(objective.name, tenants.scenario(name), outcome, base).normalized <= 1e-9


def test_turning_the_light_requests_away_breaks_their_tenants_floor(tenants: PackageSimulator) -> None:
    """It keeps memory for the rest, but not one tenant may be starved for it."""
    cruel = source(tenants, BASELINES[0]).replace(
        "        self.requests[request.request] = request\n",
        "        if request.weight == 1:\n"
        '            return self.refused.append(Decision("refuse", request=request.request))\n'
        "        self.requests[request.request] = request\n",
    )
    cruel = cruel.replace("        self.decisions = []\n", "        self.decisions = self.refused\n")
    cruel = cruel.replace(
        "        for record in happened:\n", "        self.refused = []\n        for record in happened:\n"
    )
    name = "tenants/smoke/steady"
    base = run(tenants, name, source(tenants, BASELINES[0]))
    outcome = run(tenants, name, cruel)
    assert outcome.failure is None
    assert outcome.metrics["refused"] > 0
    score = tenants.score("on_time", tenants.scenario(name), outcome, base)
    assert score.raw is not None
    assert min(floor.reached / floor.required for floor in score.floors) < 0.5
    assert score.normalized < 0.5 * score.raw


def test_on_time_counts_each_request_with_its_tenants_weight(tenants: PackageSimulator) -> None:
    outcome = run(tenants, "tenants/smoke/tight", source(tenants, "fixed_keep_alive"))
    weights = (4, 2, 1)
    shares = [
        (weights[int(group.name) % 3] * group.metrics["requests"], group.metrics["in_time"]) for group in outcome.groups
    ]
    expected = sum(weight * share for weight, share in shares) / sum(weight for weight, _ in shares)
    assert outcome.metrics["on_time"] == pytest.approx(expected)
    assert outcome.metrics["on_time"] != pytest.approx(outcome.metrics["in_time"])
