"""Traces are read with errors that name row and column, and written so that reading gives the same again."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.plugins.simulator import InvalidInput
from quintain_faas import Params, Workload, simulate
from quintain_faas.engine.memory import PoolValues, compensated_sum, exact_sum
from quintain_faas.guest.objects import Pipeline
from quintain_faas.guest.summation import _compensated_sum
from quintain_faas.workload.model import visiting_order

from .policies import HEADER, PARAMS, TWO_STEPS, policy, simulate_on

ROW = "p1,0,QUERY,a,,1,const,,1"
GREEDY = policy(
    """
    if not results and not pipelines: return [], []
    s.known.extend(pipelines)
    free = s.executor.pools[0].avail_ram_pool
    out = []
    for p in s.known:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            if free >= 16:
                out.append(Assignment([op], 1, 16, p.priority, 0, p.pipeline_id))
                free -= 16
    return [], out
    """,
    init="s.known = []",
)


@pytest.mark.parametrize(
    ("rows", "field", "says"),
    [
        ("p1,,QUERY,a,,1,const,,1", "t.csv:2:arrival_seconds", "empty"),
        ("p1,soon,QUERY,a,,1,const,,1", "t.csv:2:arrival_seconds", "'soon' is not a number"),
        ("p1,nan,QUERY,a,,1,const,,1", "t.csv:2:arrival_seconds", "not finite"),
        ("p1,-1,QUERY,a,,1,const,,1", "t.csv:2:arrival_seconds", "negative"),
        ("p1,1e300,QUERY,a,,1,const,,1", "t.csv:2:arrival_seconds", "out of range"),
        ("p1,0,URGENT,a,,1,const,,1", "t.csv:2:priority", "QUERY, INTERACTIVE, BATCH_PIPELINE"),
        ("p1,0,,a,,1,const,,1", "t.csv:2:priority", "''"),
        ("p1,0,QUERY,a,b,1,const,,1", "t.csv:2:parents", "'b'"),
        ("p1,0,QUERY,a,,one,const,,1", "t.csv:2:baseline_cpu_seconds", "'one'"),
        ("p1,0,QUERY,a,,-1,const,,1", "t.csv:2:baseline_cpu_seconds", "negative"),
        ("p1,0,QUERY,a,,1,cubic,,1", "t.csv:2:cpu_scaling", "linear3"),
        ("p1,0,QUERY,a,,1,const,inf,1", "t.csv:2:memory_gb", "not finite"),
        ("p1,0,QUERY,a,,1,const,,", "t.csv:2:storage_read_gb", "''"),
        ("p1,0,QUERY,a,,1,const,,1\np1,0,,b,a,1,const,,1", "t.csv:3:arrival_seconds", "first row"),
        ("p1,0,QUERY,a,,1,const,,1\np1,,QUERY,b,a,1,const,,1", "t.csv:3:priority", "first row"),
        ("p1,0,QUERY,a,,1,const,,1\np1,,,a,a,1,const,,1", "t.csv:3:operator_id", "twice"),
        ("p1,0,QUERY,a,,1,const,,1\n\np1,,,b,c,1,const,,1", "t.csv:4:parents", "'c'"),
        ("p1,5,QUERY,a,,1,const,,1\np2,4,QUERY,a,,1,const,,1", "t.csv:3:arrival_seconds", "before"),
        ("p1,0,QUERY,a,,1,const,1", "t.csv:2:storage_read_gb", "8 fields"),
        ("p1,0,QUERY,a,,1,const,,1,2", "t.csv:2:storage_read_gb", "10 fields"),
        ('p1,0,QUERY,"a\nb",,1,const,,x', "t.csv:3:storage_read_gb", "'x'"),
        (
            f"{ROW}\np2,1,QUERY,a,,1,const,,1\np1,,,b,a,1,const,,1",
            "t.csv:4:pipeline_id",
            "'p1' names the pipeline of line 2",
        ),
    ],
)
def test_a_broken_row_is_named_by_line_and_column(rows: str, field: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Workload.from_trace_text(f"{HEADER}\n{rows}\n", "t.csv")
    assert caught.value.field == field
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "t.csv:1"),
        (HEADER.replace("parents", "mothers"), "t.csv:1:parents"),
        (HEADER + ",parents", "t.csv:1:parents"),
        ("\ufeff" + HEADER, "t.csv:1:pipeline_id"),
    ],
)
def test_a_broken_header_is_named(text: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Workload.from_trace_text(text, "t.csv")
    assert caught.value.field == field
    assert ("byte order mark" in caught.value.message) == text.startswith("\ufeff")


def test_doubled_edges_behind_doubled_edges_are_refused_before_their_visits_fill_the_memory() -> None:
    rows = ["p1,0,QUERY,o0,,1,const,,1", *(f"p1,,,o{i},o{i - 1};o{i - 1},1,const,,1" for i in range(1, 60))]
    with pytest.raises(InvalidInput, match="doubled edges") as caught:
        Workload.from_trace_text("\n".join([HEADER, *rows]), "t.csv")
    assert caught.value.field == "t.csv:61:parents"


def test_a_wide_pipeline_is_ordered_in_a_moment() -> None:
    """Fifty thousand roots under one operator: whoever looks at all parents for each of them never ends."""
    wide = [*[()] * 50_000, tuple(range(50_000))]
    assert visiting_order(wide) == tuple(range(50_001))
    pipeline = Pipeline.arrived(0, ["p", 1, wide, None], 0, (None, 0, 0))
    assert [operator.number for operator in pipeline.values] == list(range(50_001))


def test_an_error_quotes_only_the_beginning_of_a_long_field() -> None:
    with pytest.raises(InvalidInput) as caught:
        Workload.from_trace_text(f"{HEADER}\np1,0,QUERY,a,,{'9x' * 10_000},const,,1\n", "t.csv")
    assert len(caught.value.message) < 200


def test_a_generated_workload_of_hostile_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintain_faas.workload.generator.MAX_OPERATORS", 1000)
    with pytest.raises(InvalidInput, match="more than 1000 operators"):
        Workload.generated(Params(num_pipelines=100, num_operators=20)).pipelines()


def test_files_that_cannot_be_read_are_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"gone\.csv"):
        Workload.from_trace_file(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="UTF-8"):
        Workload.from_trace_file(tmp_path / "latin.csv")


def test_what_eudoxia_tolerates_is_read_when_not_strict() -> None:
    rows = "p1,5,QUERY,a,,1,const,,1\np1,,,a,a;a,-1,const,,30\np2,4, QUERY ,a,,1,const,,1\n"
    workload = Workload.from_trace_text(f"{HEADER}\n{rows}", strict=False)
    first, second = workload.pipelines()
    assert [operator.parents for operator in first.operators] == [(), (0, 0)]
    assert first.visiting_order == (0, 1, 1)
    assert [tick for tick, _ in workload.batches(PARAMS)] == [50]
    assert second.arrival_seconds == 4


def test_a_doubled_edge_is_visited_twice_and_so_are_its_children() -> None:
    assert visiting_order([(), (0, 0), (1,)]) == (0, 1, 1, 2, 2)
    assert visiting_order([(), (), (0, 1)]) == (0, 1, 2)


def test_a_written_trace_simulates_like_the_workload_it_came_from() -> None:
    params = Params(duration=60, ticks_per_second=10, num_pools=1, ram_gb_per_pool=200, dag_branch_in_prob=1.0)
    generated = Workload.generated(params)
    file = io.StringIO(newline="")
    generated.write_trace(file)
    text = file.getvalue()
    assert text.startswith(HEADER + "\r\np1,0.0,")
    assert text.count("\r\n") == text.count("\n")
    read = Workload.from_trace_text(text)
    assert [p.operators[0].storage_read_gb for p in read.pipelines()] == [
        p.operators[0].storage_read_gb for p in generated.pipelines()
    ]
    assert [(p.id, p.priority, p.arrival_seconds) for p in read.pipelines()] == [
        (p.id, p.priority, p.arrival_seconds) for p in generated.pipelines()
    ]
    again = io.StringIO(newline="")
    read.write_trace(again)
    assert again.getvalue().replace(".0,", ",") == text.replace(".0,", ",").replace(",55\r", ",55.0\r").replace(
        ",35\r", ",35.0\r"
    )


def test_a_repeated_pipeline_takes_the_place_of_its_forerunner() -> None:
    """Three pipelines complete on one tick; the second p1 is recorded where the first one, never finished, stood."""
    row = "0,QUERY,a,,{},const,,0"
    trace = f"{HEADER}\np1,{row.format(50)}\np2,{row.format(2)}\np1,{row.format(1).replace('0,Q', '1,Q', 1)}\n"
    result = simulate_on(GREEDY.replace("16", "1"), trace=trace)
    assert result.failure is None
    assert result.stats.pipelines_query.latencies_ticks == (9, 19)
    assert result.stats.pipelines_replaced == 1


def test_an_id_that_returns_after_its_pipeline_has_completed_is_another_pipeline() -> None:
    trace = f"{HEADER}\n{ROW}\np2,1,QUERY,a,,1,const,,1\np1,9,QUERY,a,,1,const,,1\n"
    stats = simulate_on(GREEDY, trace=trace).stats
    assert (stats.pipelines_query.arrival_count, stats.pipelines_query.completion_count) == (3, 3)
    assert stats.pipelines_replaced == 0


def test_parameters_are_checked_by_name() -> None:
    for values, field in (
        ({"num_poools": 1}, "params.num_poools"),
        ({"num_pools": 0}, "params.num_pools"),
        ({"num_pools": True}, "params.num_pools"),
        ({"duration": float("nan")}, "params.duration"),
        ({"ticks_per_second": 10.0}, "params.ticks_per_second"),
        ({"interactive_prob": 0.5}, "params.interactive_prob"),
        ({"estimator_algo": "oracle"}, "params.estimator_algo"),
        ({"dag_linear_prob": 0.0}, "params.dag_linear_prob"),
        ({"interactive_prob": -0.1, "query_prob": 0.5}, "params.interactive_prob"),
        ({"num_pipelines": 10**9}, "params.num_pipelines"),
        ({"num_operators": 1e300}, "params.num_operators"),
        ({"max_job_seconds": 1e308}, "params.max_job_seconds"),
        ({"waiting_seconds_mean": 1e300}, "params.waiting_seconds_mean"),
    ):
        with pytest.raises(InvalidInput) as caught:
            Params.from_mapping(values)
        assert caught.value.field == field


def test_a_generated_workload_belongs_to_its_ticks() -> None:
    workload = Workload.generated(Params(duration=10, ticks_per_second=10))
    with pytest.raises(InvalidInput, match="generated for 10"):
        simulate(GREEDY, Params(duration=10, ticks_per_second=100), workload)


def test_an_empty_trace_is_a_run_without_work() -> None:
    result = simulate_on(GREEDY, trace=HEADER + "\n")
    assert result.failure is None
    assert result.stats.pipelines_created == 0
    assert result.stats.p99_latency != result.stats.p99_latency
    assert result.stats.adjusted_latency() == float("inf")


def test_sums_are_those_of_python_3_12() -> None:
    for add in (exact_sum, compensated_sum, _compensated_sum):
        assert add([0.1] * 10) == 1.0
        assert repr(add([])) == "0"
        assert repr(add([1, 2])) == "3"
        assert repr(add([1, 2.0])) == "3.0"
        assert add([1e16, 1.0, -1e16]) == 1.0
        assert add([1e308, 1e308]) == float("inf")
    assert _compensated_sum([[1], [2]], []) == [1, 2]


@given(
    st.lists(st.integers(0, 10**9), max_size=3),
    st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.1, 1e16, -1e16, 0, 0, 55]), min_size=64, max_size=200),
)
def test_the_sum_over_many_pools_has_the_bits_of_the_plain_loop(ints: list[int], values: list[int | float]) -> None:
    pools = PoolValues([0.0] * (len(ints) + len(values)))
    pools._in_list = False  # whatever this Python is
    for pool in range(len(ints) + len(values)):
        pools[pool] = 7
    assert pools.total() == 7 * len(pools.values)
    for pool, value in enumerate(ints + values):
        pools[pool] = value
    assert pools.total() == compensated_sum(ints + values)


def test_the_timeline_tells_of_every_container_and_second() -> None:
    result = simulate(GREEDY, PARAMS, Workload.from_trace_text(TWO_STEPS), record_timeline=True)
    assert result.timeline is not None
    assert [(c.container_id, c.start_tick, c.end_reason) for c in result.timeline.containers] == [
        ("c1", 2, "completed"),
        ("c3", 17, "completed"),
        ("c2", 5, "completed"),
    ]
    assert [sample.tick for sample in result.timeline.samples] == list(range(0, 200, 10))
    assert result.timeline.samples[1].ram_gb_allocated == (32,)
    assert result.timeline.samples[1].outstanding == (1, 0, 1)
    assert result.stats.ram_gb_seconds_allocated == 16 * (1.5 + 1.0 + 2.5)
    assert simulate_on(GREEDY).timeline is None
