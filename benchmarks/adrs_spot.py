"""The public table's "can't be late" task, on its own 1,080 runs: ``python -m benchmarks.adrs_spot --data DIR``.

DIR holds the recorded series (docs/spot-deadline.md says what that is). Compared with what the public evaluator gave,
run by run: cost, ticks and finish of six strategies, and the optimum. Then the table: what others published, as re-run
in that evaluator, the optimum, and ours, jailed, every run in a process of its own, on two workers.

    python -m benchmarks.offline --simulator spot_deadline --suite spot --evaluations 200 --seeds 5 --methods evolve \
        --best-known 0 --jobs 2 --json spot.json
    python -m benchmarks.adrs_spot --data DIR --searches spot.json

runs the searches and shows their winners, which have never seen a run of the table. The last line is
``score X, late N, optimum Y``; exit code 1 where a recorded run differs, a run of ours is late, or X is at or below the
best published score.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from quintain.plugins.inprocess import InProcessPolicy, in_process
from quintain.plugins.simulator import JsonValue, Outcome, Part, RunOptions, Simulator
from quintain_spot_deadline import guest, settings
from quintain_spot_deadline.conversation import EACH_TICK, Conversation
from quintain_spot_deadline.engine import Run, Window, run_window
from quintain_spot_deadline.job import DEADLINES, job
from quintain_spot_deadline.objective import saved
from quintain_spot_deadline.optima import optimal_cost
from quintain_spot_deadline.optimum import cost_without_overhead, optimum
from quintain_spot_deadline.recorded import PublishedRun, load
from quintain_spot_deadline.scenario import spec_of

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests/golden/adrs_spot"
BASELINES = Path(guest.__file__).parent / "baselines"
OURS = ROOT / "examples/policies/spot_deadline_found.py"
STRATEGIES = {
    "on_demand_only": BASELINES / "on_demand.py",
    "spot_then_on_demand": BASELINES / "greedy.py",
    "uniform_progress": BASELINES / "uniform_progress.py",
    "careless": ROOT / "tests/golden/policies/adrs_spot/careless.py",
    "jumper": ROOT / "tests/golden/policies/adrs_spot/jumper.py",
}
WITH_LONG_OVERHEADS = ("uniform_progress", "careless", "jumper")
BOUNDS = ("optimum", "optimum_never_late", "optimum_never_late_unforced", "no_overhead")
TOLERANCE = 1e-6  # dollars: the recorded costs have six decimals
# Published by others and re-run in the public evaluator: mean cost, late runs.
PUBLISHED = {
    "baseline (greedy)": (119.0345, 0),
    "OpenEvolve": (104.2989, 0),
    "ShinkaEvolve": (101.1843, 0),
    "GEPA": (95.3535, 66),
    "LEVI": (95.0704, 64),
}
WORKERS = 2


# ------------------------------------------------------------------------------------------------------------ recorded


@dataclass
class Comparison:
    """Runs against what the public evaluator recorded of them."""

    runs: int = 0
    differing: int = 0
    largest: float = 0.0  # dollars

    def add(self, expected: Mapping[str, str], strategy: str, window: Window, run: Run) -> None:
        self.runs += 1
        if expected[f"{strategy}_cost"] == "failed":
            self.differing += run.finish_tick is not None
            return
        difference = abs(run.cost(window.job) - float(expected[f"{strategy}_cost"]))
        self.largest = max(self.largest, difference)
        found = (run.spot_ticks, run.on_demand_ticks, run.finish_tick)
        names = ("spot_ticks", "on_demand_ticks", "finish_tick")
        same = found == tuple(int(expected[f"{strategy}_{name}"]) for name in names)
        self.differing += not same or difference > TOLERANCE


def table(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(GOLDEN / f"{name}.csv.gz", "rt") as file:
        yield from csv.DictReader(file)


def simulate(window: Window, strategy: str) -> Run:
    run = Run()
    setup: JsonValue = {"job": list(window.job), "calling_mode": EACH_TICK}
    policy = InProcessPolicy(guest.load, STRATEGIES[strategy].read_text(), setup)
    run_window(window, Conversation(policy, EACH_TICK).decide, run)
    return run


def compare_runs(runs: tuple[PublishedRun, ...]) -> Comparison:
    found = Comparison()
    for published, expected in zip(runs, table("expected"), strict=True):
        for strategy in STRATEGIES:
            found.add(expected, strategy, published.window, simulate(published.window, strategy))
        unforced = Window(published.window.job, published.window.available, forced=False)
        found.add(expected, "careless_unforced", unforced, simulate(unforced, "careless"))
    for expected in table("extra"):
        window = runs[int(expected["run"])].window
        window = Window(window.job._replace(overhead=int(expected["overhead_s"])), window.available)
        for strategy in WITH_LONG_OVERHEADS:
            found.add(expected, strategy, window, simulate(window, strategy))
    return found


def bounds_of(window: Window) -> dict[str, float]:
    unforced = Window(window.job, window.available, forced=False)
    return {
        "optimum": optimum(window, in_time=False).cost,
        "optimum_never_late": optimum(window, in_time=True).cost,
        "optimum_never_late_unforced": optimum(unforced, in_time=True).cost,
        "no_overhead": cost_without_overhead(window),
    }


def compare_bounds(runs: tuple[PublishedRun, ...]) -> tuple[float, dict[str, list[float]]]:
    """-> (the largest difference in dollars, the costs by bound)."""
    with ProcessPoolExecutor(WORKERS) as pool:
        computed = list(pool.map(bounds_of, [published.window for published in runs], chunksize=20))
    largest = max(
        abs(own[bound] - float(expected[bound]))
        for own, expected in zip(computed, table("bounds"), strict=True)
        for bound in BOUNDS
    )
    return largest, {bound: [own[bound] for own in computed] for bound in BOUNDS}


# ---------------------------------------------------------------------------------------------------------------- ours


@dataclass(frozen=True)
class Result:
    """Mean cost in dollars; `score` as on the public table."""

    score: float
    mean_cost: float
    late: int
    runs: int


def simulator() -> Simulator:
    from quintain_spot_deadline.plugin import simulator

    return simulator


def jailed(work: tuple[str, list[str]]) -> tuple[list[Outcome], float]:
    """One worker's share, every window in a fresh jailed process: -> (outcomes, CPU seconds of all processes)."""
    from quintain_verifier.sandbox.fresh import FreshPolicies
    from quintain_verifier.sandbox.jail import Jail
    from quintain_verifier.sandbox.limits import Limits

    source, names = work
    found, module = [], simulator().guest_module
    with Jail([module], isolation="required") as jail:
        for name in names:
            scenario = simulator().scenario(name)
            with FreshPolicies(lambda limits: jail.open(source, guest_module=module, limits=limits), Limits()) as fresh:
                found.append(simulator().run(scenario, fresh.open, RunOptions()))
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return found, sum(usage.ru_utime + usage.ru_stime for usage in used)


