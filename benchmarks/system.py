"""What a system package costs: one long run of the load balancer in two jailed processes, taken apart.

    .venv/bin/python -m benchmarks.system [--requests 100000]

Prints the wall time of a run with model and policy in their jails, what of it was spent waiting for each (their own
work and the messages), the same run in one process without messages, and what it costs when a policy is asked in
batches: every so many milliseconds of simulated time instead of at each request.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib import resources

from quintain.plugins.inprocess import in_process, in_process_program
from quintain.plugins.simulator import JsonValue, Outcome, Policy, Program, RunOptions
from quintain_system.package_simulator import PackageSimulator
from quintain_system.plugin import folder_files, simulator
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import MAX_LIMITS, program_limits

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


def balancer(requests: int, policy: str) -> PackageSimulator:
    """The shipped package with one long scenario; `policy`: its table [policy]."""
    files = folder_files(resources.files("quintain_system") / "packages" / "load_balancer")
    files["suite.toml"] = SUITE.format(duration=requests / RATE, rate=RATE).encode()
    files["system.toml"] = files["system.toml"].replace(b'calls = ["request"]', policy.encode())
    return simulator.from_files("bench", files)


def jailed(package: PackageSimulator, source: str) -> tuple[Outcome, float, dict[str, Waited]]:
    """(outcome, wall seconds, what was waited for the model and for the policy)"""
    waited: dict[str, Waited] = {}
    scenario = package.scenario("bench/long")
    with Jail([package.guest_module, *package.program_guests], isolation="required") as jail:
        limits = program_limits(600.0)
        began = time.perf_counter()
        with (
            jail.open(source, guest_module=package.guest_module, limits=MAX_LIMITS) as policy_run,
            jail.open(package.model_source, guest_module=package.program_guests[0], limits=limits) as model_run,
        ):

            def open_policy(setup: JsonValue) -> Policy:
                waited["policy"] = Waited(policy_run.open_policy(setup))
                return waited["policy"]

            def open_program(program: Program, setup: JsonValue) -> Policy:
                waited["model"] = Waited(model_run.open_policy(setup))
                return waited["model"]

            outcome = package.run_with_programs(scenario, open_policy, open_program, RunOptions())
        return outcome, time.perf_counter() - began, waited


def here(package: PackageSimulator, source: str) -> float:
    began = time.perf_counter()
    opened = in_process(package, source)
    package.run_with_programs(package.scenario("bench/long"), opened, in_process_program, RunOptions())
    return time.perf_counter() - began


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
        outcome, seconds, waited = jailed(package, source)
        assert outcome.failure is None, outcome.failure
        alone = here(package, source)
        messages = sum(w.messages for w in waited.values())
        waits = ", ".join(
            f"{w.seconds:.2f} s for the {who} ({w.messages} messages)" for who, w in sorted(waited.items())
        )
        print(f"{name}: {requests} requests in {seconds:.2f} s; waited {waits}")
        print(
            f"    in one process without messages {alone:.2f} s, so messages take {1 - alone / seconds:.0%}, "
            f"{(seconds - alone) / messages * 1e6:.0f} us each"
        )


if __name__ == "__main__":
    main()
