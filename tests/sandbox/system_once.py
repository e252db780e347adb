"""Run two systems, model and policy in jailed processes of their own: for tests that start this with fewer rights.

Prints the isolation of each, and whether the outcome is the one of a single process.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from importlib import resources

from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.package_files import package_files
from quintain.plugins.simulator import (
    JsonValue,
    Outcome,
    Policy,
    Program,
    RunOptions,
    Scenario,
    narrowed,
)
from quintain_system.package_simulator import PackageSimulator
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import program_limits
from quintain_verifier.sandbox.same_core import SameCore

# An installed package, whose inputs are made by code (a third jailed process), and one that came as files.
SCENARIOS = ("tenants/smoke/failures", "balancer/steady")
FILES = package_files(resources.files("quintain_system") / "packages" / "load_balancer")


def outcome_in_jails(package: PackageSimulator, jail: Jail, scenario: Scenario, source: str) -> Outcome:
    core = SameCore()
    with ExitStack() as stack:
        policy = stack.enter_context(jail.open(source, guest_module=package.guest_module, core=core))

        def open_program(program: Program, setup: JsonValue) -> Policy:
            limits, guest = program_limits(60.0), program.guest_module
            run = jail.open(program.source, guest_module=guest, limits=limits, seed=program.seed, core=core)
            return stack.enter_context(run).open_policy(setup)

        with core.engaged():
            return package.run_with_programs(scenario, policy.open_policy, open_program, RunOptions())


for name in SCENARIOS:
    own = FILES if name.startswith("balancer") else None
    package = narrowed(SIMULATORS.load("system"), "" if own is None else "balancer", (name,), files=own)
    assert isinstance(package, PackageSimulator)
    scenario, source = package.scenario(name), package.describe().baselines[0].source
    together = simulate(package, scenario, in_process(package, source), RunOptions())
    with Jail([package.guest_module, *package.program_guests], isolation="required") as jail:
        apart = outcome_in_jails(package, jail, scenario, source)
        same = "equal" if apart == together else f"differ: {apart.failure}"
        print(name, jail.report().profile, os.getuid(), same)
