"""How many verifications does the offline backend need? Against random sampling of the same grammar, in the same run.

    python benchmarks/offline.py --suite paper-reference --evaluations 300 --seeds 5 --jobs 2 --json offline.json

Each search is a (mu + lambda) loop over `propose`: a parent from the best few, the rest as inspirations, the train
scenarios of the suite as the judge (floors on, policies in this process). A search ends early when it has reached 99 %
of the best known. The winner is then run on the held-out scenarios.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path

from quintain.plugins.backend import Example, Operator
from quintain.plugins.grammar import Grammar
from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import Aggregation, Outcome, Part, RunOptions, ScenarioScore, Simulator
from quintain_generator.backends.offline.propose import propose
from quintain_generator.backends.offline.render import render
from quintain_generator.backends.offline.variation import random_genome

POPULATION = 8
INSPIRATIONS = 4
CROSSOVER_RATE = 0.2
TARGETS = (0.90, 0.99)  # of the best known
CHECKPOINTS = (10, 30, 100, 300)


@dataclass(frozen=True, slots=True)
class Score:
    score: float  # the suite's, in its unit
    normalized: float  # mean over scenarios
    failed: int  # scenarios on which the policy failed
    values: dict[str, float]  # normalised, by scenario


@dataclass(frozen=True, slots=True)
class Search:
    method: str
    seed: int
    best: list[float]  # after each verification
    needed: dict[str, int | None]  # target -> verifications
    held_out: float  # score of the winner
    failed_policies: int
    seconds: float
    winner: str


@functools.cache
def simulator(name: str) -> Simulator:
    (entry,) = entry_points(group="quintain.simulators", name=name)
    loaded = entry.load()
    assert isinstance(loaded, Simulator)
    return loaded


@functools.cache
def baseline_outcome(name: str, scenario: str) -> Outcome:
    sim = simulator(name)
    source = sim.describe().baselines[0].source
    return sim.run(sim.scenario(scenario), in_process(sim, source), RunOptions())


def verify(name: str, suite_name: str, part: Part, source: str, needed: float = 0.0) -> Score:
    """A median that is certain to be below `needed` is not worked out to the end: the search would drop it anyway."""
    sim = simulator(name)
    suite = sim.suite(suite_name)
    by_median = suite.aggregation is Aggregation.MEDIAN_VALUE
    scenarios = [sim.scenario(entry.scenario) for entry in suite.entries if entry.part is part]
    scores: list[ScenarioScore] = []
    failed = 0
    for scenario in scenarios:
        outcome = sim.run(scenario, in_process(sim, source), RunOptions())
        failed += outcome.failure is not None
        scores.append(sim.score(suite.objective, scenario, outcome, baseline_outcome(name, scenario.name)))
        if by_median and sum(s.value < needed for s in scores) > len(scenarios) / 2:
            break
    normalized = statistics.fmean(s.normalized for s in scores)
    values = {scenario.name: s.normalized for scenario, s in zip(scenarios, scores, strict=False)}
    if by_median:
        return Score(statistics.median(s.value for s in scores), normalized, failed, values)
    return Score(normalized, normalized, failed, values)


def next_policy(grammar: Grammar, population: list[Example], number: int, rng: random.Random) -> str:
    ranked = sorted(population, key=lambda e: (-(e.normalized or 0.0), -int(e.candidate_id)))
    parents = [rng.choice(ranked[: POPULATION // 2])] if ranked else []
    others = [e for e in ranked if e not in parents]
    operator = Operator.FULL
    if others and rng.random() < CROSSOVER_RATE:
        operator = Operator.CROSSOVER
        parents.append(rng.choice(others))
    inspirations = rng.sample(others, min(INSPIRATIONS, len(others)))
    return propose(grammar, parents, inspirations, operator, rng.getrandbits(64), attempts=number).source


def survivors(population: list[Example]) -> list[Example]:
    """The best few, newest first where equal, and no more than two that did exactly the same."""
    kept: list[Example] = []
    for one in sorted(population, key=lambda e: (-(e.score or 0.0), -int(e.candidate_id))):
        if sum(one.scenario_values == other.scenario_values for other in kept) < 2:
            kept.append(one)
    return kept[:POPULATION]


def search(name: str, suite: str, method: str, seed: int, evaluations: int, best_known: float) -> Search:
    started = time.monotonic()
    rng = random.Random(f"{method}:{seed}")
    grammar = Grammar.from_json(simulator(name).describe().grammar)
    population: list[Example] = []
    best: list[float] = []
    winner, failed_policies = "", 0
    for number in range(evaluations):
        if method == "random":
            source = render(grammar, random_genome(grammar, rng))
        else:
            source = next_policy(grammar, population, number, rng)
        full = len(population) == POPULATION
        needed = (best[-1] if method == "random" else population[-1].score or 0.0) if full else 0.0
        score = verify(name, suite, Part.TRAIN, source, needed)
        failed_policies += score.failed > 0
        if not best or score.score > best[-1]:
            winner = source
        best.append(max([score.score, *best[-1:]]))
        if score.score < needed:
            continue
        example = Example(str(number), source, score.score, score.normalized, scenario_values=score.values)
        population = survivors([*population, example])
        print(f"{method} seed {seed}: {best[-1]:.4f} after {number + 1}", file=sys.stderr, flush=True)
        if best_known and best[-1] >= max(TARGETS) * best_known:
            break
    held_out = verify(name, suite, Part.HELD_OUT, winner).score
    reached = {f"{t:.0%}": next((i for i, b in enumerate(best, 1) if b >= t * best_known), None) for t in TARGETS}
    return Search(method, seed, best, reached, held_out, failed_policies, time.monotonic() - started, winner)


def table(searches: list[Search], methods: list[str]) -> str:
    points = [p for p in CHECKPOINTS if any(len(s.best) >= p for s in searches)] or [1]
    head = [*(f"best @{p}" for p in points), *(f"to {t:.0%}" for t in TARGETS), "held-out", "failed"]
    lines = ["| median of seeds | " + " | ".join(head) + " |", "| --- " * (len(head) + 1) + "|"]
    for method in methods:
        runs = [s for s in searches if s.method == method]
        cells = [f"{statistics.median(s.best[min(p, len(s.best)) - 1] for s in runs):.4f}" for p in points]
        for target in TARGETS:
            needed = sorted(s.needed[f"{target:.0%}"] or 10**9 for s in runs)
            middle = needed[len(needed) // 2]
            reached = sum(n < 10**9 for n in needed)
            cells.append(f"{middle if middle < 10**9 else 'not reached'} ({reached}/{len(runs)})")
        cells.append(f"{statistics.median(s.held_out for s in runs):.4f}")
        cells.append(str(sum(s.failed_policies for s in runs)))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulator", default="faas")
    parser.add_argument("--suite", default="paper-reference")
    parser.add_argument("--evaluations", type=int, default=300, help="most verifications of one search")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=["evolve", "random"], choices=["evolve", "random"])
    parser.add_argument("--best-known", type=float, default=2.37, help="what the targets refer to (0: none)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything there, winners included")
    args = parser.parse_args()
    wanted = [(method, seed) for method in args.methods for seed in range(args.seeds)]
    with ProcessPoolExecutor(args.jobs) as pool:
        running = [
            pool.submit(search, args.simulator, args.suite, method, seed, args.evaluations, args.best_known)
            for method, seed in wanted
        ]
        searches = [done.result() for done in running]
    print(f"{args.simulator} / {args.suite}, best known {args.best_known}, {args.seeds} seeds")
    print(table(searches, args.methods))
    if args.json:
        args.json.write_text(json.dumps([asdict(s) for s in searches], indent=1))


if __name__ == "__main__":
    main()
