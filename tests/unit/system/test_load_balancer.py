"""The load balancer against a few lines of queueing that know nothing of the engine."""

from __future__ import annotations

import pytest
from tests.support.systems import run

from quintain.plugins.simulator import SimulatorFault
from quintain_system.package_simulator import PackageSimulator, SystemScenario
from quintain_system.plugin import installed, simulator


@pytest.fixture(scope="module")
def balancer() -> PackageSimulator:
    return installed()[0]["load_balancer"]


def times_in_rotation(scenario: SystemScenario) -> list[float]:
    """Seconds from arrival to answer of each request that is answered, when servers take turns."""
    config = scenario.config
    servers = config["servers"]
    free_at = [0.0] * servers
    times = []
    assert scenario.inputs is not None
    for number, (arrival, _, _, _, work) in enumerate(scenario.inputs):
        server = number % servers
        speed = 0.5 if server % config["slow_every"] == config["slow_every"] - 1 else 1.0
        free_at[server] = max(arrival, free_at[server]) + work / speed
        if free_at[server] <= scenario.spec.duration:
            times.append(free_at[server] - arrival)
    return times


@pytest.mark.parametrize("name", ["steady", "mixed", "heavy_tail", "bursts", "many_servers"])
def test_rotation_gives_what_queueing_says(balancer: PackageSimulator, name: str) -> None:
    scenario = balancer.scenario(f"load_balancer/{name}")
    spec = scenario.spec
    assert isinstance(spec, SystemScenario)
    assert spec.inputs is not None
    times = times_in_rotation(spec)
    unfinished = len(spec.inputs) - len(times)
    rotation = balancer.describe().baselines[0]
    assert rotation.name == "round_robin"
    outcome = run(balancer, scenario.name, rotation.source)
    assert outcome.failure is None
    assert outcome.metrics["answered"] == len(times)
    expected = (sum(times) + unfinished * spec.spec.duration) / len(spec.inputs)
    assert outcome.metrics["mean_seconds"] == pytest.approx(expected, rel=1e-9)
    in_time = sum(t <= spec.config["deadline"] for t in times)
    assert outcome.metrics["late"] == pytest.approx(1 - in_time / len(spec.inputs))


def test_the_shortest_queue_beats_rotation(balancer: PackageSimulator) -> None:
    sources = {b.name: b.source for b in balancer.describe().baselines}
    scenario = balancer.scenario("load_balancer/steady")
    base = run(balancer, scenario.name, sources["round_robin"])
    better = run(balancer, scenario.name, sources["shortest_queue"])
    scores = [balancer.score("mean_seconds", scenario, outcome, base) for outcome in (base, better)]
    assert scores[1].value < scores[0].value
    assert 0 < scores[0].normalized < scores[1].normalized < 1


def test_a_model_is_never_run_without_a_jail_by_accident(balancer: PackageSimulator) -> None:
    with pytest.raises(SimulatorFault, match="not trusted"):
        simulator.run(balancer.scenario("load_balancer/steady"), lambda setup: pytest.fail("opened"), None)  # type: ignore[arg-type]
