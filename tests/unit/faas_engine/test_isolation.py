"""A policy holds a mirror: what it may not know is not there, and what it edits changes nothing but its own view."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.engine import opener

from quintain.plugins.inprocess import InProcessPolicy
from quintain_faas import Params, Workload, guest
from quintain_faas.guest.guard import parse
from quintain_faas.guest.session import Session
from quintain_faas.guest.sight import sees_only_the_mirror
from quintain_faas.run import RunResult, run

from .policies import PARAMS, TWO_STEPS, policy, simulate_on

HONEST = """
if not results and not pipelines: return [], []
s.known.extend(pipelines)
{cheat}
out = []
ram = s.executor.pools[0].max_ram_pool
for p in s.known:
    for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
        out.append(Assignment([op], 1, 10, p.priority, 0, p.pipeline_id))
return [], out
"""
CHEATS = (
    "s.clock._tick = 0",
    "s.clock.ticks_per_second = 1",
    "s.executor.pools[0].avail_cpu_pool = 10 ** 6",
    "s.executor.pools[0].active_containers.clear()",
    "s.executor.pools[0].num_completed = 10 ** 6",
    "s.executor.pools[0].container_tick_times.append(0)",
    "s.executor.pools.clear() if False else None",
    "s.executor.num_pools = 10 ** 6",
    "s.params['ram_gb_per_pool'] = 10 ** 6",
    "for c in s.executor.pools[0].active_containers: c.assignment.ram = 10 ** 6; c.error = None; c.number = 5",
    "for r in results: r.error = None; r.ops.clear()",
    "results.clear(); pipelines.extend(pipelines)",
    "for p in pipelines: p.priority = Priority.QUERY; p.pipeline_id = 'other'; p.runtime_status().arrival_tick = 9",
    "for p in s.known: p.runtime_status().finish_tick = 0; p.runtime_status().state_counts.clear()",
    "for p in s.known: p.values.node_lookup.clear(); p.values.roots.clear()",
    "for p in s.known:\n    for op in p.values: op.number = 0; op.parents.clear(); op.estimate.mem_peak_gb = 0",
    "for op in s.known[0].values: op.current_state = OperatorState.COMPLETED",
    "s.known[0].new_operator()",
    "s.executor.pools[0]._true_active.clear()",
    "s.executor.pools[0]._query({'raised_at': s.clock.now_ticks()})",
    "if s.known: Assignment([*s.known[0].values][-1:], 1, 1, Priority.QUERY, 0, 'never returned')",
)
# What a policy that imports the guest's own modules can do to them, in its own process.
PATCHES = (
    "import quintain_faas.guest.session as g; g.Session._apply = lambda *a: []",
    "import quintain_faas.guest.session as g; g.Session.answer = lambda self, m: {'tick': 10 ** 6}",
    "import quintain_faas.guest.session as g; g.Session._tell = lambda self, t, *a: {'tick': t, 'score': 10 ** 6}",
    "import quintain_faas.guest.objects as g; g.PipelineRuntimeStatus.is_pipeline_successful = lambda self: True",
    "import quintain_faas.guest.objects as g; g.PipelineRuntimeStatus.transition = lambda *a: None",
    "import quintain_faas.guest.cluster as g; g.Clock.now_ticks = lambda self: 10 ** 6",
    "import quintain_faas.guest.cluster as g; g.Pool.leave = g.Pool.start = lambda *a: None",
    "import quintain_faas.protocol as g; g.NEXT_STATES = ((4,),) * 6; g.NO_POOL = 0",
    "Assignment.__init__ = lambda self, *a: self.__dict__.update(ops=a[0], cpu=-1, ram=-1, priority=a[3], pool_id=0)",
)


def test_edits_of_the_mirror_do_not_reach_the_truth() -> None:
    honest = simulate_on(policy(HONEST.format(cheat="pass"), init="s.known = []"))
    assert honest.failure is None
    assert honest.stats.containers_completed == 3
    for cheat in CHEATS:
        cheated = simulate_on(policy(HONEST.format(cheat=cheat), init="s.known = []"))
        assert_no_gain(cheated, honest)


def assert_no_gain(cheated: RunResult, honest: RunResult) -> None:
    """A cheat ends the run, or makes the policy do less; it never invents work that was not done."""
    if cheated.failure is None and cheated.decisions_digest == honest.decisions_digest:
        assert repr(cheated.stats) == repr(honest.stats)
    ours, theirs = cheated.stats, honest.stats
    assert ours.pipelines_created <= theirs.pipelines_created
    assert ours.containers_completed <= theirs.containers_completed
    assert ours.throughput <= theirs.throughput
    for mine, other in zip(ours.by_class().values(), theirs.by_class().values(), strict=True):
        assert mine.arrival_count <= other.arrival_count
        assert mine.completion_count <= other.completion_count
        assert all(ticks in other.latencies_ticks for ticks in mine.latencies_ticks)


@pytest.mark.parametrize("patch", PATCHES)
def test_patching_the_guest_in_its_own_process_does_not_reach_the_truth(patch: str) -> None:
    honest = simulate_on(policy(HONEST.format(cheat="pass"), init="s.known = []"))
    with opener(policy(HONEST.format(cheat="pass"), init=f"s.known = []\n{patch}"), two_processes=True) as open_policy:
        assert_no_gain(run(PARAMS, Workload.from_trace_text(TWO_STEPS), open_policy), honest)


def test_declaring_an_operator_completed_completes_nothing() -> None:
    source = policy(
        """
        for p in pipelines:
            for op in p.values:
                for state in (OperatorState.ASSIGNED, OperatorState.RUNNING, OperatorState.COMPLETED):
                    op.transition(state)
        return [], []
        """
    )
    result = simulate_on(source)
    assert result.failure is None
    assert result.stats.containers_completed == 0
    assert result.stats.pipelines_all.completion_count == 0


def test_neither_needs_nor_future_are_told() -> None:
    told: list[Any] = []

    def open_policy(setup: Any) -> Any:
        told.append(setup)
        session = InProcessPolicy(guest.load, policy(HONEST.format(cheat="pass"), init="s.known = []"), setup)

        class Recording:
            info = session.info

            def ask(self, message: Any, on_query: Any = None) -> Any:
                told.append(message)
                return session.ask(message, on_query)

        return Recording()

    params = Params(duration=417, ticks_per_second=10, num_pools=1, random_seed=987654, ram_gb_per_pool=99)
    trace = TWO_STEPS.replace(",10\n", ",13.25\n") + "p3,23.7,QUERY,late,,7.125,const,,13.25\n"
    run(params, Workload.from_trace_text(trace), open_policy)
    setup, start, *steps = told
    assert start == {"tick": -1, "start": True}
    text = json.dumps(told)
    assert setup["params"]["duration"] == 417
    for secret in ("13.25", "7.125", "const"):
        assert secret not in text
    assert "p3" not in json.dumps([step for step in steps if step["tick"] < 237])
    assert sum("p3" in json.dumps(step) for step in steps) == 1


def test_what_is_finished_is_forgotten() -> None:
    sessions: list[Session] = []

    def load(source: str, setup: Any, query: Any) -> Session:
        sessions.append(guest.load(source, setup, query))
        return sessions[-1]

    source = policy(HONEST.format(cheat="pass"), init="s.known = []")
    result = run(PARAMS, Workload.from_trace_text(TWO_STEPS), lambda setup: InProcessPolicy(load, source, setup))
    assert result.stats.pipelines_all.completion_count == 2
    assert not sessions[0]._pipelines
    assert not sessions[0]._owners


def grants_to(source: str) -> list[tuple[int, int]]:
    """(first tick, tick after the last) of every step in a run on every tick."""
    grants: list[tuple[int, int]] = []

    def open_policy(setup: Any) -> Any:
        session = InProcessPolicy(guest.load, source, setup)

        class Recording:
            info = session.info

            def ask(self, message: Any, on_query: Any = None) -> Any:
                if message["tick"] >= 0:
                    grants.append((message["tick"], message.get("until", message["tick"] + 1)))
                return session.ask(message, on_query)

        return Recording()

    result = run(PARAMS, Workload.from_trace_text(TWO_STEPS), open_policy, calling_mode="every_tick")
    assert result.failure is None
    return grants


def test_idle_ticks_are_granted_up_to_the_next_event_to_a_policy_that_cannot_see_it() -> None:
    grants = grants_to(policy(HONEST.format(cheat="pass"), init="s.known = []"))
    assert grants[0] == (0, 2)  # the first pipeline arrives at 0.2 s
    assert len(grants) < 20
    assert [tick for tick, _ in grants] == sorted({tick for tick, _ in grants})


# Ways to the message of the engine, or to what they are made of.
LOOKS = {
    "frames": "import sys\nframe = sys._getframe()",
    "frames of a module's module": "import collections.abc as c\nframe = c.sys._getframe()",
    "frames by an alias": "from collections import abc as c\nprint(c)",
    "frames of logging": "import logging\nframe = logging.currentframe()",
    "a traceback": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    t = e.__traceback__",
    "a traceback by name": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    t = getattr(e, '__trace' + 'back__')",
    "a generator's frame": "g = (x for x in [])\nf = g.gi_frame",
    "a generator's frame in a text": "g = (x for x in [])\nf = '{0.gi_frame.f_back.f_locals}'.format(g)",
    "a text put together": "a = '{0.gi_'\nf = (a + 'frame}').format(1)",
    "getattr by another name": "g = getattr\ng([], 'x', 0)",
    "an attribute getter": "from operator import attrgetter\nattrgetter('x')",
    "a pattern": "match [].append:\n    case object(__self__=x): pass",
    "the garbage collector": "import gc\ngc.get_objects()",
    "inspection": "import inspect\ninspect.stack()",
    "evaluated text": "eval('1')",
    "evaluated annotations": "import typing\ntyping.get_type_hints(int)",
    "the guest": "import quintain_faas.guest.session",
    "modules": "import sys\nsys.modules",
    "a module handed on": "import math\nm = math\nm.pi",
    "a patched module": "import math\nmath.pi = 3",
    "a bound method": "s.executor.pools[0]._query.__self__",
    "globals of a function": "def f(): pass\nf.__globals__",
    "subclasses": "[].__class__.__subclasses__",
    "all bases": "[].__class__.mro()",
    "a class in making": "class A(metaclass=type): pass",
    "a star": "from math import *",
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_policy_that_might_look_is_told_one_tick_at_a_time(name: str) -> None:
    source = policy(HONEST.format(cheat="pass"), init="s.known = []")
    body = "\n".join(f"    {line}" for line in LOOKS[name].splitlines())
    if name == "a star":
        source = f"{LOOKS[name]}\n{source}"
    else:
        source += f"\ndef never(s):\n{body}\n"
    grants = grants_to(source)
    assert {until - tick for tick, until in grants} == {1}
    assert len(grants) == 200


def test_most_policies_in_foreign_styles_cannot_look() -> None:
    folder = Path(__file__).parents[2] / "golden" / "policies" / "foreign"
    blind = [sees_only_the_mirror(parse(path.read_text())) for path in folder.glob("*.py")]
    assert sum(blind) >= 0.8 * len(blind), f"{sum(blind)} of {len(blind)}"


def test_what_a_policy_says_once_it_runs_does_not_let_it_look() -> None:
    """The guest says what the policy can see before any of it has run."""
    liar = """
