"""The parts of the bounds against exhaustive search, and the whole against figures of an independent study."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain_faas.bounds import best_rate, fractional_knapsack, most_on_time, scenario_bounds
from quintain_faas.bounds_operators import operator_costs, read_ticks
from quintain_faas.params import Params
from quintain_faas.plugin import simulator
from quintain_faas.scenario import scenario_from_files, spec_of
from quintain_faas.workload.scaling import SCALING_LAWS, cpu_seconds

STUDY = {  # containers/s and s, made by other code (a linear program aside) from the same traces
    "T1_ref_steady_101": (2.4, 175.42),
    "T1_ref_steady_202": (2.4, 176.47),
    "T2_mixed_iid_101": (2.21, 27.36),
    "T2_mixed_iid_202": (2.4917, 30.87),
    "T3_recurring_101": (2.25, 37.81),
    "T3_recurring_202": (2.5317, 20.59),
    "T4_branch_4pools_101": (1.79, 21.14),
    "T4_branch_4pools_202": (2.1383, 18.45),
    "T5_query_storms_101": (2.09, 9.80),
    "T5_query_storms_202": (2.0267, 12.16),
    "T6_deadlines_101": (2.16, 21.77),
    "T6_deadlines_202": (2.2933, 23.40),
    "H1_ref_burst_101": (2.4, 171.21),
    "H2_heavy_mem_101": (2.285, 10.80),
    "H3_noisy_est_101": (2.32, 16.77),
    "H4_multi_op_101": (2.2383, 28.10),
}


@pytest.mark.parametrize("name", STUDY)
def test_standard_scenarios_have_the_bounds_of_the_study(name: str) -> None:
    bounds = scenario_bounds(spec_of(simulator.scenario(name)))
    assert (bounds.throughput, bounds.penalised_latency) == pytest.approx(STUDY[name], abs=0.006)


def test_every_reference_trace_is_bounded_by_two_point_four() -> None:
    for entry in simulator.suite("paper-reference").entries:
        bounds = scenario_bounds(spec_of(simulator.scenario(entry.scenario)))
        assert bounds.throughput == pytest.approx(2.4)  # 9 containers of 55 GB in 500 GB, 3.75 s each


jobs = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 15)), max_size=7)


@settings(deadline=None)  # the machine may be busy
@given(jobs)
def test_most_on_time_is_the_optimum(jobs: list[tuple[int, int]]) -> None:
    jobs = sorted(jobs, key=lambda job: job[1])

    def on_time(chosen: tuple[tuple[int, int], ...]) -> bool:  # earliest deadline first is optimal for a fixed set
        return all(sum(d for d, _ in chosen[: i + 1]) <= end for i, (_, end) in enumerate(chosen))

    best = max(n for n in range(len(jobs) + 1) if any(on_time(c) for c in itertools.combinations(jobs, n)))
    assert most_on_time([float(d) for d, _ in jobs], [float(e) for _, e in jobs]) == best


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(st.floats(0.15, 1.0), st.floats(0.1, 9.0)), min_size=1, max_size=4))
def test_no_mix_of_operators_has_a_higher_rate_than_the_knapsack(items: list[tuple[float, float]]) -> None:
    sizes, rates = np.array([s for s, _ in items]), np.array([r for _, r in items])
    best = 0.0
    for counts in itertools.product(*(range(int(1 / s) + 1) for s in sizes)):
        if float(np.dot(counts, sizes)) <= 1.0:
            best = max(best, float(np.dot(counts, rates)))
    assert best <= best_rate(sizes, rates) * (1 + 1e-12)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 5)), max_size=6), st.floats(0.1, 10))
def test_no_whole_choice_gains_more_than_the_fractional_knapsack(items: list[tuple[float, float]], room: float) -> None:
    choices = itertools.chain.from_iterable(itertools.combinations(items, n) for n in range(len(items) + 1))
    best = max(sum(g for g, _ in c) for c in choices if sum(s for _, s in c) <= room)
    assert best <= fractional_knapsack(np.array([g for g, _ in items]), np.array([s for _, s in items]), room) + 1e-9


@settings(max_examples=300, deadline=None)
@given(
    law=st.sampled_from(sorted(set(SCALING_LAWS) - {"log"})),
    base=st.floats(0, 100),
    memory=st.none() | st.floats(0, 100),
    storage=st.floats(0, 100),
    cpus=st.floats(0.01, 48),
    pool_cpus=st.sampled_from([48, 64, 200]),
    mix=st.floats(0, 1),
)
def test_no_number_of_cpus_is_cheaper_than_the_least_cost(
    law: str, base: float, memory: float | None, storage: float, cpus: float, pool_cpus: int, mix: float
) -> None:
    params = Params(duration=600, ticks_per_second=100, cpus_per_pool=pool_cpus, ram_gb_per_pool=200)
    costs = operator_costs([(base, law, memory, storage)], params)
    cpu_ticks = int(cpu_seconds(law, cpus, base) / params.tick_length_seconds)
    ticks = read_ticks(storage, 100) + cpu_ticks
    if not 1 <= ticks <= params.max_ticks:
        return  # it never completes
    assert costs.fastest[0] <= ticks
    read = read_ticks(storage, 100) * params.tick_length_seconds * 20
    held = memory if memory is not None else max(read, storage if cpu_ticks else 0.0)
    assert costs.memory[0] <= held * (1 + 1e-12)
    cost = ticks * (mix * held / 200 + (1 - mix) * cpus / pool_cpus)
    assert costs.mixed(mix)[0] <= cost * (1 + 1e-9) + 1e-9


def test_an_operator_with_the_log_law_gets_the_trivial_bound() -> None:
    costs = operator_costs([(15.0, "log", None, 35.0)], Params())
    assert (costs.fastest[0], costs.memory[0], costs.mixed(0.5)[0]) == (1, 0.0, 0.0)


def test_a_scenario_without_arrivals_has_bounds_too() -> None:
    scenario = scenario_from_files("empty", {"scenario.toml": b"[generator]\nnum_pipelines = 0\n"})
    bounds = scenario_bounds(spec_of(scenario))
    assert (bounds.throughput, bounds.penalised_latency) == (0.0, 0.0)


def test_bounds_are_computed_once_for_a_digest() -> None:
    files = {"scenario.toml": b"[run]\nduration = 20\nticks_per_second = 10\n[generator]\n"}
    first = scenario_bounds(spec_of(scenario_from_files("one", files)))
    assert scenario_bounds(spec_of(scenario_from_files("two", files))) is first
    assert math.isfinite(first.throughput)
