"""Whole runs through the plugin: the outcome's shape, the baselines' figures, and that bounds hold."""

import json
import math
import re
import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quintain.plugins.simulator import FailureKind, Part
from quintain_faas.bounds import scenario_bounds
from quintain_faas.plugin import simulator
from quintain_faas.scenario import scenario_from_files, spec_of
from quintain_faas.workload.model import TRACE_COLUMNS
from quintain_faas.worst_moment import MOST_EVENTS, WINDOW_SECONDS

NOTHING = """
@register_scheduler_init(key="idle")
def start(scheduler): pass

@register_scheduler(key="idle")
def decide(scheduler, results, pipelines):
    return [], []
"""
RAISES = NOTHING.replace("    return [], []", "    return [], [] if scheduler.clock.now_ticks() < 500 else [][0]")
PACKS = """
@register_scheduler_init(key="packs")
def start(scheduler):
    scheduler.pipelines = []

@register_scheduler(key="packs")
def decide(scheduler, results, pipelines):
    if not results and not pipelines:
        return [], []
    scheduler.pipelines.extend(p for p in pipelines if {chosen})
    left = [p for p in scheduler.pipelines if not p.runtime_status().is_pipeline_successful()]
    scheduler.pipelines = sorted(left, key=lambda p: {order})
    assignments = []
    free = [[pool.avail_cpu_pool, pool.avail_ram_pool] for pool in scheduler.executor.pools]
    for pipeline in scheduler.pipelines:
        if not any(cpu >= {cpu} and (ram >= {ram} or {overcommit}) for cpu, ram in free):
            break
        if pipeline.runtime_status().has_timed_out():
            continue
        ready = pipeline.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=not {whole})
        for ops in [ready] if {whole} and ready else [[op] for op in ready]:
            for pool_id, (cpu, ram) in enumerate(free):
                if cpu >= {cpu} and (ram >= {ram} or {overcommit}):
                    free[pool_id] = [cpu - {cpu}, ram - {ram}]
                    assignments.append(Assignment(ops=ops, cpu={cpu}, ram={ram}, priority=pipeline.priority,
                                                  pool_id=pool_id, pipeline_id=pipeline.pipeline_id))
                    break
    return [], assignments
"""


def packs(cpu: float = 6, ram: float = 55, order: str = "p.priority.value", **options: object) -> str:
    """Containers of one size, as many as fit. Options: which pipelines are `chosen` (an expression of p), `overcommit`
    of memory, `whole` pipelines in one container."""
    return PACKS.format(
        cpu=cpu, ram=ram, order=order, **{"chosen": True, "overcommit": False, "whole": False} | options
    )


def test_fifo_has_the_figures_of_the_papers_baseline(run_policy: Any) -> None:
    names = [e.scenario for e in simulator.suite("paper-reference").entries if e.part is Part.TRAIN]
    figures = [run_policy.fifo(name).metrics["throughput"] for name in names]
    assert [round(f, 4) for f in figures] == [
        *(0.2467, 0.2467, 0.2433, 0.2533, 0.2450),
        *(0.2450, 0.2467, 0.2433, 0.2467, 0.2433),
    ]
    assert statistics.median(figures) == pytest.approx(0.24583, abs=1e-4)


def median_on_the_reference(run_policy: Any, source: str) -> float:
    scenarios = [simulator.scenario(e.scenario) for e in simulator.suite("paper-reference").entries][:10]
    scores = [simulator.score("throughput", s, run_policy(source, s), run_policy.fifo(s)) for s in scenarios]
    assert not any(score.broken_floors for score in scores)
    return statistics.median(score.value for score in scores)


def test_the_hints_figures_are_measured(run_policy: Any) -> None:
    hints = " ".join(simulator.describe().hints.split())
    priority = median_on_the_reference(run_policy, run_policy.baselines["priority"])
    one_size = median_on_the_reference(run_policy, packs(cpu=6, ram=55))
    assert f"`priority` baseline) {priority:.2f};" in hints
    assert f"the one size that every operator fits into {one_size:.2f};" in hints
    one, four = (run_policy(packs(cpu, 45), "T6_deadlines_101").metrics["throughput"] for cpu in (1, 4))
    assert f"`T6_deadlines_101`, {one:.2f} with one CPU each, {four:.2f} with four" in hints


def test_the_guide_teaches_the_system_and_no_scenario() -> None:
    description = simulator.describe()
    names = {e.scenario for suite in description.suites for e in simulator.suite(suite).entries}
    words = set(re.findall(r"[\w-]+", description.policy_guide))
    assert not words & names
    assert "experiment" not in words


