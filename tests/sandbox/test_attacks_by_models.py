"""Every hostile policy of attacks/index.csv as a system's model: it reaches nothing, and the next model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from tests.sandbox.test_attacks import ATTACKS, ENDS, IMPATIENT, LIMITS, Tripwires, tripwires
from tests.support.systems import MODEL, POLICY, package

from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import JsonValue, ModelFault, Outcome, Policy, PolicyError, Program, RunOptions
from quintain_system.plugin import simulator
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import KIB, Limits

__all__ = ["tripwires"]

# The attack acts whenever a job comes; what it says goes out as an error, so that the test hears it.
ATTACKING = """

def query(question):
    return question


class Model:
    def __init__(self, config, parameters, random):
        self.time = 0

    def on_input(self, time, job):
        said = str(act({"t": self.time}))
        self.time += 1
        if "PWNED" in said or "CANARY" in said:
            raise RuntimeError(said)

    def on_decision(self, time, start):
        pass

    def next_event_time(self):
        return None

    def advance(self, time):
        return []

    def observe(self):
        return {"free": 0}
"""


@pytest.fixture(scope="module")
def model_jail() -> Iterator[Jail]:
    with Jail(["quintain_system.guest.model"], isolation="required") as jail:
        yield jail


def run(jail: Jail, model: str, limits: Limits) -> Outcome:
    """The counter with this model, its policy in this process."""
    counter = simulator.from_files("mine", package(model=model))
    with ExitStack() as stack:

        def open_program(program: Program, setup: JsonValue) -> Policy:
            opened = jail.open(program.source, guest_module=program.guest_module, limits=limits)
            try:
                return Blamed(stack.enter_context(opened).open_policy(setup))
            except PolicyError as error:
                raise ModelFault(program.name, error.failure) from error

        scenario = counter.scenario("mine/few")
        return counter.run_with_programs(scenario, in_process(counter, POLICY), open_program, RunOptions())  # type: ignore[attr-defined,no-any-return]


class Blamed:
    def __init__(self, inner: Policy) -> None:
        self._inner, self.info = inner, inner.info

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        try:
            return self._inner.ask(message, on_query)
        except PolicyError as error:
            raise ModelFault("model.py", error.failure) from error


@pytest.mark.parametrize("name", ENDS)
def test_attack(model_jail: Jail, tripwires: Tripwires, name: str) -> None:
    server = model_jail.server_pids
    limits = replace(IMPATIENT if "wall_limit" in ENDS[name] else LIMITS, decision_bytes=64 * KIB)
    said = ""
    try:
        run(model_jail, (ATTACKS / f"{name}.py").read_text() + ATTACKING, limits)
    except ModelFault as fault:
        said = str(fault)
    assert tripwires.tripped() == []
    assert "PWNED" not in said
    assert "CANARY" not in said
    assert model_jail.server_pids == server, "the fork server was lost"
    assert run(model_jail, MODEL, LIMITS).failure is None
