"""What a jailed run is: a fresh child, a conversation in turns, a failure of the right kind, nothing left behind."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from quintain.plugins.simulator import POLICY_MODULES, FailureKind, InvalidInput, JsonValue, PolicyError, PolicyFailure
from quintain_verifier.sandbox import run as run_module
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import MIB, MIN_LIMITS, Limits

SHORT = Limits(wall_seconds=60, step_seconds=60, cpu_seconds=1, memory_bytes=256 * MIB)


def ask_once(jail: Jail, source: str, message: JsonValue = None, limits: Limits = SHORT) -> JsonValue:
    with jail.open(source, guest_module="act_guest", limits=limits) as run:
        return run.open_policy({}).ask(message)


def failure(jail: Jail, source: str, limits: Limits = SHORT) -> PolicyFailure:
    with pytest.raises(PolicyError) as caught:
        ask_once(jail, source, limits=limits)
    return caught.value.failure


def test_a_policy_answers_and_asks_back(jail: Jail) -> None:
    source = "def act(o):\n    return [setup, o, query(o + 1)]"
    with jail.open(source, guest_module="act_guest", limits=SHORT) as run:
        policy = run.open_policy({"cpus": 8})
        assert policy.info == {"setup": {"cpus": 8}}
        for n in range(50):
            assert policy.ask(n, lambda question: [question, 0.5]) == [{"cpus": 8}, n, [n + 1, 0.5]]
    assert run.usage.killed_by == ""
    assert run.usage.max_rss_bytes > 5 * MIB
    assert 0 < run.usage.cpu_seconds < 1


def test_the_modules_that_a_policy_may_import_are_there_and_others_are_said_not_to_be(jail: Jail) -> None:
    imports = "".join(f"import {name}\n" for name in POLICY_MODULES)
    assert ask_once(jail, imports + "def act(o):\n    return csv.reader(['a,b']).__next__()") == ["a", "b"]
    for missing in ("sqlite3", "numpy", "json.tool"):
        said = failure(jail, f"def act(o):\n    import {missing}\n")
        assert said.message.startswith(f"ModuleNotFoundError: No module named {missing!r} here. A policy may import")
        assert all(name in said.message for name in ("pathlib", "collections", "math"))


def test_every_run_is_a_fresh_process(jail: Jail) -> None:
    source = "import math\nmath.seen = getattr(math, 'seen', 0) + 1\ndef act(o):\n    return math.seen"
    assert [ask_once(jail, source) for _ in range(3)] == [1, 1, 1]


def test_a_guest_can_come_as_source(jail: Jail) -> None:
    guest = (
        "class S:\n    info = 'from source'\n    def answer(self, m): return [self.p, m]\n"
        "def load(source, setup, query):\n    s = S(); s.p = source; return s\n"
    )
    with jail.open("the policy", guest_source=guest, limits=SHORT) as run:
        policy = run.open_policy(None)
        assert policy.info == "from source"
        assert policy.ask(1) == ["the policy", 1]


def test_an_exception_names_the_policys_own_lines(jail: Jail) -> None:
    said = failure(jail, "def helper(x):\n    return 1 / x\n\ndef act(o):\n    return helper(0)\n")
    assert said.kind is FailureKind.RAISED
    assert said.message == "ZeroDivisionError: division by zero"
    assert said.line == 2
    assert said.traceback == "  line 5, in act\n  line 2, in helper\n"


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("def act(o:\n    pass", 1, "SyntaxError"),
        ("x = 1\nx.y\n", 2, "AttributeError"),
        ("def other(o): pass", None, "KeyError: 'act'"),
        ("def act(o): pass\0", None, "null bytes"),
        ("import numpy", 1, "No module named 'numpy'"),
        ("\ud800", None, "not valid Unicode"),
        ("#" * 300_000, None, "300000 bytes; the limit is 262144"),
    ],
)
def test_a_source_that_does_not_load(jail: Jail, source: str, line: int | None, says: str) -> None:
    said = failure(jail, source)
    assert said.kind is FailureKind.LOAD
    assert says in said.message
    assert said.line == line


def test_the_smallest_memory_is_enough_for_a_small_policy(jail: Jail) -> None:
    limits = replace(SHORT, memory_bytes=MIN_LIMITS.memory_bytes)
    assert ask_once(jail, "import decimal, statistics\ndef act(o):\n    return [o] * 1000", 1, limits) == [1] * 1000


def test_a_warning_about_the_source_harms_nobody(jail: Jail) -> None:
    assert ask_once(jail, "import warnings\nwarnings.simplefilter('always')\ndef act(o):\n    return o is 1", 1) is True


def test_a_policy_is_opened_once_and_is_dead_after_a_failure(jail: Jail) -> None:
    with jail.open("def act(o):\n    return 1 / 0", guest_module="act_guest", limits=SHORT) as run:
        policy = run.open_policy({})
        with pytest.raises(RuntimeError, match="once"):
            run.open_policy({})
        with pytest.raises(RuntimeError, match="after its end"):
            _ = run.usage
        with pytest.raises(PolicyError):
            policy.ask(1)
        with pytest.raises(RuntimeError, match="over"):
            policy.ask(1)


def test_wall_time_counts_the_policys_time_only(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that takes its time does not use up its policy's."""
    passed = 0.0
    monkeypatch.setattr(run_module, "monotonic", lambda: time.monotonic() + passed)
    with jail.open("def act(o):\n    return o", guest_module="act_guest", limits=SHORT) as run:
        policy = run.open_policy({})
        passed = 2 * SHORT.wall_seconds
        assert policy.ask(1) == 1
    assert run.usage.wall_seconds > 2 * SHORT.wall_seconds


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpu_seconds", 10**6),
        ("wall_seconds", float("nan")),
        ("wall_seconds", 0),
        ("memory_bytes", 2**50),
        ("decision_bytes", True),
        ("source_bytes", "1"),
        ("cpu_seconds", 1.5),
    ],
)
def test_a_limit_out_of_range_is_named(jail: Jail, field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        jail.open("", guest_module="act_guest", limits=replace(Limits(), **{field: value}))
    assert caught.value.field == f"limits.{field}"
