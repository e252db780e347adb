"""A suite of one's own, as files: the format of the built-in ones, own baselines, every mistake with its place."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

import pytest

from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import InvalidInput, Part, RunOptions, SuiteReader
from quintain_faas.plugin import simulator

TRACE = (
    b"pipeline_id,arrival_seconds,priority,operator_id,parents,"
    b"baseline_cpu_seconds,cpu_scaling,memory_gb,storage_read_gb\n"
    b"p1,0.5,QUERY,op1,,1.5,linear3,2,1\n"
    b"p2,1.0,BATCH_PIPELINE,op1,,2.5,const,4,2\n"
)
SUITE = b"""
description = "mine"
objective = "throughput"
aggregation = "mean_normalized"

[defaults.run]
duration = 20

[[scenarios]]
name = "monday"
part = "train"
workload.trace = "monday.csv.gz"

[[scenarios]]
name = "tuesday"
part = "held_out"
workload.trace = "tuesday.csv"
"""
FILES: Mapping[str, bytes] = {
    "suite.toml": SUITE,
    "monday.csv.gz": gzip.compress(TRACE),
    "tuesday.csv": TRACE,
    "notes.md": b"not a file of the suite",
}
FIFO = simulator.describe().baselines[0].source


def test_the_simulator_takes_suites_of_ones_own() -> None:
    assert isinstance(simulator, SuiteReader)
    own = simulator.from_files("mine", FILES)
    suite = own.suite("mine")
    assert [(e.scenario, e.part) for e in suite.entries] == [("monday", Part.TRAIN), ("tuesday", Part.HELD_OUT)]
    described = own.describe()
    assert described.suites == ("mine",)
    assert described.hints == ""  # they are about the built-in scenarios
    outcome = own.run(own.scenario("monday"), in_process(own, FIFO), RunOptions())
    assert outcome.failure is None
    assert own.score("throughput", own.scenario("monday"), outcome, outcome).value > 0


def test_equal_files_are_the_same_simulator_and_one_of_many_suites_is_chosen_by_name() -> None:
    folder = {f"suites/{n}": c for n, c in FILES.items()} | {"suites/small.toml": SUITE}
    small = simulator.from_files("mine/small", folder)
    assert small.suite("mine/small").entries == simulator.from_files("mine", FILES).suite("mine").entries
    assert small.scenario("monday").digest == simulator.from_files("mine", FILES).scenario("monday").digest
    assert small.describe().build == simulator.describe().build


def test_policies_of_ones_own_are_the_baselines_and_part_of_the_identity() -> None:
    source = b'"""Mine."""\n' + FIFO.encode()
    own = simulator.from_files("mine", FILES | {"baselines/mine.py": source, "baselines/deeper/no.py": b""})
    assert [(b.name, b.description) for b in own.describe().baselines] == [("mine", "Mine.")]
    assert own.describe().build != simulator.describe().build


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"suite.toml": None}, "suite.toml: is missing; the files given are: monday.csv.gz"),
        ({"tuesday.csv": None}, "there is no file 'tuesday.csv' beside the scenario"),
        ({"suite.toml": SUITE.replace(b"throughput", b"speed")}, "suite.toml:objective: 'speed' is not one of"),
        ({"suite.toml": SUITE.replace(b'"train"', b'"held_out"')}, "none is of part 'train'"),
        (
            {"suite.toml": SUITE.replace(b"duration = 20", b"duratoin = 20")},
            "run:duratoin: unknown key; known are: duration",
        ),
        ({"suite.toml": b"objective ="}, "suite.toml: is not TOML"),
        ({"suite.toml": b"\xff"}, "suite.toml: is not UTF-8"),
        ({"tuesday.csv": TRACE.replace(b"1.0,BATCH", b"soon,BATCH")}, "tuesday.csv:3:arrival_seconds: 'soon'"),
        ({"baselines/mine.py": b"\xff"}, "baselines/mine.py: is not UTF-8"),
    ],
)
def test_a_mistake_is_named_with_its_place(change: Mapping[str, bytes | None], told: str) -> None:
    files = {name: content for name, content in (FILES | change).items() if content is not None}
    with pytest.raises(InvalidInput) as caught:
        simulator.from_files("mine", files)
    assert told in str(caught.value)
