"""How far a run reaches beside what was recorded: steps too fast, too many at once, more work than capacity x time."""

from __future__ import annotations

import pytest
from tests.support.systems import SYSTEM

from quintain.plugins.recorder import Exceeded
from quintain.plugins.simulator import InvalidInput
from quintain_system.fit.counterexamples import read_counterexamples
from quintain_system.fit.episode import Step, kinds_by_number
from quintain_system.fit.reach import METRIC, Reach, beyond, limits_of, reach_of
from quintain_system.form.package import read_toml
from quintain_system.form.spec import SystemSpec

CLASSED = SYSTEM.replace('fields = { id = "id", seconds', 'fields = { id = "id", size = "string", seconds', 1) + (
    '[classes]\nof = "job"\nfield = "size"\n'
)
SPEC = read_toml("system.toml", CLASSED.encode(), SystemSpec)
KINDS = kinds_by_number(SPEC)
JOB, STARTED, DONE, START = (KINDS.number(name) for name in ("job", "started", "done", "start"))
STEP = "from started to done"


def history(*jobs: tuple[float, float, str]) -> list[Step]:
    """Jobs that come and are started at a time, take so many seconds, and are of a class."""
    steps: list[Step] = []
    for number, (at, seconds, size) in enumerate(jobs):
        steps += [(at, [JOB, number, size, 1.0]), (at, [START, number]), (at, [STARTED, number])]
        steps.append((at + seconds, [DONE, number]))
    return sorted(steps, key=lambda step: step[0])


def reach(*jobs: tuple[float, float, str], duration: float = 100.0) -> Reach:
    return reach_of(SPEC, KINDS, history(*jobs), {"slots": 2}, duration)


def in_a_row(seconds: float, size: str = "small", count: int = 6) -> list[tuple[float, float, str]]:
    return [(10.0 * n, seconds, size) for n in range(count)]


RECORDED = limits_of(SPEC, [reach(*in_a_row(2.0), *[(at + 5, 4.0, "large") for at, *_ in in_a_row(0.0)])])


def found(*jobs: tuple[float, float, str], duration: float = 100.0) -> list[Exceeded]:
    """Of steps; metrics are apart."""
    return [one for one in all_found(*jobs, duration=duration) if not one.what.startswith(METRIC)]


def all_found(*jobs: tuple[float, float, str], duration: float = 100.0) -> list[Exceeded]:
    return beyond(KINDS, RECORDED, reach(*jobs, duration=duration))


def test_what_was_recorded_is_not_beyond_itself() -> None:
    assert found(*in_a_row(2.0), *[(at + 5, 4.0, "large") for at, *_ in in_a_row(0.0)]) == []


def test_a_step_that_is_twice_as_fast_as_ever_is_named_with_its_class() -> None:
    assert found(*in_a_row(1.1)) == []
    (one,) = found(*in_a_row(0.9), *[(at + 5, 5.0, "large") for at, *_ in in_a_row(0.0)])
    assert (one.what, one.recorded, one.limit) == (
        f"mean seconds {STEP}, small",
        pytest.approx(2.0),
        pytest.approx(1.0),
    )
    assert one.reached == pytest.approx(0.9)


def test_few_are_no_evidence() -> None:
    assert found(*in_a_row(0.1, count=4)) == []


def test_more_at_once_than_ever_comes_with_the_invariant_that_forbids_it() -> None:
    (one,) = found((0.0, 3.0, "small"), (1.0, 3.0, "small"))
    assert (one.what, one.reached, one.recorded) == (f"most at once {STEP}", 2, 1)
    proposed = CLASSED.replace("[invariants]\n", f"[invariants]\n{one.invariant}\n")
    assert "started_to_done" in read_toml("system.toml", proposed.encode(), SystemSpec).invariants


def test_more_work_than_capacity_times_time_is_found_where_no_step_is_too_fast() -> None:
    """Forty jobs, one at a time, each somewhat faster than recorded: 80 s of recorded work in 60 s."""
    many = [(1.5 * n, 1.4, "small") for n in range(40)]
    names = [one.what for one in found(*many, duration=60.0)]
    assert names == [f"work done {STEP}, in servers"]


def test_a_decision_between_two_events_makes_their_time_the_policys() -> None:
    seen = limits_of(SPEC, [reach(*in_a_row(2.0))])
    assert ("job", "started") not in seen.steps
    assert ("start", "started") in seen.steps


def test_a_metric_that_is_better_than_any_recording_is_named_with_the_recorded_range() -> None:
    """Recorded are 3 s on average."""
    assert all_found(*in_a_row(1.6)) == []
    (one,) = all_found(*in_a_row(1.4))
    assert (one.what, one.reached, one.recorded, one.limit) == (
        "metric seconds",
        pytest.approx(1.4),
        pytest.approx(3.0),
        pytest.approx(1.5),
    )
    assert all_found(*in_a_row(9.0)) == [], "what is worse is no hole"
    assert all_found(*in_a_row(1.4, count=4)) == [], "few are no evidence"


def test_a_metric_without_an_objective_is_looked_at_both_ways_but_not_the_load() -> None:
    busy = CLASSED.replace(
        "[metrics]\n",
        '[metrics]\nbusy = { type = "level", from = "started", to = ["done"], by = "job", statistic = "mean" }\n',
    )
    spec = read_toml("system.toml", busy.encode(), SystemSpec)

    def of(*jobs: tuple[float, float, str]) -> Reach:
        return reach_of(spec, KINDS, history(*jobs), {"slots": 2}, 100.0)

    limits = limits_of(spec, [of(*in_a_row(2.0)), of(*in_a_row(4.0))])
    assert [one.what for one in beyond(KINDS, limits, of(*in_a_row(3.0, count=10)))] == []
    (one,) = [one for one in beyond(KINDS, limits, of(*in_a_row(9.0))) if one.what.startswith(METRIC)]
    assert (one.what, one.reached, one.recorded, one.limit) == ("metric busy", *map(pytest.approx, (0.54, 0.24, 0.48)))


def test_a_counterexample_without_its_run_or_form_is_refused_with_its_file() -> None:
    with pytest.raises(InvalidInput, match=r"^counterexamples/a\.json: its run, .*, is missing"):
        read_counterexamples({"counterexamples/a.json": b"{}"}, SPEC, KINDS)
    files = {"counterexamples/a.json": b"{}", "counterexamples/a.jsonl.gz": b""}
    with pytest.raises(InvalidInput, match=r"^counterexamples/a\.json: is no counterexample: Field required"):
        read_counterexamples(files, SPEC, KINDS)
