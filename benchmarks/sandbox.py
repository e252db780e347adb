"""What the jail costs: ``python -m benchmarks.sandbox [--json]``.

Compares a jailed run with a plain child process over the same pipe and protocol (isolation ``insecure_dev``), taking
turns in one process, so that a busy machine slows both. Answers are timed around `Policy.ask`; the reference suite is
the built-in simulator's with its baselines, whole runs from fork to reap, and the median of the runs' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from operator import truediv

from benchmarks.fleet import cpu_seconds

from quintain.plugins.doors import SIMULATORS
from quintain.plugins.simulator import RunOptions, Scenario
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import Limits

# a guest as source, so that nothing but this file is needed
GUEST = """
class Session:
    info = None

def load(source, setup, query):
    namespace = {}
    exec(compile(source, "policy.py", "exec"), namespace)
    session = Session()
    session.answer = namespace["act"]
    return session
"""
POLICY = "def act(message):\n    return [[pool, 1.5] for pool in message]"
MESSAGE = list(range(8))
LIMITS = Limits(cpu_seconds=60)
SIMULATOR, SUITE = "faas", "paper-reference"
TURNS = 20


def seconds_to_answer(jail: Jail) -> float:
    """Fork, lock down, load, one answer, reap."""
    started = time.perf_counter()
    with jail.open(POLICY, guest_source=GUEST, limits=LIMITS) as run:
        run.open_policy(None).ask(MESSAGE)
    return time.perf_counter() - started


def seconds_per_round_trip(jail: Jail, messages: int) -> float:
    with jail.open(POLICY, guest_source=GUEST, limits=LIMITS) as run:
        policy = run.open_policy(None)
        policy.ask(MESSAGE)
        started = time.perf_counter()
        for _ in range(messages):
            policy.ask(MESSAGE)
        return (time.perf_counter() - started) / messages


def reference_ratios() -> list[float]:
    """Jailed over plain seconds for every scenario of the reference suite under every baseline."""
    simulator = SIMULATORS.load(SIMULATOR)
    scenarios = [simulator.scenario(entry.scenario) for entry in simulator.suite(SUITE).entries]
    guests = [simulator.guest_module]

    def seconds(jail: Jail, scenario: Scenario, source: str) -> float:
        started = time.perf_counter()
        with jail.open(source, guest_module=simulator.guest_module) as run:
            outcome = simulator.run(scenario, run.open_policy, RunOptions())
        assert outcome.failure is None, outcome.failure
        return time.perf_counter() - started

    ratios = []
    with Jail(guests, isolation="required") as jail, Jail(guests, isolation="insecure_dev") as plain:
        for number, (scenario, baseline) in enumerate(product(scenarios, simulator.describe().baselines)):
            order = (jail, plain) if number % 2 else (plain, jail)
            took = {one: seconds(one, scenario, baseline.source) for one in order}
            ratios.append(took[jail] / took[plain])
    return ratios


def runs_per_second(fork_servers: int, threads: int, runs: int) -> tuple[float, float]:
    """Runs a second on the wall clock, and runs a second of CPU time (this process, fork servers and policies): as many
    times the machine's cores as the first could be on an idle one."""
    with (
        Jail([], isolation="required", fork_servers=fork_servers) as jail,
        ThreadPoolExecutor(threads) as pool,
    ):
        list(pool.map(seconds_to_answer, [jail] * threads))
        started, cpu = time.perf_counter(), cpu_seconds(os.getpid())
        list(pool.map(seconds_to_answer, [jail] * runs))
        return runs / (time.perf_counter() - started), runs / (cpu_seconds(os.getpid()) - cpu)


def measure(runs: int, messages: int) -> dict[str, float]:
    with Jail([], isolation="required") as jail, Jail([], isolation="insecure_dev") as plain:
        starts: dict[Jail, list[float]] = {jail: [], plain: []}
        trips: dict[Jail, list[float]] = {jail: [], plain: []}
        for _ in range(TURNS):
            for one in (jail, plain):
                starts[one] += [seconds_to_answer(one) for _ in range(runs // TURNS)]
                trips[one].append(seconds_per_round_trip(one, messages // TURNS))
    one_server, two_servers = runs_per_second(1, 4, runs), runs_per_second(2, 4, runs)
    return {
        "jailed run, median (ms)": statistics.median(starts[jail]) * 1e3,
        "jailed run, p99 (ms)": statistics.quantiles(starts[jail], n=100)[98] * 1e3,
        "plain run, median (ms)": statistics.median(starts[plain]) * 1e3,
        "jailed round trip (us)": statistics.median(trips[jail]) * 1e6,
        "plain round trip (us)": statistics.median(trips[plain]) * 1e6,
        "round trip, jailed / plain": statistics.median(map(truediv, trips[jail], trips[plain])),
        "reference suite, jailed / plain": statistics.median(reference_ratios()),
        "runs/s, 1 fork server": one_server[0],
        "runs/s, 2 fork servers": two_servers[0],
        "runs a CPU second, 1 fork server": one_server[1],
        "runs a CPU second, 2 fork servers": two_servers[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--messages", type=int, default=100_000)
    options = parser.parse_args()
    figures = {name: round(value, 2) for name, value in measure(options.runs, options.messages).items()}
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:34} {value:10.2f}")


if __name__ == "__main__":
    main()
