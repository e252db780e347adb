"""System package `tenants`: how fast it is, and what its baselines reach.

    python -m benchmarks.tenants speed --suite tenants/large
    python -m benchmarks.tenants memory
    python -m benchmarks.tenants baselines --suite tenants/standard
    python -m benchmarks.tenants search --suite tenants/standard --verifications 200 --seeds 5 --json searches.json

``speed`` runs the default baseline on the first scenario of a suite with its model and its policy in two jailed
processes (strict isolation), and in one process without any. ``memory`` does the first at several lengths of
``tenants/large``, each in a fresh process, and prints what every process held at most, in MiB. ``baselines`` and
``search`` run them in this process (results do not depend on where a policy runs). ``baselines`` prints what each
objective counts; ``search`` lets the offline backend search (strategy evolve) and compares what it found with each
baseline. Searches that are in the JSON file already are not run again.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import offline
from benchmarks.system import here, jailed

from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.package_files import package_files
from quintain.plugins.simulator import Outcome, Part, RunOptions, Simulator, narrowed
from quintain.statistics import paired_bootstrap
from quintain_system.package_simulator import PackageSimulator
from quintain_system.plugin import simulator as system


def speed(simulator: Simulator, suite: str) -> None:
    assert isinstance(simulator, PackageSimulator)
    name = simulator.suite(suite).entries[0].scenario
    scenario, source = simulator.scenario(name), simulator.describe().baselines[0].source
    together, first = here(simulator, scenario, source)  # the first run makes the workload too
    together, seconds = here(simulator, scenario, source)
    metrics = together.metrics
    print(f"{name}: {metrics['requests']:.0f} requests, {metrics['policy_calls']:.0f} calls of the policy")
    print(f"one process without messages: {seconds:.1f} s of processor time, {first:.1f} s with its workload made")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"peak memory of this process, workload included: {peak} MiB", flush=True)
    apart = jailed(simulator, scenario, source)
    assert together == apart.outcome
    print(f"two jailed processes: {apart}", flush=True)


def memory() -> None:
    print("| requests | engine before the run | engine | model | policy |\n| --- | --- | --- | --- | --- |")
    for duration in (200.0, 1000.0, 2000.0):
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
            print(fresh.submit(memory_of, duration).result(), flush=True)


def memory_of(duration: float) -> str:
    """A row of the table, in MiB, for the first scenario of ``tenants/large`` over so many seconds."""
    files = package_files(resources.files("quintain_system") / "packages" / "tenants")
    large = files["suites/large.toml"]
    files["suites/large.toml"] = large.replace(b"duration = 2000.0", f"duration = {duration}".encode())
    tenants = system.from_files("tenants", files)
    assert isinstance(tenants, PackageSimulator)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    scenario, source = tenants.scenario("tenants/large/fifty_nodes"), tenants.describe().baselines[0].source
    apart = jailed(tenants, scenario, source)
    engine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    model, policy = (apart.usage[who].max_rss_bytes >> 20 for who in ("model", "policy"))
    return f"| {apart.outcome.metrics['requests']:.0f} | {before} | {engine} | {model} | {policy} |"


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


def search(simulator: Simulator, suite: str, verifications: int, seeds: int, file: Path) -> None:
    found: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    problem = offline.Problem("system", suite)
    for seed in map(str, range(seeds)):
        if seed not in found or len(found[seed]["best"]) < verifications:
            found[seed] = asdict(offline.search(problem, "evolve", int(seed), verifications, 0.0))
            file.write_text(json.dumps(found, indent=1))
    points = [p for p in (1, 10, 20, 40, 100, 200) if p <= verifications]
    print("| seed | " + " | ".join(f"train @{p}" for p in points) + " | held out | failed | seconds |")
    print("| --- " * (len(points) + 4) + "|")
    for seed, one in found.items():
        cells = [f"{one['best'][p - 1]:.3f}" for p in points]
        cells += [f"{one['held_out']:.3f}", str(one["failed_policies"]), f"{one['seconds']:.0f}"]
        print(f"| {seed} | {' | '.join(cells)} |")
    for part in Part:
        against_baselines(simulator, suite, part, [one["winner"] for one in found.values()])


def against_baselines(simulator: Simulator, suite: str, part: Part, winners: list[str]) -> None:
    """Normalised scores, floors on, by scenario; and the mean difference with its interval over scenarios and seeds."""
    judge = offline.judge_of(offline.Problem("system", suite), part)
    baselines = {b.name: judge.verify(b.source).score.values for b in simulator.describe().baselines}
    searched = [judge.verify(winner).score.values for winner in winners]
    print(f"\n| {part.value} | " + " | ".join(baselines) + " | searches: median | least | most |")
    print("| --- " * (len(baselines) + 4) + "|")
    for name in judge.scenarios:
        values = sorted(of[name] for of in searched)
        cells = [f"{of[name]:.3f}" for of in baselines.values()]
        cells += [f"{value:.3f}" for value in (statistics.median(values), values[0], values[-1])]
        print(f"| {name.rpartition('/')[2]} | " + " | ".join(cells) + " |")
    for baseline, values_of in baselines.items():
        by_seed = [statistics.fmean(of[name] - values_of[name] for name in judge.scenarios) for of in searched]
        by_scenario = [statistics.median(of[name] for of in searched) - values_of[name] for name in judge.scenarios]
        lost = [name.rpartition("/")[2] for name, by in zip(judge.scenarios, by_scenario, strict=True) if by < 0]
        print(
            f"searches - {baseline}: over seeds {paired_bootstrap(by_seed, seed=0)}, over scenarios"
            f" {paired_bootstrap(by_scenario, seed=0)}; the baseline is better in: {', '.join(lost) or 'none'}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory", "baselines", "search"])
    parser.add_argument("--suite", default="tenants/large")
    parser.add_argument("--verifications", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("searches.json"))
    args = parser.parse_args()
    if args.what == "memory":
        memory()
        return
    simulator = narrowed(SIMULATORS.load("system"), args.suite)
    if args.what == "search":
        search(simulator, args.suite, args.verifications, args.seeds, args.json)
    else:
        {"speed": speed, "baselines": baselines}[args.what](simulator, args.suite)


if __name__ == "__main__":
    main()
