"""Recorded runs of Eudoxia: every number equal, to the last bit, in every calling mode that the policy allows."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from quintain.plugins.simulator import FailureKind
from quintain_faas import Params, Result, Statistics, Workload, simulate
from quintain_faas.statistics import ClassStatistics

HERE = Path(__file__).parent
CASES = sorted(path for path in (HERE / "cases").iterdir() if path.is_dir())

# Its policy walks through hundreds of pipelines on every one of 30,000 calls: called on every tick it takes 20 s.
SLOW_ON_EVERY_TICK = {"018_suspend_batch_for_queries"}
CHOSEN_MODES = {
    "acts_every_quarter_second.py": "fixed_point",
    "fifo_whole_pool.py": "guard",
    "overcommit_all_ram.py": "guard",
    "slices_double_on_oom.py": "guard",
    "suspend_batch_for_queries.py": "fixed_point",
    "trusts_the_estimate.py": "guard",
    "watches_memory_and_clock.py": "fixed_point",
}


@cache
def simulate_case(case: Path, calling_mode: str) -> Result:
    description = json.loads((case / "case.json").read_text())
    trace = None
    if description["workload"] != "generated":
        trace = Workload.from_trace_file(case / description["workload"], strict=False)  # whatever Eudoxia read
    return simulate(HERE / "policies" / description["policy"], description["params"], trace, calling_mode)


def as_recorded(stats: Statistics, expected: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """The fields of `expected`, read from `stats`. The recordings charge an unfinished pipeline twice the job limit
    where there is one, and divide by the completion rate otherwise."""
    limit = Params.from_mapping(params).max_job_seconds
    found: dict[str, Any] = {}
    for name, wanted in expected.items():
        if name == "adjusted_latency_seconds":
            value: Any = (
                stats.adjusted_latency(divide_by_completion_rate=False, unfinished_penalty_seconds=2 * limit)
                if limit > 0
                else stats.adjusted_latency()
            )
        else:
            value = getattr(stats, name)
        if isinstance(value, ClassStatistics):
            found[name] = {field: none_if_nan(getattr(value, field)) for field in wanted}
        else:
            found[name] = none_if_nan(value)
    return found


def none_if_nan(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


def assert_as_recorded(case: Path, calling_mode: str) -> Result:
    params = json.loads((case / "case.json").read_text())["params"]
    expected = json.loads((case / "expected.json").read_text())
    result = simulate_case(case, calling_mode)
    assert result.failure is None
    assert as_recorded(result.stats, expected, params) == expected
    return result


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_chosen_mode_gives_the_recorded_numbers(case: Path) -> None:
    result = assert_as_recorded(case, "")
    policy = json.loads((case / "case.json").read_text())["policy"]
    assert result.calling_mode == CHOSEN_MODES.get(policy, result.calling_mode)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name not in SLOW_ON_EVERY_TICK], ids=lambda case: case.name
)
def test_calling_on_every_tick_gives_the_recorded_numbers_and_the_same_decisions(case: Path) -> None:
    every_tick = assert_as_recorded(case, "every_tick")
    assert every_tick.calling_mode == "every_tick"
    chosen = simulate_case(case, "")
    assert every_tick.decisions_digest == chosen.decisions_digest
    assert every_tick.decision_log == chosen.decision_log
    assert every_tick.stats == pytest.approx(chosen.stats, nan_ok=True) or repr(every_tick.stats) == repr(chosen.stats)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_fixed_point_mode_gives_the_recorded_numbers_where_it_applies(case: Path) -> None:
    result = simulate_case(case, "fixed_point")
    if result.failure is not None:
        assert result.failure.kind is FailureKind.LOAD
        assert "fixed_point" in result.failure.message
        return
    assert_as_recorded(case, "fixed_point")
