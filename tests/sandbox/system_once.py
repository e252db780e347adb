"""Run a shipped system, model and policy in two jailed processes: for tests that start this with fewer rights.

Prints the isolation, and whether the outcome is the one of a single process.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import JsonValue, Policy, Program, ProgramSimulator, RunOptions, narrowed
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import program_limits
from quintain_verifier.sandbox.same_core import SameCore

SCENARIO = "load_balancer/steady"

package = narrowed(SIMULATORS.load("system"), scenarios=(SCENARIO,))
assert isinstance(package, ProgramSimulator)
scenario, source = package.scenario(SCENARIO), package.describe().baselines[0].source
core = SameCore()
with Jail([package.guest_module, *package.program_guests], isolation="required") as jail, ExitStack() as stack:
    policy = stack.enter_context(jail.open(source, guest_module=package.guest_module, core=core))

    def open_program(program: Program, setup: JsonValue) -> Policy:
        limits = program_limits(60.0)
        run = jail.open(program.source, guest_module=program.guest_module, limits=limits, seed=program.seed, core=core)
        return stack.enter_context(run).open_policy(setup)

    with core.engaged():
        apart = package.run_with_programs(scenario, policy.open_policy, open_program, RunOptions())
    together = simulate(package, scenario, in_process(package, source), RunOptions())
    print(jail.report().profile, os.getuid(), "equal" if apart == together else f"differ: {apart.failure}")
