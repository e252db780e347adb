"""One package, one policy: the same outcome to the last bit wherever model and policy run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import pytest
from tests.support.verifier import running_verifier

from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import JsonValue, Outcome, Policy, Program, RunOptions, narrowed
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_system.package_simulator import PackageSimulator
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import MAX_LIMITS

ROOT = Path(__file__).parents[3]
SCENARIOS = ("load_balancer/heavy_tail", "tenants/smoke/failures")
POLICY_GUEST = "quintain_system.guest.policy"

# A guest in another interpreter: a line of JSON for each message, as over the jail's pipe.
SERVE = """
import importlib, json, sys
source, guest, setup = json.loads(sys.stdin.readline())
session = importlib.import_module(guest).load(source, setup, None)
print(json.dumps(session.info), flush=True)
for line in sys.stdin:
    print(json.dumps(session.answer(json.loads(line))), flush=True)
"""


class OtherPython:
    """`Policy` in a process of another interpreter, which has nothing but the standard library and the guests."""

    def __init__(self, process: subprocess.Popen[str], source: str, guest: str, setup: JsonValue) -> None:
        self._process = process
        self.info = self._exchange([source, guest, setup])

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        return self._exchange(message)

    def _exchange(self, message: JsonValue) -> JsonValue:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        return cast(JsonValue, json.loads(self._process.stdout.readline()))


@contextmanager
def started(interpreter: str, hash_seed: str) -> Iterator[subprocess.Popen[str]]:
    environment = {"PYTHONPATH": str(ROOT / "simulators/system"), "PYTHONHASHSEED": hash_seed}
    command = [interpreter, "-S", "-c", SERVE]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def package_of(scenario: str) -> tuple[PackageSimulator, str]:
    """With its default baseline."""
    package = narrowed(SIMULATORS.load("system"), scenarios=(scenario,))
    assert isinstance(package, PackageSimulator)
    return package, package.describe().baselines[0].source


def here(scenario: str) -> Outcome:
    package, source = package_of(scenario)
    return simulate(package, package.scenario(scenario), in_process(package, source), RunOptions())


def with_guests_in(interpreter: str, hash_seed: str, scenario: str) -> Outcome:
    package, source = package_of(scenario)
    with ExitStack() as stack:

        def opened(source: str, guest: str, setup: JsonValue) -> Policy:
            return OtherPython(stack.enter_context(started(interpreter, hash_seed)), source, guest, setup)

        def open_program(program: Program, setup: JsonValue) -> Policy:
            return opened(program.source, program.guest_module, setup)

        return package.run_with_programs(
            package.scenario(scenario),
            lambda setup: opened(source, POLICY_GUEST, setup),
            open_program,
            RunOptions(),
        )


def interpreter_of(version: str) -> str:
    """Its path; the test is skipped where there is none."""
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for found in (shutil.which(f"python{version}"), *map(str, versions.glob(f"{version}.*/bin/python"))):
        if found is not None and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return found
    pytest.skip(f"there is no python{version} on this machine")


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_version_of_python_beside_model_and_policy_changes_nothing(version: str, scenario: str) -> None:
    assert with_guests_in(interpreter_of(version), "0", scenario) == here(scenario)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_order_of_hashes_changes_nothing(hash_seed: str) -> None:
    assert with_guests_in(sys.executable, hash_seed, SCENARIOS[1]) == here(SCENARIOS[1])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_jailed_processes_give_what_one_process_gives(scenario: str) -> None:
    package, source = package_of(scenario)
    with Jail([package.guest_module, *package.program_guests], isolation="required") as jail, ExitStack() as stack:

        def opened(source: str, guest: str, setup: JsonValue, seed: int) -> Policy:
            run = stack.enter_context(jail.open(source, guest_module=guest, limits=MAX_LIMITS, seed=seed))
            return run.open_policy(setup)

        apart = package.run_with_programs(
            package.scenario(scenario),
            lambda setup: opened(source, POLICY_GUEST, setup, 0),
            lambda program, setup: opened(program.source, program.guest_module, setup, program.seed),
            RunOptions(),
        )
    assert apart == here(scenario)


def test_a_verifier_says_the_same(tmp_path: Path) -> None:
    with running_verifier(tmp_path, 'workers = 1\nsimulators = ["system"]\n') as running, running.client() as client:
        for scenario in SCENARIOS:
            _, source = package_of(scenario)
            request = pb.VerifyRequest(
                simulator="system",
                scenarios=[scenario],
                policy=type_pb2.Policy(source=source),
                objective={"load_balancer": "mean_seconds", "tenants": "on_time"}[scenario.partition("/")[0]],
                check_determinism=True,
            )
            (result,) = client.verify(request).verdict.scenarios
            expected = here(scenario)
            assert {m.name: m.value for m in result.metrics} == expected.metrics
            assert result.decisions_digest == expected.decisions_digest
