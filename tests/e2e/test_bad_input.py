"""Bad input: each a clear verdict or error that names place and rule. Real services, the command line from outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.conftest import Quintain

pytestmark = pytest.mark.xdist_group("e2e")

HEAD = """
from eudoxia.executor.assignment import Assignment
from eudoxia.scheduler.decorators import register_scheduler, register_scheduler_init
from eudoxia.workload import ASSIGNABLE_STATES

@register_scheduler_init(key="bad")
def init(s):
    pass

@register_scheduler(key="bad")
def step(s, results, pipelines):
"""
RAISES = HEAD + "    if s.clock.now_ticks() >= 500:\n        raise RuntimeError('half time')\n    return [], []\n"
OVERALLOCATES = (
    HEAD
    + """    for p in pipelines:
        op = p.runtime_status().get_ops(ASSIGNABLE_STATES)[0]
        pool = s.executor.pools[0]
        cpu = pool.max_cpu_pool + 1
        return [], [Assignment(ops=[op], cpu=cpu, ram=1, priority=p.priority, pool_id=0, pipeline_id=p.pipeline_id)]
    return [], []
"""
)
NONSENSE = HEAD + "    return 'everything', 42, None\n"
SYNTAX = "def step(:\n"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (SYNTAX, ["load at line 1: SyntaxError"]),
        (RAISES, ["raised at step 500, t=5 s, line 13: RuntimeError: half time"]),
        (OVERALLOCATES, ["rejected over_allocated_cpu at step 0", "65 cpus assigned, 64 available"]),
        (NONSENSE, ["at step 0"]),
    ],
    ids=["syntax error", "raises at tick 500", "over-allocates", "returns nonsense"],
)
def test_a_policy_that_fails_gets_a_verdict_that_says_why(
    quintain: Quintain, tmp_path: Path, source: str, told: list[str]
) -> None:
    path = tmp_path / "policy.py"
    path.write_text(source)
    ran = quintain("verify", str(path), "--scenario", "smoke_steady")
    assert ran.code == 1, ran.err
    assert all(part in ran.out for part in told), ran.out


def test_a_broken_trace_row_is_named_with_its_column(quintain: Quintain, tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text("[run]\nduration = 10\n")
    (tmp_path / "trace.csv").write_text(
        "pipeline_id,arrival_seconds,priority,operator_id,parents,baseline_cpu_seconds,cpu_scaling,memory_gb,storage_read_gb\n"
        "p1,0.0,QUERY,op1,,1,const,,5\n"
        "p2,soon,QUERY,op1,,1,const,,5\n"
    )
    policy = tmp_path / "policy.py"
    policy.write_text(NONSENSE)
    scenario, trace = str(tmp_path / "scenario.toml"), str(tmp_path / "trace.csv")
    ran = quintain("verify", str(policy), "--scenario", scenario, "--trace", trace)
    assert ran.code == 2
    assert "trace.csv:3:arrival_seconds" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--suite", "nowhere"), ["nowhere", "paper-reference, standard, smoke"]),
        (("--scenario", "nowhere"), ["nowhere", "reference_burst10_seed10"]),
        (("--suite", "smoke", "--simulator", "nowhere"), ["nowhere", "faas"]),
        (("--suite", "smoke", "--objective", "nowhere"), ["nowhere", "throughput"]),
    ],
    ids=["suite", "scenario", "simulator", "objective"],
)
def test_an_unknown_name_is_answered_with_the_known_ones(
    quintain: Quintain, tmp_path: Path, arguments: tuple[str, ...], told: list[str]
) -> None:
    policy = tmp_path / "policy.py"
    policy.write_text(NONSENSE)
    ran = quintain("verify", str(policy), *arguments)
    assert ran.code == 2
    assert all(part in ran.err for part in told), ran.err
    assert ran.err.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--suite", "nowhere", "--candidates", "1"), "nowhere"),
        (("--suite", "smoke", "--candidates", "1", "--strategy", "nowhere"), "nowhere"),
        (("--suite", "smoke", "--candidates", "1", "--backend", "nowhere"), "nowhere"),
        (("--suite", "smoke", "--candidates", "1", "--option", "colour=red"), "colour"),
    ],
    ids=["suite", "strategy", "backend", "option"],
)
def test_a_search_for_something_unknown_is_refused(quintain: Quintain, arguments: tuple[str, ...], told: str) -> None:
    ran = quintain("search", *arguments)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert told in ran.err
