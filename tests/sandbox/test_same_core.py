"""An engine and its policy process stay on one processor while their turns are short, and may use all afterwards."""

from __future__ import annotations

import os
import sys
import time

import pytest
from tests.support.processes import PATIENCE

from quintain_verifier.sandbox.forkserver import Child
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.same_core import REVIEW_SECONDS, SHORT_TURN_SECONDS, SameCore

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="needs two processors of Linux"
)

POLICY = "def act(message):\n    return message"


def test_short_turns_are_taken_on_one_processor(jail: Jail) -> None:
    allowed = os.sched_getaffinity(0)
    core = SameCore()
    with core.engaged(), jail.open(POLICY, guest_module="act_guest", core=core) as run:
        policy = run.open_policy({})
        pid, deadline = run._child.pid, time.monotonic() + PATIENCE
        while os.sched_getaffinity(0) == allowed or os.sched_getaffinity(pid) != os.sched_getaffinity(0):
            assert time.monotonic() < deadline, "it was never placed"
            policy.ask(1)
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == allowed


def test_the_processor_is_chosen_anew_again_and_again() -> None:
    allowed, seen = os.sched_getaffinity(0), []
    core = SameCore()
    child = _child()
    with core.engaged():
        now = 1.0
        for _ in range(int(6 * REVIEW_SECONDS / (SHORT_TURN_SECONDS / 5))):
            core.turn(child, now)
            seen.append(os.sched_getaffinity(0))
            now += SHORT_TURN_SECONDS / 5
    assert any(len(cores) == 1 for cores in seen)
    first = next(number for number, cores in enumerate(seen) if len(cores) == 1)
    assert allowed in seen[first:], "it was placed once and for all"
    assert os.sched_getaffinity(0) == allowed


def test_long_turns_are_left_to_the_kernel() -> None:
    allowed = os.sched_getaffinity(0)
    core = SameCore()
    child = _child()
    with core.engaged():
        for number in range(100):
            core.turn(child, 1.0 + number * 2 * SHORT_TURN_SECONDS)
            assert os.sched_getaffinity(0) == allowed


def test_a_child_that_is_gone_disturbs_nothing() -> None:
    core = SameCore()
    child = _child()
    child.pid = 2**22 + 1  # above what a kernel gives
    with core.engaged():
        for number in range(1000):
            core.turn(child, 1.0 + number * SHORT_TURN_SECONDS / 5)


def _child() -> Child:
    return Child(run=1, pid=os.getpid())
