"""System package `tenants`: how fast it is, and what its baselines reach.

    python -m benchmarks.tenants speed --suite tenants/large
    python -m benchmarks.tenants baselines --suite tenants/standard

``speed`` runs the default baseline on the first scenario of a suite through a verifier with its model and its policy in
two jailed processes (strict isolation), and in one process without any. ``baselines`` runs them in this process
(results do not depend on where a policy runs) and prints what each objective counts. Searches by the offline backend:

    python -m benchmarks.offline --simulator system --suite tenants/standard --methods evolve --best-known 0
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

from tests.support.verifier import request, running_verifier

from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import Outcome, Part, RunOptions, Simulator, narrowed
from quintain.verifier.v1 import verifier_pb2 as pb


def speed(simulator: Simulator, suite: str) -> None:
    scenario = simulator.suite(suite).entries[0].scenario
    source = simulator.describe().baselines[0].source
    began, cpu = time.perf_counter(), time.process_time()
    outcome = simulate(simulator, simulator.scenario(scenario), in_process(simulator, source), RunOptions())
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    requests = outcome.metrics["requests"]
    print(f"{scenario}: {requests:.0f} requests, {outcome.metrics['policy_calls']:.0f} calls of the policy")
    print(f"one process: {took:.1f} s ({cpu:.1f} s of CPU), peak {peak:.0f} MiB")
    config = 'workers = 1\nsimulators = ["system"]\n'
    with (
        tempfile.TemporaryDirectory() as folder,
        running_verifier(Path(folder), config) as running,
        running.client() as client,
    ):
        for number in range(2):  # the first one also makes the workload and runs the baseline
            began = time.perf_counter()
            asked = request(f"{source}\n# {number}\n", simulator="system", scenarios=[scenario], objective="on_time")
            verdict = client.verify(asked, timeout=600).verdict
            took = time.perf_counter() - began
            assert verdict.status == pb.VERDICT_STATUS_OK, verdict.failure
            print(f"two jailed processes, verification {number + 1}: {took:.1f} s")


def baselines(simulator: Simulator, suite: str) -> None:
    description = simulator.describe()
    entries = simulator.suite(suite).entries
    runs: dict[tuple[str, str], Outcome] = {}
    for baseline in description.baselines:
        for entry in entries:
            scenario = simulator.scenario(entry.scenario)
            run = simulate(simulator, scenario, in_process(simulator, baseline.source), RunOptions())
            assert run.failure is None, (baseline.name, entry.scenario, run.failure)
            runs[baseline.name, entry.scenario] = run
    for objective in description.objectives:
        print(
            f"\n| {objective.name} ({objective.metric}) | " + " | ".join(b.name for b in description.baselines) + " |"
        )
        print("| --- " * (len(description.baselines) + 1) + "|")
        for entry in entries:
            cells = [f"{runs[b.name, entry.scenario].metrics[objective.metric]:.3f}" for b in description.baselines]
            print(f"| {entry.part.value}: {entry.scenario.rpartition('/')[2]} | " + " | ".join(cells) + " |")
        for part in Part:
            cells = []
            for baseline in description.baselines:
                normalized = [
                    simulator.score(
                        objective.name,
                        simulator.scenario(entry.scenario),
                        runs[baseline.name, entry.scenario],
                        runs[description.baselines[0].name, entry.scenario],
                    ).normalized
                    for entry in entries
                    if entry.part is part
                ]
                cells.append(f"{statistics.fmean(normalized):.3f}")
            print(f"| normalised, floors on: {part.value} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "baselines"])
    parser.add_argument("--suite", required=True)
    args = parser.parse_args()
    simulator = narrowed(SIMULATORS.load("system"), args.suite)
    {"speed": speed, "baselines": baselines}[args.what](simulator, args.suite)


if __name__ == "__main__":
    main()