def scenario_names(suite: str, part: Part) -> list[str]:
    return [entry.scenario for entry in simulator().suite(suite).entries if entry.part is part]


def verify(source: str, suite: str, part: Part) -> tuple[Result, float, float]:
    """-> (what came of it, seconds from the first fork server to the last outcome, CPU seconds)."""
    names = scenario_names(suite, part)
    with ProcessPoolExecutor(WORKERS) as pool:
        started = time.perf_counter()
        shares = list(pool.map(jailed, [(source, names[worker::WORKERS]) for worker in range(WORKERS)]))
        seconds = time.perf_counter() - started
    return result_of([outcome for share, _ in shares for outcome in share]), seconds, sum(cpu for _, cpu in shares)


def result_of(outcomes: list[Outcome]) -> Result:
    for outcome in outcomes:
        if outcome.failure is not None:
            sys.exit(f"the policy failed on {outcome.scenario}: {outcome.failure}")
    runs = sum(int(outcome.metrics["runs"]) for outcome in outcomes)
    cost = sum(outcome.metrics["mean_cost"] * outcome.metrics["runs"] for outcome in outcomes) / runs
    late = sum(int(outcome.metrics["late_runs"]) for outcome in outcomes)
    return Result(published_score(cost), cost, late, runs)


def in_this_process(source: str, suite: str, part: Part) -> Result:
    """As `verify`, without the jail: for the baselines and the winners of searches, which are trusted."""
    opened = in_process(simulator(), source)
    return result_of(
        [simulator().run(simulator().scenario(name), opened, RunOptions()) for name in scenario_names(suite, part)]
    )


