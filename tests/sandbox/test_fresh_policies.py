"""Several runs of one policy: each in a child of its own, all of them within the limits of one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quintain.plugins.simulator import FailureKind, PolicyError
from quintain_verifier.sandbox.fresh import FreshPolicies
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import MIB, Limits
from quintain_verifier.sandbox.run import JailedRun

LIMITS = Limits(wall_seconds=60, step_seconds=60, cpu_seconds=1, memory_bytes=256 * MIB)
COUNTS = "import math\nmath.seen = getattr(math, 'seen', 0) + 1\ndef act(o):\n    return math.seen"
BURNS = "def act(steps):\n    for _ in range(steps):\n        pass"


class Opened:
    """What a run opens, kept to be looked at."""

    def __init__(self, jail: Jail, source: str) -> None:
        self._jail, self._source = jail, source
        self.children: list[JailedRun] = []
        self.limits: list[Limits] = []

    def __call__(self, limits: Limits) -> JailedRun:
        self.limits.append(limits)
        self.children.append(self._jail.open(self._source, guest_module="act_guest", limits=limits))
        return self.children[-1]


def test_no_policy_knows_what_the_one_before_has_done_and_it_is_gone(jail: Jail) -> None:
    opened = Opened(jail, COUNTS)
    with FreshPolicies(opened, LIMITS) as policies:
        for number in range(3):
            assert policies.open({}).ask(None) == 1
            assert [child.closed for child in opened.children] == [True] * number + [False]
    assert all(child.closed for child in opened.children)
    assert policies.usage.cpu_seconds == pytest.approx(sum(child.usage.cpu_seconds for child in opened.children))
    assert policies.usage.killed_by == ""


def test_cpu_time_is_counted_over_all_of_them(jail: Jail) -> None:
    opened = Opened(jail, BURNS)

    def use(policies: FreshPolicies) -> None:
        for _ in range(200):  # each uses a part of a second
            policies.open({}).ask(5_000_000)

    with FreshPolicies(opened, replace(LIMITS, cpu_seconds=2)) as policies, pytest.raises(PolicyError) as caught:
        use(policies)
    assert caught.value.failure.kind is FailureKind.CPU_LIMIT
    assert 2 <= len(opened.children) < 200
    assert opened.limits[-1].cpu_seconds < opened.limits[0].cpu_seconds


def test_messages_bytes_and_waiting_are_counted_over_all_of_them(jail: Jail) -> None:
    opened = Opened(jail, COUNTS)
    few = replace(LIMITS, messages=5)
    with FreshPolicies(opened, few) as policies:
        policies.open({}).ask(None)
        policies.open({})
        first, second = opened.limits
        assert second.messages == few.messages - opened.children[0].messages_received
        assert second.output_bytes == few.output_bytes - opened.children[0].bytes_received
        assert second.wall_seconds == pytest.approx(few.wall_seconds - opened.children[0].waited_seconds)
        with pytest.raises(PolicyError) as caught:
            policies.open({})
    assert first == few
    assert caught.value.failure.kind is FailureKind.PROTOCOL
    assert "5 messages" in caught.value.failure.message
