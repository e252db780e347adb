"""The slice of a run that its policy's author gets: what waited at the worst moment, and whose it was."""

from __future__ import annotations

import json

import pytest
from tests.support.systems import POLICY, SYSTEM, package, run

from quintain.plugins.simulator import RunOptions
from quintain_system.package_simulator import PackageSimulator
from quintain_system.plugin import simulator

SIZED = SYSTEM.replace('id = "id", ', 'id = "id", size = "string", ') + '[classes]\nof = "job"\nfield = "size"\n'
NOTHING = "def decide(observation, happened):\n    return []\n"
FIRST_ALONE = """
from quintain_system import Decision
def decide(observation, happened):
    return [Decision("start", job=r.id) for r in happened if r.kind == "job" and r.id == 1]
"""


def worst(policy: str, *sizes: str, system: str = SIZED) -> str:
    """What is said of the worst moment when jobs of these sizes come, one each second, and take half a second."""
    rows = [f"{number}.0,{number},{size},0.5" for number, size in enumerate(sizes, start=1)]
    trace = "\n".join(["time,id,size,seconds", *rows])
    own = simulator.from_files("mine", package(system=system, trace=trace, suite=SUITE))
    assert isinstance(own, PackageSimulator)
    (line,) = (event.text for event in run(own, "mine/few", policy).timeline if "without" in event.text)
    return line


SUITE = """
objective = "seconds"
[[scenarios]]
name = "few"
part = "train"
duration = 20.0
trace = "few.csv"
"""


@pytest.mark.parametrize(
    ("policy", "sizes", "said"),
    [
        (NOTHING, "aba", '3 of job without done, by size {"a":2,"b":1}; last seen: {"free":2}'),
        (FIRST_ALONE, "abb", '2 of job without done; last seen: {"free":2}'),  # of one class
        (FIRST_ALONE, "abab", '3 of job without done, by size {"b":2,"a":1}; last seen: {"free":2}'),
        (NOTHING, "abcdefgh", '8 of job without done, by size {"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}; '),
    ],
)
def test_what_waits_is_told_by_class(policy: str, sizes: str, said: str) -> None:
    assert worst(policy, *sizes).startswith(said)


def test_without_classes_it_is_told_in_all() -> None:
    without = SIZED.partition("[classes]")[0]
    assert worst(NOTHING, *"ab", system=without) == '2 of job without done; last seen: {"free":2}'


def test_the_whole_of_a_run_says_what_came_about_and_how_long_it_took_without_what_is_hidden() -> None:
    own = simulator.from_files("mine", package())
    assert isinstance(own, PackageSimulator)
    whole = json.loads(run(own, "mine/few", POLICY, RunOptions(timeline=True)).detail)
    events = [*zip(whole["events"]["time_seconds"], whole["events"]["what"], strict=True)]
    assert events[:4] == [
        (0.5, "job(id=1)"),
        (0.5, "job(id=2)"),
        (0.5, "decided start(job=1)"),
        (0.5, "decided start(job=2)"),
    ]
    assert events[-1] == (7.5, "done(job=4)")
    spans = whole["job, job to done"]
    assert [*zip(spans["start_seconds"], spans["end_seconds"], spans["class"], strict=True)] == [
        (0.5, 1.5, "all"), (0.5, 2.5, "all"), (1.0, 2.5, "all"), (6.0, 7.5, "all"),
    ]  # fmt: skip


def test_what_has_no_classes_is_not_measured_by_class() -> None:
    beats = SIZED.replace(
        "[metrics]\n", '[events.beat]\nfields = { n = "int" }\n[metrics]\nbeats = { type = "count", of = ["beat"] }\n'
    )
    trace = "time,id,size,seconds\n1.0,1,a,0.5\n"
    own = simulator.from_files("mine", package(system=beats, trace=trace, suite=SUITE))
    assert isinstance(own, PackageSimulator)
    outcome = run(own, "mine/few", POLICY)
    assert outcome.metrics["beats"] == 0
    (group,) = outcome.groups
    assert set(group.metrics) == {"seconds", "done"}
