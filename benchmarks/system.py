"""What a system package costs: one long run of the load balancer in two jailed processes, taken apart.

    .venv/bin/python -m benchmarks.system [--requests 100000]

Prints the wall time of a run with model and policy in their jails, the processor time of the engine and of both, what
was waited for each (its own work and the messages), the same run in one process without messages, and what it costs
when a policy is asked in batches: every so many milliseconds of simulated time instead of at each request.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources

from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.package_files import package_files
from quintain.plugins.simulator import JsonValue, Outcome, Policy, Program, RunOptions, Scenario
from quintain_system.package_simulator import PackageSimulator
from quintain_system.plugin import simulator
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import MAX_LIMITS, program_limits
from quintain_verifier.sandbox.run import ResourceUsage
from quintain_verifier.sandbox.same_core import SameCore

RATE = 100.0  # requests for each simulated second
SUITE = """
objective = "mean_seconds"
[[scenarios]]
name = "long"
part = "train"
seed = 1
duration = {duration}
config = {{ servers = 20, slow_every = 5 }}
arrivals = [{{ kind = "request", rate = {rate}, fields = {{ size = {{ choice = {{ small = 1.0 }} }}, work = {{ lognormal = [0.08, 0.5] }} }} }}]
"""  # noqa: E501


class Waited:
    """`Policy` that adds up how long its answers took, and counts them."""

    def __init__(self, inner: Policy) -> None:
        self.info = inner.info
        self._inner = inner
        self.seconds, self.messages = 0.0, 0

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        began = time.perf_counter()
        answer = self._inner.ask(message, on_query)
        self.seconds += time.perf_counter() - began
        self.messages += 1
        return answer


@dataclass(frozen=True)
class Jailed:
    """A run with its model and its policy in two jailed processes."""

    outcome: Outcome
    seconds: float  # by the clock
    engine_cpu_seconds: float
    waited: dict[str, Waited]
    usage: dict[str, ResourceUsage]

    @property
    def cpu_seconds(self) -> float:
        return self.engine_cpu_seconds + sum(of.cpu_seconds for of in self.usage.values())

    @property
    def messages(self) -> int:
        return sum(w.messages for w in self.waited.values())

    def __str__(self) -> str:
        processes = ", ".join(
            f"{who} {of.cpu_seconds:.1f} s and {of.max_rss_bytes >> 20} MiB" for who, of in sorted(self.usage.items())
        )
        waits = ", ".join(f"{w.seconds:.1f} s for the {who}" for who, w in sorted(self.waited.items()))
        return (
            f"{self.seconds:.1f} s by the clock, {self.cpu_seconds:.1f} s of processor time:"
            f" engine {self.engine_cpu_seconds:.1f} s, {processes};"
            f" waited {waits} ({self.messages} messages)"
        )


def balancer(requests: int, policy: str) -> PackageSimulator:
    """The shipped package with one long scenario; `policy`: its table [policy]."""
    files = package_files(resources.files("quintain_system") / "packages" / "load_balancer")
    files["suite.toml"] = SUITE.format(duration=requests / RATE, rate=RATE).encode()
    files["system.toml"] = files["system.toml"].replace(b'calls = ["request"]', policy.encode())
    balanced = simulator.from_files("bench", files)
    assert isinstance(balanced, PackageSimulator)
    return balanced


def jailed(package: PackageSimulator, scenario: Scenario, source: str) -> Jailed:
    waited: dict[str, Waited] = {}
    core = SameCore()
    with Jail([package.guest_module, *package.program_guests], isolation="required") as jail, ExitStack() as stack:
        policy_run = stack.enter_context(
            jail.open(source, guest_module=package.guest_module, limits=MAX_LIMITS, core=core)
        )
        runs = {"policy": policy_run}

        def open_policy(setup: JsonValue) -> Policy:
            waited["policy"] = Waited(policy_run.open_policy(setup))
            return waited["policy"]

        def open_program(program: Program, setup: JsonValue) -> Policy:
            limits = program_limits(600.0)
            run = jail.open(
                program.source, guest_module=program.guest_module, limits=limits, seed=program.seed, core=core
            )
            name = program.name.removesuffix(".py")
            runs[name] = stack.enter_context(run)
            waited[name] = Waited(run.open_policy(setup))
            return waited[name]

        with core.engaged():
            began, cpu = time.perf_counter(), time.thread_time()
            outcome = package.run_with_programs(scenario, open_policy, open_program, RunOptions())
            seconds, cpu = time.perf_counter() - began, time.thread_time() - cpu
        stack.close()
        assert outcome.failure is None, outcome.failure
        return Jailed(outcome, seconds, cpu, waited, {who: run.usage for who, run in runs.items()})


def here(package: PackageSimulator, scenario: Scenario, source: str) -> tuple[Outcome, float]:
    """The same in this process, and its processor time."""
    began = time.thread_time()
    outcome = simulate(package, scenario, in_process(package, source), RunOptions())
    return outcome, time.thread_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    requests = parser.parse_args().requests
    for name, policy in (
        ("asked at each request", 'calls = ["request"]'),
        ("asked every 20 ms", "every = 0.02"),
        ("asked every 100 ms", "every = 0.1"),
    ):
        package = balancer(requests, policy)
        source = {b.name: b.source for b in package.describe().baselines}["shortest_queue"]
        scenario = package.scenario("bench/long")
        apart = jailed(package, scenario, source)
        together, alone = here(package, scenario, source)
        assert together == apart.outcome
        print(f"{name}: {requests} requests: {apart}")
        print(
            f"    in one process without messages {alone:.1f} s of processor time, so messages take"
            f" {1 - alone / apart.cpu_seconds:.0%}, {(apart.cpu_seconds - alone) / apart.messages * 1e6:.0f} us each"
        )


if __name__ == "__main__":
    main()