def test_an_outcome_has_what_objectives_and_descriptors_need(run_policy: Any) -> None:
    description = simulator.describe()
    outcome = run_policy(run_policy.baselines["priority"], "smoke_steady")
    assert outcome.failure is None
    assert {o.metric for o in description.objectives} <= set(outcome.metrics)
    assert {d.metric for d in description.descriptors} <= set(outcome.metrics)
    assert all(type(v) is float and math.isfinite(v) for v in outcome.metrics.values())
    assert [g.name for g in outcome.groups] == ["query", "interactive", "batch"]
    arrived = sum(g.metrics["arrivals"] for g in outcome.groups)
    assert arrived == outcome.metrics["pipelines_arrived"] > 0
    assert outcome.failures_by_reason["OOM"] == outcome.metrics["failures"] > 0
    assert 0 < outcome.metrics["memory_waste_percent"] < 100
    assert re.fullmatch("[0-9a-f]{64}", outcome.decisions_digest)
    assert outcome.detail == ""


def test_the_same_policy_gives_the_same_outcome_in_every_calling_mode(run_policy: Any) -> None:
    source = run_policy.baselines["priority"]
    literal = run_policy(source, "smoke_steady", calling_mode="every_tick")
    assert literal == run_policy(source, "smoke_steady", calling_mode="every_tick")
    for mode in simulator.describe().calling_modes:
        outcome = run_policy(source, "smoke_steady", calling_mode=mode)
        assert outcome.calling_mode == mode
        assert outcome.metrics == literal.metrics
        assert outcome.decisions_digest == literal.decisions_digest


def test_the_worst_moment_is_where_the_most_important_queue_was_longest(run_policy: Any) -> None:
    outcome = run_policy.fifo("smoke_burst")
    states = [e for e in outcome.timeline if e.text.startswith("outstanding pipelines")]
    document = json.loads(run_policy(run_policy.baselines["fifo"], "smoke_burst", timeline=True).detail)
    queries = [counts[0] for counts in document["samples"]["outstanding"]]
    assert [e.time_seconds for e in states] == [float(queries.index(max(queries)))]
    assert f"{max(queries)} query" in states[0].text
    assert any("starts in pool 0" in e.text for e in outcome.timeline)
    assert [e.time_seconds for e in outcome.timeline] == sorted(e.time_seconds for e in outcome.timeline)


def test_the_whole_timeline_is_there_when_asked_for(run_policy: Any) -> None:
    outcome = run_policy(packs(), "smoke_steady", timeline=True)
    document = json.loads(outcome.detail)
    containers = document["containers"]
    assert len(containers["container_id"]) == outcome.metrics["assignments"]
    completed = containers["end_reason"].count("completed")
    assert completed == outcome.metrics["containers_completed"]
    assert document["samples"]["tick"] == [100 * second for second in range(60)]


def test_a_policy_that_raises_fails_with_place_and_time_and_scores_the_worst(run_policy: Any) -> None:
    outcome = run_policy(RAISES, "smoke_steady", calling_mode="every_tick")
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.step, outcome.failure.time_seconds) == (FailureKind.RAISED, 500, 5.0)
    assert outcome.metrics["simulated_seconds"] == 5.0
    scenario = simulator.scenario("smoke_steady")
    fifo = run_policy.fifo(scenario)
    assert simulator.score("throughput", scenario, outcome, fifo).value == 0.0
    assert simulator.score("penalised_latency", scenario, outcome, fifo).value == 60.0


def test_a_broken_rule_is_shown_with_what_happened_around_it(run_policy: Any) -> None:
    greedy = packs().replace("    return [], assignments", "    return [], assignments + too_much(scheduler)")
    greedy += """
def too_much(scheduler):
    late = scheduler.clock.now_seconds() > 10
    for pipeline in scheduler.pipelines if late else []:
        for op in pipeline.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            return [Assignment(ops=[op], cpu=1, ram=10_000, priority=pipeline.priority, pool_id=0,
                               pipeline_id=pipeline.pipeline_id)]
    return []
"""
    outcome = run_policy(greedy, "smoke_steady")
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.rule) == (FailureKind.REJECTED, "over_allocated_ram")
    failed_at = outcome.failure.time_seconds
    assert failed_at is not None
    assert failed_at > 10
    assert 2 < len(outcome.timeline) <= MOST_EVENTS + 1
    assert all(abs(event.time_seconds - failed_at) <= WINDOW_SECONDS for event in outcome.timeline)
    assert any("completed after" in event.text for event in outcome.timeline)


def test_runs_in_several_threads_do_not_disturb_each_other(run_policy: Any) -> None:
    jobs = [(source, name) for source in run_policy.baselines.values() for name in ("smoke_steady", "smoke_deadline")]
    alone = [run_policy(*job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: run_policy(*job), jobs * 4))
    for one, other in zip(alone * 4, together, strict=True):
        assert (one.failure, one.metrics, one.groups) == (other.failure, other.metrics, other.groups)
        assert one == other


