"""What a simulator in another process costs: ``python -m benchmarks.remote [--runs N]``.

Installed simulators run their default baseline on their cheapest scenario, in this process and over gRPC by turns.
The load balancer in TypeScript, where Node is, runs with one message for each window and with one for each request, by
turns: its decisions are the same, so the ratio is what batching saves. All policies run here, without a sandbox.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest
from tests.support.node import load_balancer
from tests.support.processes import until

from quintain.clients.simulator import RemoteSimulator
from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import JsonValue, OpenPolicy, Policy, RunOptions, Scenario, Simulator

BALANCER_SCENARIO = "steady_1"


@contextmanager
def served(name: str, folder: Path) -> Iterator[str]:
    file = folder / f"{name}.json"
    command = [sys.executable, "-m", "quintain.service.simulator_main", "--name", name]
    command += ["--listen", "127.0.0.1:0", "--address-file", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: file.exists() or process.poll() is not None)
        yield json.loads(file.read_text())["address"]
    finally:
        process.terminate()
        process.wait()


class Counting:
    """A policy that counts the messages to it."""

    def __init__(self, policy: Policy) -> None:
        self.info, self._policy, self.messages = policy.info, policy, 1

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        self.messages += 1
        return self._policy.ask(message, on_query)


def run(simulator: Simulator, scenario: Scenario, mode: str = "") -> tuple[float, int, str]:
    """Seconds, messages, and what was decided."""
    opened: list[Counting] = []
    load: OpenPolicy = in_process(simulator, simulator.describe().baselines[0].source)

    def open_policy(setup: JsonValue) -> Policy:
        opened.append(Counting(load(setup)))
        return opened[-1]

    began = time.perf_counter()
    outcome = simulator.run(scenario, open_policy, RunOptions(calling_mode=mode))
    seconds = time.perf_counter() - began
    assert outcome.failure is None, outcome.failure
    return seconds, opened[0].messages, outcome.decisions_digest


def compare(
    label: str, runs: int, one: Callable[[], tuple[float, int, str]], other: Callable[[], tuple[float, int, str]]
) -> None:
    """`one` and `other` by turns, after a turn that is not counted."""
    pairs = [(one(), other()) for _ in range(runs + 1)][1:]
    assert len({digest for pair in pairs for _, _, digest in pair}) == 1, "they decide differently"
    (_, messages, _), (_, other_messages, _) = pairs[0]
    seconds, others = median(a[0] for a, _ in pairs), median(b[0] for _, b in pairs)
    ratio = median(b[0] / a[0] for a, b in pairs)
    more_messages = other_messages - messages or other_messages  # equally many: all of them went over the wire
    extra = (others - seconds) / more_messages * 1e6
    print(f"{label:34} {messages:8} {seconds:8.3f} {other_messages:8} {others:8.3f} {ratio:7.1f} {extra:8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="turns; medians are shown")
    parser.add_argument(
        "--simulators", nargs="*", default=["faas"], help="installed ones that need no jail of their own"
    )
    options = parser.parse_args()
    runs: int = options.runs
    print(f"{'':34} {'messages':>8} {'s':>8} {'messages':>8} {'s':>8} {'ratio':>7} {'us more':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for simulator in options.simulators:
            here = SIMULATORS.load(simulator)
            entries = here.suite(here.describe().suites[0]).entries
            scenario = min((here.scenario(e.scenario) for e in entries), key=lambda s: (s.cost, s.name))
            with served(simulator, folder) as address:
                there = RemoteSimulator(address)
                far = there.scenario(scenario.name)
                label = f"{simulator} {scenario.name}: here, gRPC"
                compare(label, runs, lambda: run(here, scenario), lambda: run(there, far))  # noqa: B023
                there.close()
        try:
            compare_batching(folder, runs)
        except pytest.skip.Exception as reason:
            print(f"load balancer: skipped, {reason}")


def compare_batching(folder: Path, runs: int) -> None:
    with load_balancer(folder) as (address, _):
        balancer = RemoteSimulator(address)
        steady = balancer.scenario(BALANCER_SCENARIO)
        by_window, by_request = (lambda mode=mode: run(balancer, steady, mode) for mode in ("windows", "each_request"))
        compare("load balancer: a window, a request", runs, by_window, by_request)
        balancer.close()


if __name__ == "__main__":
    main()
