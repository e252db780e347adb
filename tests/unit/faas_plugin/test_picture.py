"""Pictures of runs, from the timeline document of an outcome."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain_faas.picture import KILLED, comparison_figure, pack_lanes, timeline_figure, write_html


def document(pools: int = 2) -> str:
    containers = {
        "container_id": ["c1", "c2", "c3"],
        "pool": [0, 0, 1],
        "start_tick": [0, 5, 0],
        "end_tick": [9, 14, 29],
        "cpu": [4, 8, 2],
        "ram_gb": [50.0, 25.0, 60.0],
        "priority": ["QUERY", "BATCH_PIPELINE", "INTERACTIVE"],
        "pipeline_id": ["p1", "p2", "p3"],
        "end_reason": ["completed", "OOM", "running"],
    }
    samples = {
        "tick": [0, 10, 20],
        "ram_gb_allocated": [[50.0, 60.0], [25.0, 60.0], [0.0, 60.0]],
        "ram_gb_consumed": [[5.0, 6.0], [20.0, 60.0], [0.0, 60.0]],
        "cpu_allocated": [[4, 2], [8, 2], [0, 2]],
        "outstanding": [[1, 1, 1], [0, 1, 1], [0, 1, 1]],
    }
    cluster = {"num_pools": pools, "cpus_per_pool": 16, "ram_gb_per_pool": 100}
    run = {"format": 1, "scenario": "s", "duration_seconds": 3, "ended_tick": 30, "ticks_per_second": 10}
    return json.dumps({**run, **cluster, "containers": containers, "samples": samples})


def bars(figure: object, axis: str = "x") -> dict[str, list[tuple[float, float, int]]]:
    return {
        t.name: list(zip(t.base, t.x, t.y, strict=True))
        for t in figure.data  # type: ignore[attr-defined]
        if t.type == "bar" and (t.xaxis or "x") == axis
    }


def test_each_container_is_a_bar_in_its_class_and_pool() -> None:
    drawn = bars(timeline_figure(document(), "a run"))
    assert drawn["query"] == [(0.0, 1.0, 0)]
    assert drawn[KILLED] == [(0.5, 1.0, 1)]  # overlaps with the first: the next lane
    assert drawn["interactive"] == [(0.0, 3.0, 3)]  # the other pool, above a gap
    assert drawn["batch"] == []


def test_memory_and_cpu_are_summed_over_pools_and_shown_with_the_capacity() -> None:
    figure = timeline_figure(document(), "a run")
    lines = [(t.name, list(t.y)) for t in figure.data if t.type == "scatter" and t.mode == "lines"]
    assert ("used", [11.0, 80.0, 60.0]) in lines
    assert ("held", [110.0, 85.0, 60.0]) in lines
    assert [y for name, y in lines if name == "capacity"] == [[200, 200], [32, 32]]
    assert ("query outstanding", [1, 0, 0]) in lines


def test_two_runs_stand_side_by_side_on_the_same_axes() -> None:
    figure = comparison_figure([("baseline", document()), ("best", document())], "both")
    assert bars(figure, "x") == bars(figure, "x2")
    assert {"baseline", "best"} <= {a.text for a in figure.layout.annotations}
    assert figure.layout.yaxis3.range == figure.layout.yaxis4.range == (0, 1.06 * 200)


def test_a_picture_of_many_pools_says_that_it_shows_the_first_ones() -> None:
    assert timeline_figure(document(pools=40), "wide").layout.yaxis.title.text == "Containers, 16 of 40 pools"
    assert timeline_figure(document(), "narrow").layout.yaxis.title.text == "Containers by pool"


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    write_html(timeline_figure(document(), "a run of mine"), tmp_path / "run.html")
    page = (tmp_path / "run.html").read_text()
    assert "a run of mine" in page
    assert "<script src=" not in page
    assert "<link" not in page


def test_a_run_that_started_nothing_can_be_drawn() -> None:
    empty = json.loads(document()) | {"containers": {}, "samples": {}}
    assert all(not drawn for drawn in bars(timeline_figure(json.dumps(empty), "idle")).values())


def test_an_outcome_without_a_timeline_says_how_to_get_one() -> None:
    with pytest.raises(ValueError, match=r"RunOptions\(timeline=True\)"):
        timeline_figure("", "nothing")


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)).map(lambda s: (s[0], s[0] + s[1])), max_size=20))
def test_lanes_never_overlap_and_are_as_few_as_can_be(intervals: list[tuple[int, int]]) -> None:
    lanes = pack_lanes(intervals)
    for i, (start, end) in enumerate(intervals):
        for j in range(i):
            if lanes[i] == lanes[j]:
                assert end < intervals[j][0] or intervals[j][1] < start
    most = max((sum(s <= tick <= e for s, e in intervals) for tick in range(30)), default=0)
    assert len(set(lanes)) == most
