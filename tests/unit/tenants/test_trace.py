"""Logs as traces of the package, read back by the engine and run."""

from __future__ import annotations

import io
from collections.abc import Iterable
from importlib import resources

import pytest
from tests.support.systems import run

from quintain.plugins.package_files import package_files
from quintain.plugins.simulator import InvalidInput, Outcome
from quintain.plugins.trace import Row, Value
from quintain_system.form.package import read_package
from quintain_system.package_simulator import PackageSimulator
from quintain_system.tenants_trace import trace_format

SUITE = """\
objective = "on_time"
[[scenarios]]
name = "log"
part = "train"
duration = 600.0
trace = "trace.csv"
"""


def rows(*values: dict[str, Value]) -> Iterable[Row]:
    return (Row(f"log.csv:{line}", of) for line, of in enumerate(values, start=2))


def written(*values: dict[str, Value]) -> tuple[bytes, tuple[str, ...]]:
    out = io.BytesIO()
    notes = trace_format.write(rows(*values), out)
    return out.getvalue(), notes


def outcome(trace: bytes) -> Outcome:
    """Of the default baseline."""
    files = dict(package_files(resources.files("quintain_system") / "packages/tenants"))
    files |= {"suites/mine.toml": SUITE.encode(), "suites/trace.csv": trace}
    package = PackageSimulator(read_package(files), "", "tenants")
    return run(package, "tenants/mine/log", package.describe().baselines[0].source)


def call(at: float, function: str = "f", **more: Value) -> dict[str, Value]:
    return {"arrival_seconds": at, "duration_seconds": 1.0, "function": function, **more}


def test_a_log_becomes_tenants_functions_and_requests_in_order_of_time() -> None:
    trace, notes = written(
        call(30.0, "g", tenant="b", memory_gb=0.5), call(10.0, tenant="a", memory_gb=0.25), call(20.0, tenant="a")
    )
    lines = trace.decode().splitlines()
    assert [line.split(",")[:3] for line in lines[1:]] == [
        ["0", "tenant", "b"], ["0", "tenant", "a"], ["0", "function", "b"], ["0", "function", "a"],
        ["10.0", "request", "a"], ["20.0", "request", "a"], ["30.0", "request", "b"],
    ]  # fmt: skip
    assert ",512," in lines[3]
    assert ",256," in lines[4]
    assert any("512 MB" in note for note in notes)
    assert any("init_seconds is unknown for 2 functions" in note for note in notes)


def test_the_trace_runs_with_what_the_log_says() -> None:
    trace, _ = written(*(call(10.0 * n, tenant=f"t{n % 2}", function=f"f{n % 2}") for n in range(40)))
    found = outcome(trace)
    assert found.failure is None
    assert found.metrics["requests"] == 40
    assert found.metrics["cold_starts"] == 2
    assert {group.name for group in found.groups} == {"t0", "t1"}


def test_a_tenant_may_have_as_many_instances_as_its_log_had_at_work_at_one_time() -> None:
    trace, _ = written(call(0.0), call(0.5), call(5.0))
    assert trace.decode().splitlines()[1] == "0,tenant,f,1,3,,,,,,,,"  # one function, and two at one time


@pytest.mark.parametrize(
    ("row", "field", "message"),
    [
        ({"arrival_seconds": 1.0, "duration_seconds": 1.0}, "log.csv:2:function", "missing"),
        ({"duration_seconds": 1.0, "function": "f"}, "log.csv:2:arrival_seconds", "missing"),
        (call(1.0) | {"duration_seconds": "soon"}, "log.csv:2:duration_seconds", "not a number"),
        (call(-1.0), "log.csv:2:arrival_seconds", "at least 0"),
        (call(1.0, memory_gb=float("nan")), "log.csv:2:memory_gb", "finite"),
    ],
)
def test_a_wrong_row_is_named_with_its_column(row: dict[str, Value], field: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        written(row)
    assert error.value.field == field


def test_a_function_of_two_tenants_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"belongs to 'a' at log\.csv:2, here to 'b'"):
        written(call(1.0, tenant="a"), call(2.0, tenant="b"))


def test_what_has_no_place_is_said() -> None:
    _, notes = written(call(1.0, trigger="http"), call(2.0, trigger="timer"))
    assert any(note.startswith("trigger has no place") and "2 rows" in note for note in notes)