def test_the_guides_example_is_a_valid_policy_that_beats_fifo(run_policy: Any) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", simulator.describe().policy_guide, flags=re.DOTALL)
    scenario = simulator.scenario("smoke_steady")
    score = simulator.score("throughput", scenario, run_policy(example, scenario), run_policy.fifo(scenario))
    assert score.value > 2 * score.baseline


def test_starving_queries_for_throughput_is_worth_less_than_fifo(run_policy: Any) -> None:
    scenario = simulator.scenario("reference_burst10_seed10")
    starves = run_policy(packs(ram=55, chosen="p.priority != Priority.QUERY"), scenario)
    fifo = run_policy.fifo(scenario)
    score = simulator.score("throughput", scenario, starves, fifo)
    assert score.raw is not None
    assert score.raw > 0.95 * 2.4  # it nearly reaches what is possible
    assert score.value < simulator.score("throughput", scenario, fifo, fifo).value


def test_dropping_interactive_work_for_latency_is_worth_less_than_fifo(run_policy: Any) -> None:
    scenario = simulator.scenario("smoke_deadline")
    fifo = run_policy.fifo(scenario)
    drops = run_policy(packs(chosen="p.priority != Priority.INTERACTIVE"), scenario)
    floors = {f.name: f.required for f in simulator.score("penalised_latency", scenario, drops, fifo).floors}
    assert floors["interactive pipelines completed"] > 0
    assert drops.metrics["adjusted_latency"] < fifo.metrics["adjusted_latency"]
    dropped = simulator.score("penalised_latency", scenario, drops, fifo)
    assert dropped.value > simulator.score("penalised_latency", scenario, fifo, fifo).value


def test_doing_nothing_is_the_worst(run_policy: Any) -> None:
    scenario = simulator.scenario("smoke_steady")
    idle, fifo = run_policy(NOTHING, scenario), run_policy.fifo(scenario)
    for name in ("throughput", "penalised_latency"):
        score = simulator.score(name, scenario, idle, fifo)
        assert (score.normalized, score.value) == (0.0, {"throughput": 0.0, "penalised_latency": 60.0}[name])


clusters = st.fixed_dictionaries(
    {
        "num_pools": st.integers(1, 3),
        "cpus_per_pool": st.sampled_from([4, 16, 64]),
        "ram_gb_per_pool": st.sampled_from([60, 120, 250, 500]),
        "allow_memory_overcommit": st.booleans(),
    }
)
OPERATORS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.05, 1, 7.5, 40]),
        st.sampled_from(["const", "linear3", "linear7", "sqrt", "squared", "exp", "log"]),
        st.sampled_from(["", "0.5", "30", "61"]),
        st.sampled_from([2, 20, 55]),  # from one tick of reading on: an operator without any is refused
    ),
    min_size=3,
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cluster=clusters,
    operators=OPERATORS,
    deadline=st.sampled_from([0, 3, 12]),
    cpu=st.sampled_from([0.25, 1, 2, 4]),
    ram=st.sampled_from([20, 55, 61]),
    order=st.sampled_from(["p.priority.value", "len(p.values)", "-p.runtime_status().arrival_tick"]),
    whole=st.booleans(),
)
def test_no_run_exceeds_the_bounds(
    run_policy: Any,
    cluster: dict[str, Any],
    operators: list[tuple[float, str, str, float]],
    deadline: int,
    cpu: float,
    ram: float,
    order: str,
    whole: bool,
) -> None:
    rows = [",".join(TRACE_COLUMNS)]
    for i, (base, law, memory, storage) in enumerate(operators):
        head = f"p{i // 2},{i // 2 * 0.3:.1f},{('QUERY', 'INTERACTIVE', 'BATCH_PIPELINE')[i // 2 % 3]},a,"
        rows.append(f"{head if i % 2 == 0 else f'p{i // 2},,,b,a'},{base},{law},{memory},{storage}")
    toml = "[run]\nduration = 20\nticks_per_second = 10\n" + f"max_job_seconds = {deadline}\n[cluster]\n"
    toml += "".join(f"{key} = {str(value).lower()}\n" for key, value in cluster.items())
    scenario = scenario_from_files("s", {"scenario.toml": toml.encode(), "trace.csv": "\n".join(rows).encode()})
    policy = packs(cpu, ram, order, overcommit=cluster["allow_memory_overcommit"], whole=whole)
    outcome = run_policy(policy, scenario)
    assert outcome.failure is None or any(law == "log" for _, law, _, _ in operators)  # may end before it starts
    bounds = scenario_bounds(spec_of(scenario))
    assert outcome.metrics["throughput"] <= bounds.throughput * (1 + 1e-12)
    assert outcome.metrics["penalised_latency"] >= bounds.penalised_latency * (1 - 1e-12)
