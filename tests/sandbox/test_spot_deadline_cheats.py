"""The ways in which the public evaluator was cheated, tried here: a policy changes its own mirror, and pays in full."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quintain.plugins.simulator import FailureKind, Outcome, RunOptions
from quintain_spot_deadline.plugin import simulator
from quintain_spot_deadline.scenario import make_scenario, spec_of
from quintain_verifier.sandbox.fresh import FreshPolicies
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import Limits

# What each does before it decides as a policy that takes spot and otherwise waits would.
HONEST = "def decide(job, now):\n    return 'spot' if now.spot else 'none'\n"
CHEATS = {
    "sets all future samples to available": """
import sys

def decide(job, now):
    frame = sys._getframe()
    while frame is not None:
        for value in list(frame.f_locals.values()):
            for name in ("_history", "available", "samples", "trace"):
                if isinstance(getattr(value, name, None), str):
                    setattr(value, name, "1" * 1000)
        frame = frame.f_back
    return 'spot' if now.spot else 'none'
""",
    "appends a huge number to its own list of done work": """
import gc

def decide(job, now):
    now.work_done, now.work_left = 10**9, 0
    for thing in gc.get_objects():
        if type(thing).__name__ == "Progress":
            thing.work_left = 0
    return 'spot' if now.spot else 'none'
""",
    "clears the history of its machines": """
import gc

def decide(job, now):
    now.machines = ""
    for thing in gc.get_objects():
        if type(thing).__name__ == "Session":
            thing._machines = ""
    return 'spot' if now.spot else 'none'
""",
    "makes its job free": """
import sys

def decide(job, now):
    rules = sys.modules["quintain_spot_deadline.rules"]
    rules.Job.spot_price = rules.Job.on_demand_price = 0.0
    return 'spot' if now.spot else 'none'
""",
    "overrides the forcing": """
import sys

rules = sys.modules["quintain_spot_deadline.rules"]
rules.Progress.must_hurry = lambda self: False
rules.Progress.hurried = lambda self: "none"

def decide(job, now):
    return 'spot' if now.spot else 'none'
""",
}
# Looks through everything that it can reach for a series that is longer than what has happened.
LOOKS_AHEAD = """
import gc, sys

def decide(job, now):
    seen = len(now.history)
    frame = sys._getframe()
    things = gc.get_objects()
    while frame is not None:
        things += list(frame.f_locals.values())
        frame = frame.f_back
    held = [value for thing in things if isinstance(thing, dict) for value in list(thing.values())]
    for value in things + held:
        if isinstance(value, str) and len(value) > seen and set(value) <= {"0", "1"}:
            raise RuntimeError("it can be seen: " + value)
    return 'spot' if now.spot else 'none'
"""
REMEMBERS_THE_SERIES = """
import math

def decide(job, now):
    known = getattr(math, "known", "")
    math.known = max(known, now.history, key=len)
    if len(known) > len(now.history) + 1:
        raise RuntimeError("an earlier run is remembered")
    return "none"
"""


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail([simulator.guest_module], isolation="required") as jail:
        yield jail


def verify(jail: Jail, source: str, windows: int = 1) -> Outcome:
    """On the last smoke windows, which are of the scarce profile."""
    whole = simulator.scenario("smoke_train_360s_52h")
    scenario = make_scenario(whole.name, "", spec_of(whole).windows[-windows:])
    with FreshPolicies(
        lambda limits: jail.open(source, guest_module=simulator.guest_module, limits=limits), Limits()
    ) as policies:
        return simulator.run(scenario, policies.open, RunOptions())


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_policy_that_lies_to_itself_costs_what_an_honest_one_costs(jail: Jail, cheat: str) -> None:
    honest, outcome = verify(jail, HONEST), verify(jail, CHEATS[cheat])
    assert honest.failure is None
    assert outcome.failure is None
    assert outcome.metrics == honest.metrics
    assert outcome.decisions_digest == honest.decisions_digest


def test_what_is_to_come_is_nowhere_to_be_found(jail: Jail) -> None:
    outcome = verify(jail, LOOKS_AHEAD)
    assert outcome.failure is None, outcome.failure


def test_no_run_remembers_another(jail: Jail) -> None:
    outcome = verify(jail, REMEMBERS_THE_SERIES, windows=3)
    assert outcome.failure is None, outcome.failure
    assert outcome.metrics["runs"] == 3


def test_a_late_run_is_looked_at(jail: Jail) -> None:
    """The public evaluator lets it pass; here it breaks a floor, and costs more than it saves."""
    whole = simulator.scenario("spot_train_360s_52h")
    with FreshPolicies(
        lambda limits: jail.open(HONEST, guest_module=simulator.guest_module, limits=limits), Limits()
    ) as policies:
        outcome = simulator.run(whole, policies.open, RunOptions())
    baseline_source = simulator.describe().baselines[0].source
    with FreshPolicies(
        lambda limits: jail.open(baseline_source, guest_module=simulator.guest_module, limits=limits), Limits()
    ) as policies:
        baseline = simulator.run(whole, policies.open, RunOptions())
    assert outcome.metrics["late_runs"] > 0
    assert "LATE by 1 ticks" in outcome.timeline[0].text
    honest = simulator.score("never_late", whole, outcome, baseline)
    (floor,) = honest.broken_floors
    assert floor.required - floor.reached == outcome.metrics["late_runs"]
    assert honest.value < honest.baseline
    assert simulator.score("adrs", whole, outcome, baseline).floors == ()


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("def decide(job, now):\n    while True: pass\n", FailureKind.CPU_LIMIT),
        ("import os\ndef decide(job, now):\n    os.kill(os.getppid(), 9)\n", FailureKind.RAISED),
        ("import os\ndef decide(job, now):\n    os._exit(0)\n", FailureKind.DIED),
    ],
)
def test_a_policy_that_attacks_fails(jail: Jail, source: str, kind: FailureKind) -> None:
    whole = simulator.scenario("smoke_train_360s_52h")
    limits = Limits(cpu_seconds=1)
    with FreshPolicies(
        lambda limits: jail.open(source, guest_module=simulator.guest_module, limits=limits), limits
    ) as policies:
        outcome = simulator.run(whole, policies.open, RunOptions())
    assert outcome.failure is not None
    assert outcome.failure.kind is kind
