"""Scenarios from files: what is accepted, what is refused and where the message points."""

import gzip
from pathlib import Path

import pytest

from quintain.plugins.simulator import InvalidInput
from quintain_faas.plugin import simulator
from quintain_faas.scenario import load_scenario, spec_of, workload_of

TRACE = b"""pipeline_id,arrival_seconds,priority,operator_id,parents,\
baseline_cpu_seconds,cpu_scaling,memory_gb,storage_read_gb
p1,0.5,QUERY,op1,,15,linear3,,35
p2,1.0,BATCH_PIPELINE,op1,,1,const,,55
p2,,,op2,op1,1,const,,55
"""
TOML = b"""
description = "two pipelines"
[run]
duration = 20
ticks_per_second = 10
[cluster]
num_pools = 1
ram_gb_per_pool = 100
[workload]
trace = "trace.csv"
"""


def inline(toml: bytes = TOML, trace: bytes = TRACE) -> object:
    return simulator.inline_scenario("mine", {"scenario.toml": toml, "trace.csv": trace})


def test_an_inline_scenario_has_the_callers_cluster_and_trace() -> None:
    scenario = simulator.inline_scenario("mine", {"scenario.toml": TOML, "trace.csv": TRACE})
    spec = spec_of(scenario)
    assert (scenario.name, scenario.description, scenario.cost) == ("mine", "two pipelines", 3.0)
    assert (spec.params.duration, spec.params.ram_gb_per_pool, spec.params.cpus_per_pool) == (20, 100, 64)
    arrivals = workload_of(spec).batches(spec.params)
    assert [(tick, [p.id for p in batch]) for tick, batch in arrivals] == [(5, ["p1"]), (10, ["p2"])]


def test_the_workload_table_may_be_left_out_if_the_trace_has_its_usual_name() -> None:
    short = TOML.replace(b'[workload]\ntrace = "trace.csv"\n', b"")
    assert inline(short) == inline()


def test_a_packed_trace_is_the_same_scenario() -> None:
    packed = TOML.replace(b"trace.csv", b"trace.csv.gz")
    scenario = simulator.inline_scenario("mine", {"scenario.toml": packed, "trace.csv.gz": gzip.compress(TRACE)})
    assert scenario.digest == simulator.inline_scenario("mine", {"scenario.toml": TOML, "trace.csv": TRACE}).digest


def test_a_scenario_file_lies_beside_its_trace(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes(TOML)
    (tmp_path / "trace.csv").write_bytes(TRACE)
    scenario = load_scenario(tmp_path / "own.toml")
    assert scenario.name == "own"
    assert scenario.digest == simulator.inline_scenario("x", {"scenario.toml": TOML, "trace.csv": TRACE}).digest


@pytest.mark.parametrize(
    "change",
    [
        (b"duration = 20", b"duration = 21"),
        (b"num_pools = 1", b"num_pools = 2"),
        (b"ticks_per_second = 10", b"ticks_per_second = 10\nrandom_seed = 43"),
    ],
)
def test_whatever_changes_the_outcome_changes_the_digest(change: tuple[bytes, bytes]) -> None:
    assert spec_of(inline(TOML.replace(*change))).digest != spec_of(inline()).digest  # type: ignore[arg-type]
    assert spec_of(inline(trace=TRACE.replace(b"35", b"36"))).digest != spec_of(inline()).digest  # type: ignore[arg-type]


def test_a_description_does_not_change_the_digest() -> None:
    other = TOML.replace(b"two pipelines", b"three words here")
    assert spec_of(inline(other)).digest == spec_of(inline()).digest  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("toml", "field", "words"),
    [
        (b"[run\n", "scenario.toml", "line 1"),
        (b"\xff", "scenario.toml", "UTF-8"),
        (TOML.replace(b"duration", b"lenght"), "scenario.toml:run:lenght", "known are: duration"),
        (TOML.replace(b"[cluster]", b"[clutser]"), "scenario.toml:clutser", "cluster"),
        (TOML.replace(b"duration = 20", b"duration = -1"), "scenario.toml:run.duration", "-1"),
        (TOML.replace(b"duration = 20", b'duration = "20"'), "scenario.toml:run.duration", "'20'"),
        (TOML.replace(b"num_pools = 1", b"num_pools = 1.5"), "scenario.toml:cluster.num_pools", "1.5"),
        (TOML.replace(b"num_pools = 1", b"num_pools = true"), "scenario.toml:cluster.num_pools", "True"),
        (TOML.replace(b"trace.csv", b"other.csv"), "scenario.toml:workload.trace", "other.csv"),
        (TOML.replace(b"trace.csv", b"../secret"), "scenario.toml:workload.trace", "beside"),
        (TOML + b"[generator]\nnum_pipelines = 1\n", "scenario.toml", "exactly one"),
        (b"run = 3\n[generator]\n", "scenario.toml:run", "table"),
        (b"[generator]\nnum_pipelines = 1000000000\n", "scenario.toml:generator.num_pipelines", "at most 1000000"),
        (b"[generator]\nnum_pipelines = 1000000\n", "scenario.toml", "at most 5000000"),
        (b"[generator]\nnum_operators = 1e30\n", "scenario.toml:generator.num_operators", "at most 1000000"),
        (b"[generator]\nquery_prob = -0.1\nbatch_prob = 0.8\n", "scenario.toml:generator.query_prob", "at least 0"),
        (b"[generator]\nquery_prob = 0.5\n", "scenario.toml:generator.interactive_prob", "exactly 1"),
    ],
)
def test_a_broken_scenario_file_is_refused_with_its_place(toml: bytes, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        inline(toml)
    assert caught.value.field == field
    assert words in caught.value.message


def test_a_missing_scenario_file_says_what_was_given() -> None:
    with pytest.raises(InvalidInput, match=r"scenario.toml: is missing; the files given are: trace.csv"):
        simulator.inline_scenario("mine", {"trace.csv": TRACE})


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b"15,linear3", b"fast,linear3", "trace.csv:2:baseline_cpu_seconds"),
        (b"QUERY", b"URGENT", "trace.csv:2:priority"),
        (b"op2,op1", b"op2,op7", "trace.csv:4:parents"),
        (b"const,,55\np2,,", b"cubic,,55\np2,,", "trace.csv:3:cpu_scaling"),
    ],
)
def test_a_broken_trace_is_refused_with_row_and_column(old: bytes, new: bytes, field: str) -> None:
    assert TRACE.count(old) == 1
    with pytest.raises(InvalidInput) as caught:
        inline(trace=TRACE.replace(old, new))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("packed", "words"),
    [(b"no gzip at all", "not a gzip file"), (gzip.compress(TRACE, mtime=0)[:40], "cut short")],
    ids=["not gzip", "cut"],
)
def test_a_broken_packed_trace_is_refused(packed: bytes, words: str) -> None:
    toml = TOML.replace(b"trace.csv", b"trace.csv.gz")
    with pytest.raises(InvalidInput, match=words):
        simulator.inline_scenario("mine", {"scenario.toml": toml, "trace.csv.gz": packed})