def published_score(mean_cost: float) -> float:
    """As on the public table: over the mean cost of all runs, clipped to 0..100."""
    return min(100.0, max(0.0, saved(job(overhead=0, deadline=DEADLINES[0]), mean_cost)))


def show(name: str, result: Result, best: float, held_out: Result | None = None) -> None:
    generated = f"{held_out.score / best_held_out():.1%}, late {held_out.late}" if held_out else ""
    print(
        f"| {name} | {result.score:.2f} | {result.score / best:.1%} | {result.mean_cost:.4f} | {result.late} |"
        f" {generated} |"
    )


def show_table(runs: tuple[PublishedRun, ...], costs: Mapping[str, list[float]], searches: Path | None) -> Result:
    """Prints the table and what it took; -> our result."""
    best = published_score(fmean(costs["optimum"]))
    print("\n| policy | score | of the optimum | mean cost | late of 1,080 | of the optimum on spot, held out |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (cost, late) in PUBLISHED.items():
        show(f"{name}, published", Result(published_score(cost), cost, late, len(runs)), best)
    for name in ("on_demand", "greedy", "uniform_progress"):
        source = (BASELINES / f"{name}.py").read_text()
        held_out = in_this_process(source, "spot", Part.HELD_OUT)
        show(name, in_this_process(source, "adrs-single", Part.TRAIN), best, held_out)
    for number, search in enumerate(json.loads(searches.read_text()) if searches else ()):
        held_out = in_this_process(search["winner"], "spot", Part.HELD_OUT)
        result = in_this_process(search["winner"], "adrs-single", Part.TRAIN)
        show(f"found by search {number}, seed {search['seed']}", result, best, held_out)
    source = OURS.read_text()
    ours, seconds, cpu_seconds = verify(source, "adrs-single", Part.TRAIN)
    show(f"ours ({OURS.relative_to(ROOT)})", ours, best, in_this_process(source, "spot", Part.HELD_OUT))
    for bound in ("optimum_never_late", "no_overhead"):
        show(bound, Result(published_score(fmean(costs[bound])), fmean(costs[bound]), 0, len(runs)), best)
    print(
        f"\n{ours.runs} runs, each in a jailed process of its own, on {WORKERS} workers: {seconds:.1f} s, with"
        f" {cpu_seconds:.1f} s of CPU in all processes"
    )
    return ours


def best_held_out() -> float:
    """The optimum's score on the held-out part of spot."""
    scenarios = [simulator().scenario(name) for name in scenario_names("spot", Part.HELD_OUT)]
    windows = [labelled.window for scenario in scenarios for labelled in spec_of(scenario).windows]
    return published_score(fmean(optimal_cost(window, in_time=True) for window in windows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the recorded series")
    parser.add_argument("--searches", type=Path, help="what benchmarks.offline wrote: show its winners too")
    args = parser.parse_args()
    os.environ[settings.VARIABLE] = str(args.data.resolve())  # for this process and its workers
    runs = load(args.data).runs
    compared = compare_runs(runs)
    print(
        f"recorded: {compared.runs} runs compared, {compared.differing} differ; largest difference"
        f" {compared.largest:.1e} USD"
    )
    largest, costs = compare_bounds(runs)
    print(f"optimum: {len(runs)} runs, {len(BOUNDS)} bounds each; largest difference {largest:.1e} USD")
    ours = show_table(runs, costs, args.searches)
    best = published_score(fmean(costs["optimum"]))
    print(f"score {ours.score:.2f}, late {ours.late}, optimum {best:.2f}")
    beaten = ours.score > max(published_score(cost) for cost, _ in PUBLISHED.values())
    sys.exit(bool(compared.differing or largest > TOLERANCE or ours.late or not beaten))


if __name__ == "__main__":
    main()
