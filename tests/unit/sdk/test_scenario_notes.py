"""Every simulator of ours says of its train scenarios what an author may know, and of held-out ones nobody hears."""

from __future__ import annotations

from functools import partial

import pytest

from quintain.plugins.doors import SIMULATORS
from quintain.plugins.simulator import (
    Aggregation,
    Part,
    Scenario,
    Simulator,
    Suite,
    SuiteEntry,
    narrowed,
    scenario_notes,
)
from quintain.wire.simulator_messages import MOST_NOTED, suite_message
from quintain_faas.bounds import scenario_bounds
from quintain_faas.plugin import simulator as faas
from quintain_faas.scenario import scenario_from_files, spec_of

SUITES = (("faas", "smoke"), ("spot_deadline", "smoke"), ("system", "load_balancer"))


def simulator_of(name: str, suite: str) -> Simulator:
    loaded: Simulator = SIMULATORS.load(name)
    return narrowed(loaded, suite)


@pytest.mark.parametrize(("name", "suite"), SUITES)
def test_train_scenarios_are_noted_and_held_out_ones_are_not(name: str, suite: str) -> None:
    simulator = simulator_of(name, suite)
    message = suite_message(simulator.suite(suite), simulator.scenario, partial(scenario_notes, simulator))
    parts = {entry.scenario: entry.part for entry in simulator.suite(suite).entries}
    assert {e.scenario: bool(e.notes) for e in message.entries} == {n: p is Part.TRAIN for n, p in parts.items()}
    assert not any(e.notes for e in suite_message(simulator.suite(suite), simulator.scenario).entries)


def test_of_many_scenarios_the_first_are_noted() -> None:
    names = [f"s{n}" for n in range(100)]
    suite = Suite("many", "", "", Aggregation.MEAN_NORMALIZED, tuple(SuiteEntry(n, Part.TRAIN) for n in names))
    asked: list[str] = []

    def notes(scenario: Scenario) -> str:
        asked.append(scenario.name)
        return "a note"

    suite_message(suite, lambda name: Scenario(name, "", "", None), notes)
    assert asked == names[:MOST_NOTED]


TRACE = b"""\
pipeline_id,arrival_seconds,priority,operator_id,parents,baseline_cpu_seconds,cpu_scaling,memory_gb,storage_read_gb
etl-7,0.0,BATCH_PIPELINE,load,,8,linear3,30,0
etl-7,,,store,load,8,linear3,30,0
q9,1.0,QUERY,ask,,2,const,10,0
"""
CLUSTER = b"[run]\nduration = 10\n[cluster]\nnum_pools = 1\ncpus_per_pool = 2\nram_gb_per_pool = 40\n"


def test_notes_of_a_trace_are_what_stands_in_it() -> None:
    scenario = scenario_from_files("own", {"scenario.toml": CLUSTER, "trace.csv": TRACE})
    notes = faas.scenario_notes(scenario).splitlines()
    bounds = scenario_bounds(spec_of(scenario))
    assert notes[0] == "- 1 pool of 2 CPUs and 40 GB; 10 s"
    assert "- query operators: peak memory GB 10; seconds 2 whatever the CPUs; laws const 100%" in notes
    assert "- batch operators: peak memory GB 30; median seconds 8 on 1, 4 on 2 CPUs; laws linear3 100%" in notes
    assert "- pipelines that arrive: query 1 (1 operators), batch 1 (2 operators)" in notes
    assert "- ids look like etl-7 with operator load; q9 with operator ask" in notes
    # 4 + 4 s of 30 GB and 2 s of 10 GB, of 10 s of 40 GB
    assert bounds.memory_share == pytest.approx((2 * 4 * 30 + 2 * 10) / (10 * 40), rel=0.01)
    assert any("65% of the memory" in note for note in notes)