import gc
for o in gc.get_objects():
    if type(o).__name__ == "Session" and hasattr(o, "info"): o.info["runs_ahead"] = True
"""
    told = {until - tick for tick, until in grants_to(liar + policy(HONEST.format(cheat="pass"), init="s.known = []"))}
    assert told == {1}


def test_the_guest_loads_neither_numpy_nor_the_engine_and_quickly() -> None:
    code = (
        "import sys; import quintain_faas.guest; "
        "print([m for m in sys.modules if m.split('.')[0] == 'numpy' or m.startswith('quintain_faas.engine') "
        "or m.startswith('quintain.')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"


def test_true_needs_are_an_empty_list() -> None:
    source = policy(
        "for p in pipelines:\n    for op in p.values: assert op.get_segments() == [] and op.values == []\nreturn [], []"
    )
    assert simulate_on(source).failure is None


def test_a_policy_may_hang_attributes_of_its_own_on_whatever_it_gets() -> None:
    source = policy(
        """
        pool = s.executor.pools[0]
        for thing in (s.clock, s.executor, pool, *pool.active_containers, *pipelines, *results):
            thing.note = "mine"
        for p in pipelines:
            p.values.note = p.runtime_status().note = "mine"
            for op in p.values:
                op.retries = op.estimate.retries = 0
            s.known.append(p)
        for r in results:
            assert r.ops[0].retries == 0 and r.ops[0].pipeline.note == "mine"
            s.seen += 1
        """
        + HONEST.split("{cheat}")[1].replace("\n", "\n        "),
        init="s.known, s.seen = [], 0",
    )
    result = simulate_on(source)
    assert result.failure is None
    assert result.stats.containers_completed == 3
