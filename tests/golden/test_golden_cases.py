"""Recorded runs of Eudoxia: every number equal, to the last bit, in every calling mode that the policy allows."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from quintain.plugins.simulator import FailureKind
from quintain_faas import Params, Result, Statistics, simulate
from quintain_faas.statistics import ClassStatistics

HERE = Path(__file__).parent
CASES = sorted(path for path in (HERE / "cases").iterdir() if path.is_dir())

# Its policy walks through hundreds of pipelines on every call: 30,000 calls are enough for one test.
SLOW = "018_suspend_batch_for_queries"
GUARDED = {"fifo_whole_pool.py", "overcommit_all_ram.py", "slices_double_on_oom.py", "trusts_the_estimate.py"}


@cache
def simulate_case(case: Path, calling_mode: str) -> Result:
    description = json.loads((case / "case.json").read_text())
    trace = None if description["workload"] == "generated" else case / description["workload"]
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


@pytest.mark.timeout(600)  # the slow case on a busy machine
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_chosen_mode_gives_the_recorded_numbers(case: Path) -> None:
    result = assert_as_recorded(case, "")
    guarded = json.loads((case / "case.json").read_text())["policy"] in GUARDED
    assert result.calling_mode == ("guard" if guarded else "fixed_point")


@pytest.mark.parametrize("case", [case for case in CASES if case.name != SLOW], ids=lambda case: case.name)
def test_calling_on_every_tick_gives_the_recorded_numbers_and_the_same_decisions(case: Path) -> None:
    every_tick = assert_as_recorded(case, "every_tick")
    assert every_tick.calling_mode == "every_tick"
    chosen = simulate_case(case, "")
    assert every_tick.decisions_digest == chosen.decisions_digest
    assert every_tick.decision_log == chosen.decision_log
    assert every_tick.stats == pytest.approx(chosen.stats, nan_ok=True) or repr(every_tick.stats) == repr(chosen.stats)


@pytest.mark.parametrize("case", [case for case in CASES if case.name != SLOW], ids=lambda case: case.name)
def test_the_fixed_point_mode_gives_the_recorded_numbers_where_it_applies(case: Path) -> None:
    result = simulate_case(case, "fixed_point")
    if result.failure is not None:
        assert result.failure.kind is FailureKind.LOAD
        assert "fixed_point" in result.failure.message
        return
    assert_as_recorded(case, "fixed_point")
