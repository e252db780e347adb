"""The engine's rules on small jobs, the optimum, the objectives, the generator and the grammar."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from tests.unit.spot_deadline.conftest import SMOKE, run

from quintain.plugins.simulator import FailureKind, Outcome, Part, PolicyFailure
from quintain_generator.backends.offline.render import render
from quintain_generator.backends.offline.variation import random_genome
from quintain_spot_deadline import optima
from quintain_spot_deadline.conversation import AHEAD
from quintain_spot_deadline.engine import Run, Window, run_window
from quintain_spot_deadline.generator import PROFILES, generate
from quintain_spot_deadline.grammar import grammar
from quintain_spot_deadline.optimum import cost_without_overhead, optimum
from quintain_spot_deadline.plugin import simulator
from quintain_spot_deadline.rules import MACHINES, Job
from quintain_spot_deadline.scenario import spec_of
from quintain_spot_deadline.statistics import measure

CARELESS = "def decide(job, now):\n    return 'spot' if now.spot else 'none'\n"


def drive(window: Window, plan: str) -> Run:
    """`plan`: one letter a tick, "-", "s" or "d"; "-" after its end."""
    requests = {"-": "none", "s": "spot", "d": "on_demand"}
    done = Run()
    run_window(window, lambda tick, available: requests[plan[tick : tick + 1] or "-"], done)
    return done


def small(overhead: int = 60, deadline: int = 3000, available: str = "1" * 12, *, forced: bool = False) -> Window:
    """Two ticks of work, five to the deadline."""
    return Window(Job(600, 1200, deadline, overhead, 1.0, 3.0), available, forced)


def test_a_launch_loses_its_overhead_and_whole_ticks_are_paid() -> None:
    done = drive(small(), "sss")
    assert (done.machines, done.finish_tick, done.launches) == ("sss", 3, 1)
    assert done.cost(small().job) == pytest.approx(3 * 600 / 3600)


def test_spot_that_has_gone_is_none_and_coming_back_is_a_new_launch() -> None:
    done = drive(small(available="101111111111"), "sssss")
    assert (done.machines, done.launches, done.preemptions) == ("s-ss", 2, 1)


def test_changing_the_machine_is_a_launch_and_replaces_the_rest_of_the_overhead() -> None:
    window = small(overhead=700, deadline=6000, available="1" * 16)
    done = drive(window, "sddddd")
    assert (done.machines, done.finish_tick) == ("sdddd", 5)  # 600 lost, then 700 of on-demand's own


def test_forcing_leaves_time_for_one_launch_and_is_never_late_from_none_or_on_demand() -> None:
    done = drive(small(forced=True), "")
    assert (done.machines, done.finish_tick, done.late(small().job)) == ("--ddd", 5, False)


def test_forcing_keeps_a_living_spot_machine_and_loses_a_tick_when_it_vanishes() -> None:
    window = small(overhead=500, deadline=3000, forced=True, available="010111111111")
    done = drive(window, "-s")
    assert done.decided == ["none", "spot"]
    assert done.machines[2] == "-"
    assert done.late(window.job)


def test_a_job_whose_window_ends_first_never_ends() -> None:
    done = drive(small(), "")
    assert (done.finish_tick, len(done.machines)) == (None, 11)
    assert done.late(small().job)


@pytest.mark.parametrize("overhead", [0, 60, 200, 700])
def test_the_optimum_is_what_trying_everything_finds(overhead: int) -> None:
    chance = random.Random(overhead)
    for forced, _ in itertools.product((True, False), range(4)):
        available = "".join(chance.choices("01", k=9))
        window = Window(Job(600, 1200, 3600, overhead, 1.0, 3.0), available, forced)
        runs = [drive(window, "".join(plan)) for plan in itertools.product("-sd", repeat=7)]
        ended = [done for done in runs if done.finish_tick is not None]
        in_time = [done for done in ended if not done.late(window.job)]
        best = optimum(window, in_time=True)
        assert best.cost == pytest.approx(min(done.cost(window.job) for done in in_time))
        if forced:
            assert optimum(window, in_time=False).cost == pytest.approx(min(d.cost(window.job) for d in ended))
        assert best.cost >= cost_without_overhead(window) - 1e-9
        assert set(best.plan) <= set(MACHINES)


def test_the_shipped_table_of_optima_is_what_is_computed() -> None:
    windows = [
        one.window
        for name in ("spot_train_72s_70h", "spot_held_out_360s_52h")
        for one in spec_of(simulator.scenario(name)).windows
    ]
    for window in windows[::16]:
        for in_time in (False, True):
            assert optima.optimal_cost(window, in_time=in_time) == optimum(window, in_time=in_time).cost


# ----------------------------------------------------------------------------------------------------------- objectives


def test_the_score_is_the_share_of_what_could_be_saved(baseline: Outcome) -> None:
    scenario = simulator.scenario(SMOKE)
    score = simulator.score("adrs", scenario, baseline, baseline)
    assert score.value == pytest.approx(100 * (146.88 - baseline.metrics["mean_cost"]) / (146.88 - 46.7088))
    assert score.bound is not None
    assert score.normalized == pytest.approx(score.value / score.bound)
    on_demand = run("def decide(job, now):\n    return 'on_demand'\n")
    assert on_demand.metrics["mean_cost"] == pytest.approx(147.39)
    assert on_demand.metrics["adrs_score"] == pytest.approx(-0.5091, abs=1e-4)
    assert simulator.score("adrs", scenario, on_demand, baseline).value == 0.0


def test_a_late_run_saves_nothing_and_puts_the_scenario_below_the_baseline(baseline: Outcome) -> None:
    """With every other run at its best."""
    scenario = simulator.scenario(SMOKE)
    runs = baseline.metrics["runs"]
    late = replace(baseline, metrics={**baseline.metrics, "late_runs": 1.0, "in_time_score": 90.0})
    score = simulator.score("never_late", scenario, late, baseline)
    assert score.raw == 90.0
    assert score.value == pytest.approx(score.baseline * (runs - 1) / runs)
    assert [floor.reached for floor in score.broken_floors] == [runs - 1]


def test_a_failed_run_fails_the_scenario_and_says_where(baseline: Outcome) -> None:
    outcome = run("def decide(job, now):\n    return 'spot' if now.tick < 7 else 1 / 0\n")
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.step) == (FailureKind.RAISED, 7)
    assert outcome.failure.message == "run 0 (mostly): ZeroDivisionError: division by zero"
    assert simulator.score("never_late", simulator.scenario(SMOKE), outcome, baseline).normalized == 0.0
    not_loaded = replace(outcome, metrics={}, failure=PolicyFailure(FailureKind.LOAD, "no"))
    assert simulator.score("never_late", simulator.scenario(SMOKE), not_loaded, baseline).normalized == 0.0


def test_the_worst_runs_are_told_of_late_ones_first() -> None:
    outcome = run(CARELESS, "spot_train_360s_52h")
    assert outcome.metrics["late_runs"] > 0
    assert "LATE by 1 ticks" in outcome.timeline[0].text
    assert outcome.decision_log[0].startswith("0 0 ")


# ------------------------------------------------------------------------------------------------- suites and generator


def test_train_and_held_out_share_no_series() -> None:
    series: dict[Part, set[str]] = {part: set() for part in Part}
    for entry in simulator.suite("spot").entries:
        series[entry.part] |= {one.window.available for one in spec_of(simulator.scenario(entry.scenario)).windows}
    assert (len(series[Part.TRAIN]), len(series[Part.HELD_OUT])) == (32, 64)
    assert series[Part.TRAIN].isdisjoint(series[Part.HELD_OUT])


# profile -> duty, mean ticks with spot, mean ticks without, of the recording that it was fitted to
RECORDED = {
    "plenty": (0.95, 39.1, 2.0),
    "blocks": (0.55, 10.9, 8.9),
    "mostly": (0.68, 13.7, 6.4),
    "scarce": (0.33, 4.2, 8.3),
    "vanishing": (0.25, 10.1, 30.0),
    "flickering": (0.59, 7.7, 5.5),
    "two_faced": (0.59, 11.6, 8.1),
    "restless": (0.34, 3.5, 6.8),
}


@pytest.mark.parametrize("profile", PROFILES)
def test_generated_series_are_like_the_recorded_ones(profile: str) -> None:
    found = measure([generate(PROFILES[profile], 20_000, f"test/{n}") for n in range(4)])
    duty, up, down = RECORDED[profile]
    assert found.duty == pytest.approx(duty, abs=0.08)
    assert found.mean_up == pytest.approx(up, rel=0.2)
    assert found.mean_down == pytest.approx(down, rel=0.3)


def test_the_same_seed_gives_the_same_series_and_another_another() -> None:
    first, again, other = (generate(PROFILES["mostly"], 500, seed) for seed in ("a", "a", "b"))
    assert first == again != other
    assert len(first) == 500


# -------------------------------------------------------------------------------------------------------------- grammar


@pytest.mark.parametrize("seed", range(12))
def test_every_policy_of_the_grammar_runs_ahead_and_is_never_late(seed: int) -> None:
    source = render(grammar(), random_genome(grammar(), random.Random(seed)))
    for name in (SMOKE, "smoke_train_72s_70h"):
        outcome = run(source, name)
        assert outcome.failure is None
        assert outcome.calling_mode == AHEAD
        assert outcome.metrics["late_runs"] == 0


def test_the_seeds_of_the_grammar_differ_in_what_they_do() -> None:
    sources = [
        render(grammar(), {gene.name: gene.default for gene in grammar().genes} | dict(seed.genes))
        for seed in grammar().seeds
    ]
    assert len({run(source).decisions_digest for source in sources}) == len(sources)
