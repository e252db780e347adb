"""Policies in other people's styles: called only when it matters, they decide what they decide on every tick."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.fuzz.policies import check

from quintain.plugins.inprocess import InProcessPolicy
from quintain.plugins.simulator import JsonValue
from quintain_faas import Params, Workload, guest
from quintain_faas.run import RunResult, run

from .cases import make_trace

FOLDER = Path(__file__).parents[2] / "golden" / "policies" / "foreign"
POLICIES = sorted(path.stem for path in FOLDER.glob("*.py"))
PARAMS = Params(duration=40, ticks_per_second=20, num_pools=1, cpus_per_pool=16, ram_gb_per_pool=130, max_job_seconds=0)
# These look at the clock, or count their calls, on every tick: there is nothing to skip.
RESTLESS = {"ages_by_the_clock", "counts_its_calls", "draws_lots"}


def simulate(source: str, trace: str, params: Params, calling_mode: str = "") -> tuple[RunResult, int]:
    """The result, and how often the policy was called."""
    calls = 0

    def open_policy(setup: JsonValue) -> InProcessPolicy:
        opened = InProcessPolicy(guest.load, source, setup)
        session: Any = opened._session
        start = session._run_module

        def starting() -> None:
            start()
            schedule = session._schedule

            def counting(*arguments: object) -> object:
                nonlocal calls
                calls += 1
                return schedule(*arguments)

            session._schedule = counting

        session._run_module = starting
        return opened

    return run(params, Workload.from_trace_text(trace, strict=False), open_policy, calling_mode=calling_mode), calls


@pytest.mark.parametrize("seed", range(0, 100, 20))
def test_random_policies_decide_as_on_every_tick(seed: int) -> None:
    for number in range(seed, seed + 20):
        assert check(Random(number)) == "fixed_point"


def test_a_policy_that_is_called_on_every_tick_says_which_line_is_the_reason() -> None:
    source = (FOLDER / "closures.py").read_text()
    for text, reason in {
        "import inspect\n": "line 1: imports inspect",
        "\nx = eval('1')\n": "line 2: uses eval",
        "class A:\n    def __getattribute__(self, n): return 1\n": "line 2: defines __getattribute__",
        "async def f(): pass\n": "line 1: coroutines",
    }.items():
        setup = {"params": PARAMS.visible_to_policy(), "max_job_ticks": 0, "calling_mode": ""}
        info = InProcessPolicy(guest.load, text + source, setup).info
        assert isinstance(info, dict)
        assert info["calling_mode"] == "every_tick"
        assert str(info["reason"]).startswith(reason)


def scenarios() -> list[tuple[str, Params]]:
    made = []
    for seed in range(3):
        random = Random(seed)
        trace = make_trace(random, 40, 130)
        made.append((trace, PARAMS))
    return made


@pytest.mark.parametrize("name", POLICIES)
def test_a_foreign_policy_decides_as_on_every_tick_and_is_called_only_when_it_matters(name: str) -> None:
    source = (FOLDER / f"{name}.py").read_text()
    assignments = 0
    for trace, params in scenarios():
        literal, ticks = simulate(source, trace, params, "every_tick")
        chosen, calls = simulate(source, trace, params)
        assert chosen.failure == literal.failure
        assert chosen.decision_log == literal.decision_log
        assert repr(chosen.stats) == repr(literal.stats)
        assignments += literal.stats.assignments
        if name not in RESTLESS:
            assert calls < ticks / 2, f"{calls} calls in {ticks} ticks, mode {chosen.calling_mode}"
    assert assignments > 0
