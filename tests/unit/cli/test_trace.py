"""``quintain trace import``: public data sets on small files of their schemas, and tables of one's own with a map."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run

from quintain_faas.workload import Workload
from quintain_spot_deadline.plugin import simulator as spot_deadline

DAY = [f"percentile_Average_{p}" for p in (0, 1, 25, 50, 75, 99, 100)]


def write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def trace(path: Path) -> list[dict[str, str]]:
    """The rows of a written trace, which the simulator itself can read."""
    Workload.from_trace_text(path.read_text(), path.name)
    return list(csv.DictReader(path.open(newline="")))


@pytest.fixture
def azure_2019(tmp_path: Path) -> list[str]:
    def function(name: str, trigger: str, counts: dict[int, int]) -> dict[str, object]:
        minutes: dict[str, object] = {str(m + 1): counts.get(m, 0) for m in range(1440)}
        return {"HashOwner": "o1", "HashApp": "a1", "HashFunction": name, "Trigger": trigger, **minutes}

    invocations = [
        function("f1", "http", {0: 3, 5: 2}),
        function("f2", "timer", {1: 1}),
        function("f3", "queue", {2: 9}),
    ]
    durations = [
        {"HashOwner": "o1", "HashApp": "a1", "HashFunction": f, "Average": 500, "Count": 5, "Minimum": 1, "Maximum": 9}
        | dict(zip(DAY, (100, 100, 200, 500, 800, 1000, 1000), strict=True))
        for f in ("f1", "f2")
    ]
    memory: list[dict[str, object]] = [
        {"HashOwner": "o1", "HashApp": "a1", "SampleCount": 4, "AverageAllocatedMb": 512}
    ]
    return [
        str(write_csv(tmp_path / "invocations_per_function_md.anon.d01.csv", invocations)),
        str(write_csv(tmp_path / "function_durations_percentiles.anon.d01.csv", durations)),
        str(write_csv(tmp_path / "app_memory_percentiles.anon.d01.csv", memory)),
    ]


def test_azure_2019_becomes_arrivals_within_their_minutes(quintain: Run, tmp_path: Path, azure_2019: list[str]) -> None:
    out = tmp_path / "trace.csv"
    ran = quintain("trace", "import", *azure_2019, "--from", "azure-2019", "--out", str(out))
    assert ran.code == 0, ran.err
    rows = trace(out)
    arrivals = [float(row["arrival_seconds"]) for row in rows]
    assert arrivals == sorted(arrivals)
    assert [int(a // 60) for a in arrivals] == [0, 0, 0, 1, 5, 5]
    assert [row["priority"] for row in rows] == ["INTERACTIVE"] * 3 + ["BATCH_PIPELINE"] + ["INTERACTIVE"] * 2
    assert {row["memory_gb"] for row in rows} == {"0.5"}
    assert all(0.1 <= float(row["baseline_cpu_seconds"]) <= 1.0 for row in rows)
    assert "1 functions have no durations in the log: left out" in ran.err
    assert "cold starts are not in them" in ran.err


def test_the_same_seed_draws_the_same_trace_and_a_part_is_a_part(
    quintain: Run, tmp_path: Path, azure_2019: list[str]
) -> None:
    def made(name: str, *more: str) -> list[dict[str, str]]:
        path = tmp_path / name
        assert quintain("trace", "import", *azure_2019, "--from", "azure-2019", "--out", str(path), *more).code == 0
        return trace(path)

    whole = made("a.csv")
    assert made("b.csv") == whole
    assert made("c.csv", "--seed", "2") != whole
    part = made("d.csv", "--start", "60", "--seconds", "60")
    assert [float(row["arrival_seconds"]) for row in part] == [float(whole[3]["arrival_seconds"]) - 60]


def test_azure_2021_arrives_when_it_ended_less_its_duration(quintain: Run, tmp_path: Path) -> None:
    log = write_csv(
        tmp_path / "log.csv",
        [
            {"app": "a", "func": "f", "end_timestamp": 12.5, "duration": 2.5},
            {"app": "a", "func": "g", "end_timestamp": 11.0, "duration": 4.0},
        ],
    )
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    out = tmp_path / "trace.csv"
    ran = quintain("trace", "import", str(packed), "--from", "azure-2021", "--out", str(out))
    assert ran.code == 0, ran.err
    assert [(float(r["arrival_seconds"]), float(r["baseline_cpu_seconds"])) for r in trace(out)] == [(7, 4), (10, 2.5)]
    assert "memory_gb is unknown: 1 GB assumed in 2 rows" in ran.err
    assert "function has no place in this simulator's traces: left out of 2 rows" in ran.err


def test_huawei_requests_bring_their_memory(quintain: Run, tmp_path: Path) -> None:
    record = {
        "time_worker": 2600186.994, "time_frontend": 2600186.995, "requestID": "763f", "clusterName": 1,
        "funcName": 296, "podID": "pool22-300-128-0000618412", "userID": 224, "totalCost_worker": 0.023749,
        "cpu_usage": 0.291506, "memory_usage": 32.0, "requestBodySize": 1018,
    }  # fmt: skip
    log = write_csv(tmp_path / "R1_00000.csv", [record, record | {"time_worker": 2600190.0}])
    out = tmp_path / "trace.csv"
    ran = quintain("trace", "import", str(log), "--from", "huawei-2025", "--start", "2600180", "--out", str(out))
    assert ran.code == 0, ran.err
    rows = trace(out)
    assert [float(r["arrival_seconds"]) for r in rows] == pytest.approx([6.994, 10.0])
    assert {r["memory_gb"] for r in rows} == {str(32 / 1024)}


MAP = """
[columns]
arrival_seconds = "started"
duration_seconds = { column = "ms", scale = 0.001 }
pipeline_id = "job"
operator_id = "task"
parents = "after"
priority = { column = "class", values = { gold = "QUERY", silver = "BATCH_PIPELINE" } }
cpu_scaling = { value = "linear3" }
memory_gb = { column = "mb", scale = 0.001 }

[time]
format = "iso8601"
"""
LOG = """started,ms,job,task,after,class,mb
2026-01-31T12:00:00+00:00,1500,j1,t1,,gold,2000
,500,j1,t2,t1,gold,1000
2026-01-31T12:00:10.500+00:00,100,j2,t1,,silver,10
"""


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_of_ones_own_is_read_through_a_map(quintain: Run, tmp_path: Path, kind: str) -> None:
    log = tmp_path / f"log.{kind}"
    records = list(csv.DictReader(LOG.splitlines()))
    if kind == "csv":
        log.write_text("\ufeff" + LOG)
    elif kind == "jsonl":
        log.write_text("\n".join(json.dumps({k: v or None for k, v in r.items()}) for r in records) + "\n\n")
    else:
        arrow = pytest.importorskip("pyarrow", reason="Parquet needs the library pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(arrow.Table.from_pylist(records), log)
    (tmp_path / "map.toml").write_text(MAP)
    out = tmp_path / "trace.csv"
    ran = quintain("trace", "import", str(log), "--map", str(tmp_path / "map.toml"), "--out", str(out))
    assert ran.code == 0, ran.err
    rows = trace(out)
    assert [(r["pipeline_id"], r["arrival_seconds"], r["priority"], r["operator_id"], r["parents"]) for r in rows] == [
        ("p1", "0.0", "QUERY", "op1", ""),
        ("p1", "", "", "op2", "op1"),
        ("p2", "10.5", "BATCH_PIPELINE", "op1", ""),
    ]
    assert [float(r["baseline_cpu_seconds"]) for r in rows] == [1.5, 0.5, 0.1]
    assert {r["cpu_scaling"] for r in rows} == {"linear3"}


@pytest.mark.parametrize(
    ("log", "column_map", "told"),
    [
        (LOG, MAP.replace('"started"', '"begun"'), "there is no column 'begun'; there are started, ms"),
        (LOG, MAP.replace("pipeline_id", "pipeline"), "columns.pipeline: no such column; there are arrival_seconds"),
        (LOG, MAP.replace('arrival_seconds = "started"\n', ""), "columns.arrival_seconds: is needed, and not mapped"),
        (LOG, MAP + "\nzone = 1\n", "time.zone: Extra inputs are not permitted"),
        (LOG, "columns = [", "is no TOML"),
        (LOG.replace("1500", "soon"), MAP, "log.csv:2:ms: 'soon' is not a number"),
        (LOG.replace("2026-01-31T12:00:00+00:00", "noon"), MAP, "'noon' is not a time such as 2026-01-31T12:00:00"),
        (LOG.replace("silver", "bronze"), MAP, "log.csv:4:class: 'bronze' is not in the map's values"),
        (LOG.replace(",t1,gold", ",t9,gold"), MAP, "log.csv:3:parents: 't9' is no operator of an earlier row"),
        (LOG.replace("linear3", ""), MAP.replace("linear3", "cubic"), "'cubic' is none of const, "),
        (LOG + "2026-01-31T12:00:11+00:00,1,j1,t1,,gold,1\n", MAP, "log.csv:5:pipeline_id: 'j1' was at log.csv:2"),
        (LOG.replace("-31T12:00:10.500+00:00,100", "-31T12:00:10.500+00:00,-1"), MAP, "must be a finite number"),
        (LOG.replace(",silver,10", ",silver"), MAP, "log.csv:4: the row has not 7 fields like the header"),
        ("", MAP, "log.csv:1: is empty; the first line names the columns"),
        (LOG.splitlines()[0] + "\n", MAP, "no row of the log lies in the part that was asked for"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    quintain: Run, tmp_path: Path, log: str, column_map: str, told: str
) -> None:
    (tmp_path / "log.csv").write_text(log)
    (tmp_path / "map.toml").write_text(column_map)
    out = tmp_path / "trace.csv"
    ran = quintain("trace", "import", str(tmp_path / "log.csv"), "--map", str(tmp_path / "map.toml"), "--out", str(out))
    assert ran.code == 2
    assert told in " ".join(ran.err.split()), ran.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "map.toml"]  # no half of a trace is left


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["log.xlsx", "--map", "map.toml"], "cannot tell what it is by '.xlsx'; known are .csv, .jsonl"),
        (["log.csv"], "a log of your own needs --map FILE"),
        (["log.csv", "--from", "google-2011"], "'google-2011' is unknown; known are table, azure-2019"),
        (["log.csv", "--from", "azure-2021", "--map", "map.toml"], "azure-2021 has columns of its own"),
        (["gone.csv", "--from", "azure-2021"], "gone.csv: No such file"),
        (["log.csv", "--from", "azure-2019"], "has the columns of none of the three kinds of files"),
        (["log.csv", "--from", "azure-2021"], "log.csv:2: there is no column 'app'; there are started"),
        (["log.csv", "--map", "map.toml", "--out", "map.toml"], "map.toml is there already"),
        (["log.csv", "--map", "map.toml", "--simulator", "nope"], "no trace format 'nope' is installed; installed are"),
    ],
)
def test_a_wrong_question_is_answered(
    quintain: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "log.xlsx").write_bytes(b"PK")
    (tmp_path / "map.toml").write_text(MAP)
    ran = quintain("trace", "import", *arguments)
    assert ran.code == 2
    assert told in " ".join(ran.err.split()), ran.err


def test_the_columns_of_a_format_are_listed_with_units(quintain: Run) -> None:
    out = quintain("trace", "columns").out
    assert "arrival_seconds (s, needed): when the pipeline arrived" in out
    assert "memory_gb (GB): peak memory; absent: 1" in out


def test_a_public_log_becomes_a_trace_of_a_system_package(quintain: Run, tmp_path: Path, azure_2019: list[str]) -> None:
    out = tmp_path / "trace.csv"
    ran = quintain("trace", "import", *azure_2019, "--from", "azure-2019", "--simulator", "tenants", "--out", str(out))
    assert ran.code == 0, ran.err
    kinds = [row["kind"] for row in csv.DictReader(out.open(newline=""))]
    assert kinds == ["tenant", "function", "function", *["request"] * 6]
    assert "trigger has no place" in ran.err


def test_a_huawei_log_becomes_a_trace_of_a_system_package(quintain: Run, tmp_path: Path) -> None:
    record = {
        "time_worker": 10.5, "time_frontend": 10.6, "requestID": "763f", "clusterName": 1, "funcName": 296,
        "podID": "pool22-300-128-0000618412", "userID": 224, "totalCost_worker": 0.02, "cpu_usage": 0.3,
        "memory_usage": 32.0, "requestBodySize": 1018,
    }  # fmt: skip
    log = write_csv(tmp_path / "R1_00000.csv", [record, record | {"time_worker": 12.0, "memory_usage": 48.0}])
    out = tmp_path / "trace.csv"
    ran = quintain("trace", "import", str(log), "--from", "huawei-2025", "--simulator", "tenants", "--out", str(out))
    assert ran.code == 0, ran.err
    tenant, function, *requests = csv.DictReader(out.open(newline=""))
    assert (tenant["tenant"], function["memory_mb"]) == ("224", "48")
    assert [float(request["work"]) for request in requests] == [0.02, 0.02]


def test_an_azure_2021_log_becomes_a_trace_of_a_system_package(quintain: Run, tmp_path: Path) -> None:
    log = write_csv(tmp_path / "log.csv", [{"app": "a", "func": "f", "end_timestamp": 12.5, "duration": 2.5}])
    out = tmp_path / "trace.csv"
    ran = quintain("trace", "import", str(log), "--from", "azure-2021", "--simulator", "tenants", "--out", str(out))
    assert ran.code == 0, ran.err
    _, function, request = csv.DictReader(out.open(newline=""))
    assert (function["memory_mb"], request["time"], request["objective_seconds"]) == ("170", "10.0", "6.0")
    assert "memory_gb is unknown for 1 functions" in ran.err


def test_a_window_of_the_adrs_task_is_turned_round(quintain: Run, tmp_path: Path) -> None:
    window = tmp_path / "0.json"
    window.write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": [0, 0, 1, 0, 0, 0, 0]}))
    out = tmp_path / "trace.csv"
    arguments = ["--from", "adrs-window", "--simulator", "spot_deadline", "--out", str(out)]
    ran = quintain("trace", "import", str(window), *arguments)
    assert ran.code == 0, ran.err
    rows = [f"{600 * tick},{int(tick != 2)}" for tick in range(7)]
    assert out.read_text().split() == ["time_seconds,available", *rows]
    assert "7 ticks, 1 of them without spot" in ran.err
    numbers = {"gap": 600, "overhead": 60, "deadline": 1200, "duration": 600}
    job = "".join(f"{name}_seconds = {value}\n" for name, value in numbers.items()) + "window_ticks = 7\n"
    files = {"scenario.toml": job.encode(), "trace.csv": out.read_bytes()}
    assert spot_deadline.inline_scenario("mine", files).name == "mine"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"data": [0, 2]}', "0.json:data[1]: 2 is no state; must be 0 (spot exists) or 1 (gone)"),
        ('{"data": [0, true]}', "0.json:data[1]: True is no state"),
        ("[0, 1]", "must be a JSON object with a list 'data'"),
        ("{", "must be a JSON object with a list 'data'"),
    ],
)
def test_a_window_that_is_none_is_named(quintain: Run, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "0.json").write_text(text)
    arguments = ["--from", "adrs-window", "--simulator", "spot_deadline", "--out", str(tmp_path / "trace.csv")]
    ran = quintain("trace", "import", str(tmp_path / "0.json"), *arguments)
    assert ran.code == 2
    assert told in " ".join(ran.err.split())
