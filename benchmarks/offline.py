"""How many verifications does the offline backend need? Against random sampling of the same grammar, in the same run.

    python benchmarks/offline.py --suite paper-reference --evaluations 300 --seeds 5 --jobs 2 --json offline.json

A search is what a user gets: the controller's own planner and strategy, from the default baseline, and the offline
backend's proposals. Only the services between them are left out, and policies run in this process. The judge is the
suite's train part with floors on. A search ends early when it has reached 99 % of the best known. Its winner is then
run on the held-out scenarios.

    python benchmarks/offline.py --suite standard --evaluations 200 --best-known 0 --methods chain best-of-n evolve tree

compares strategies at equal budgets, with the intervals of ``quintain ablate``. ``--from-scratch`` withholds the
grammar's hand-written policies: the search starts from the genes' defaults. ``--suite FOLDER`` takes a suite of your
own (`benchmarks/probes.py` writes one). ``--leave-out T3`` searches on the train scenarios whose names do not begin so,
and runs the winner on those that do, instead of on the held-out part.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from quintain.clients.suite_files import read_suite
from quintain.plugins.backend import Attempt, Example, Operator
from quintain.plugins.doors import SIMULATORS, STRATEGIES
from quintain.plugins.grammar import Grammar
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import Description, Direction, Outcome, Part, RunOptions, Simulator, Suite, narrowed
from quintain.plugins.strategy import RULES
from quintain.statistics import paired_bootstrap
from quintain_cli.commands.ablate import ArmOutcome as Arrived
from quintain_cli.commands.ablate import contrast
from quintain_controller.domain import model
from quintain_controller.domain.planner import Asked, Done, Planner, Told
from quintain_controller.usecases.strategies import make_planner, parse_options, window
from quintain_generator.backends.offline.propose import propose
from quintain_generator.backends.offline.render import render
from quintain_generator.backends.offline.variation import random_genome
from quintain_generator.domain.gate import ast_digest
from quintain_verifier.domain.verdict import aggregate_scores

RANDOM = "random"
TARGETS = (0.90, 0.99)  # of the best known
CHECKPOINTS = (10, 30, 100, 200, 300)


@dataclass(frozen=True, slots=True)
class Verdict:
    score: model.PartScore
    metrics: Mapping[str, float]  # means over the scenarios
    behavior: str
    failed: bool


class Judge:
    """Some scenarios of a suite, floors on. What was verified once is not run again. `description`: what a search is
    told of the system, if not by its simulator."""

    def __init__(
        self, simulator: Simulator, suite: str, scenarios: tuple[str, ...], description: Description | None = None
    ) -> None:
        self.simulator, self.suite, self.scenarios = simulator, simulator.suite(suite), scenarios
        self.description = description or simulator.describe()
        baseline = self.description.baselines[0].source
        self._of_baseline = {name: self._run(name, baseline) for name in self.scenarios}
        self._known: dict[str, Verdict] = {}

    def verify(self, source: str) -> Verdict:
        if source not in self._known:
            self._known[source] = self._verdict({name: self._run(name, source) for name in self.scenarios})
        return self._known[source]

    def _run(self, name: str, source: str) -> Outcome:
        scenario = self.simulator.scenario(name)
        options = RunOptions(policy_digest=hashlib.sha256(source.encode()).hexdigest())
        return simulate(self.simulator, scenario, in_process(self.simulator, source), options)

    def _verdict(self, outcomes: Mapping[str, Outcome]) -> Verdict:
        simulator, objective = self.simulator, self.suite.objective
        scores = {
            name: simulator.score(objective, simulator.scenario(name), outcome, self._of_baseline[name])
            for name, outcome in outcomes.items()
        }
        (direction,) = (o.direction for o in simulator.describe().objectives if o.name == objective)
        score, normalized = aggregate_scores(self.suite.aggregation, direction, list(scores.values()))
        metrics: dict[str, list[float]] = {}
        for outcome in outcomes.values():
            for name, value in outcome.metrics.items():
                metrics.setdefault(name, []).append(value)
        return Verdict(
            model.PartScore(score, 0.0, None, normalized, {name: s.normalized for name, s in scores.items()}),
            {name: statistics.fmean(values) for name, values in metrics.items()},
            hashlib.sha256("".join(o.decisions_digest for o in outcomes.values()).encode()).hexdigest(),
            any(outcome.failure is not None for outcome in outcomes.values()),
        )


def planner(judge: Judge, strategy: str, seed: int, evaluations: int) -> Planner:
    """As the controller makes it for ``quintain search`` with the offline backend."""
    description = judge.description
    objective = next(o for o in description.objectives if o.name == judge.suite.objective)
    maximize = objective.direction is Direction.MAXIMIZE
    backend = model.BackendProfile("offline", tuple(operator.value for operator in Operator), True, 0)
    context = model.SearchContext(
        simulator=b"",
        objective=b"",
        simulator_build=description.build,
        suite_description=judge.suite.description,
        direction=model.Direction.MAXIMIZE if maximize else model.Direction.MINIMIZE,
        aggregation=model.Aggregation[judge.suite.aggregation.name],
        train=judge.scenarios,
        held_out=(),
        descriptors=tuple((d.metric, tuple(d.edges)) for d in description.descriptors),
        backends=(backend,),
        default_policy=description.baselines[0].source,
        rules=RULES,
    )
    spec = model.SearchSpec(
        simulator=description.name,
        suite=judge.suite.name,
        objective=objective.name,
        strategy=strategy,
        strategy_options={},
        backends=("offline",),
        budget=model.Budget(verifications=evaluations),
        seed=seed,
        seed_policies=(context.default_policy,),
        parallel_generations=1,
        parallel_verifications=1,
        window=window(strategy, parse_options(strategy, {}), 1),
    )
    return make_planner(spec, context)


@dataclass(frozen=True, slots=True)
class Search:
    method: str
    seed: int
    best: list[float]  # score after each verification; the first is the baseline's
    needed: dict[str, int | None]  # target -> verifications
    held_out: float  # score of the winner
    held_out_values: dict[str, float]  # by scenario, normalized
    failed_policies: int
    seconds: float
    winner: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What is searched for: a simulator's suite, a name or a folder of one's own."""

    simulator: str
    suite: str
    leave_out: str = ""  # train scenarios whose names begin so are what a winner is judged on
    from_scratch: bool = False  # without the grammar's hand-written policies

    def load(self) -> tuple[Simulator, str]:
        name, files = read_suite(self.suite)
        return narrowed(SIMULATORS.load(self.simulator), name, (), files), name


class Candidates:
    """Plans become candidates and candidates verdicts, in the planner's order: a search without services."""

    def __init__(self, judge: Judge, method: str, seed: int, evaluations: int, from_scratch: bool = False) -> None:
        description = judge.description
        # Without a grammar the offline backend changes numbers, comparisons and operators.
        self._grammar = Grammar.from_json(description.grammar) if description.grammar else None
        if from_scratch and self._grammar is not None:
            self._grammar = replace(self._grammar, seeds=())
        self._baselines = [baseline.source for baseline in description.baselines]
        self._judge, self._random = judge, random.Random(seed) if method == RANDOM else None
        self._planner = planner(judge, "best-of-n" if method == RANDOM else method, seed, evaluations)
        self._budget = model.Budget(verifications=evaluations)
        self._examples: dict[int, Example] = {}

    def told(self) -> Iterator[tuple[Example, Verdict]]:
        """Each candidate that was verified, in order of number, until the budget is used up."""
        for seed in self._planner.begin():
            self._planner.record(self._verified(seed, self._baselines[0]))
        while not isinstance(step := self._planner.next(self._budget), Done):
            if isinstance(step, Asked):
                self._planner.record(self._made(step.candidate))
            elif isinstance(step, Told) and step.candidate.state is model.CandidateState.VERIFIED:
                example = self._examples[step.candidate.number]
                yield example, self._judge.verify(example.source)

    def _made(self, candidate: model.Candidate) -> model.Candidate:
        plan = candidate.plan
        assert plan is not None
        if self._random is not None:
            assert self._grammar is not None, "random sampling needs a grammar"
            return self._verified(candidate, render(self._grammar, random_genome(self._grammar, self._random)))
        parents, inspirations = ([self._examples[n] for n in ns] for ns in (plan.parents, plan.inspirations))
        best = self._planner.best
        proposal = propose(
            self._grammar,
            parents,
            inspirations,
            Operator(plan.operator),
            plan.seed,
            history=[Attempt(a.number, f"c{a.number}", a.score, a.summary) for a in self._planner.attempts(plan)],
            best_score=best.train.score if best and best.train else None,
            baselines=self._baselines,
        )
        source = proposal.source
        if ast_digest(source) in {ast_digest(example.source) for example in (*parents, *inspirations)}:
            return replace(candidate, state=model.CandidateState.REJECTED, outcome=model.GenerationOutcome.DUPLICATE)
        return self._verified(replace(candidate, summary=proposal.rationale), source)

    def _verified(self, candidate: model.Candidate, source: str) -> model.Candidate:
        verdict = self._judge.verify(source)
        score = None if verdict.failed else verdict.score
        self._examples[candidate.number] = Example(
            f"c{candidate.number}",
            source,
            score.score if score else None,
            score.normalized if score else None,
            scenario_values=verdict.score.values,
        )
        return replace(
            candidate,
            state=model.CandidateState.VERIFIED,
            outcome=model.GenerationOutcome.NONE if candidate.plan is None else model.GenerationOutcome.OK,
            status=model.VerdictStatus.POLICY_FAILED if verdict.failed else model.VerdictStatus.OK,
            train=verdict.score,
            metrics=verdict.metrics,
            behavior=verdict.behavior,
        )


def search(problem: Problem, method: str, seed: int, evaluations: int, best_known: float) -> Search:
    started = time.monotonic()
    judge = judge_of(problem, Part.TRAIN)
    best: list[float] = []
    winner, failed = "", 0
    for example, verdict in Candidates(judge, method, seed, evaluations, problem.from_scratch).told():
        failed += verdict.failed
        if not best or (not verdict.failed and verdict.score.score > best[-1]):
            winner = example.source
            print(f"{method} seed {seed}: {verdict.score.score:.4f} after {len(best) + 1}", file=sys.stderr, flush=True)
        best.append(max([0.0 if verdict.failed else verdict.score.score, *best[-1:]]))
        if best_known and best[-1] >= max(TARGETS) * best_known:
            break
    held_out = judge_of(problem, Part.HELD_OUT).verify(winner).score
    reached = {f"{t:.0%}": next((i for i, b in enumerate(best, 1) if b >= t * best_known), None) for t in TARGETS}
    seconds = time.monotonic() - started
    return Search(method, seed, best, reached, held_out.score, dict(held_out.values), failed, seconds, winner)


@cache
def judge_of(problem: Problem, part: Part) -> Judge:
    """One for all searches of a process: what one has verified another gets for nothing, as from the verifier."""
    simulator, suite = problem.load()
    scenarios = scenarios_of(simulator.suite(suite), part)
    if problem.leave_out:
        train = scenarios_of(simulator.suite(suite), Part.TRAIN)
        scenarios = tuple(n for n in train if n.startswith(problem.leave_out) == (part is Part.HELD_OUT))
    return Judge(simulator, suite, scenarios)


def scenarios_of(suite: Suite, part: Part) -> tuple[str, ...]:
    return tuple(entry.scenario for entry in suite.entries if entry.part is part)


def table(searches: list[Search], methods: list[str], best_known: float) -> str:
    points = [p for p in CHECKPOINTS if any(len(s.best) >= p for s in searches)] or [1]
    targets = TARGETS if best_known else ()
    head = [*(f"best @{p}" for p in points), *(f"to {t:.0%}" for t in targets), "held-out", "failed"]
    lines = ["| median of seeds | " + " | ".join(head) + " |", "| --- " * (len(head) + 1) + "|"]
    for method in methods:
        runs = [s for s in searches if s.method == method]
        cells = [f"{statistics.median(s.best[min(p, len(s.best)) - 1] for s in runs):.4f}" for p in points]
        for target in targets:
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
    parser.add_argument(
        "--evaluations", type=int, default=300, help="verifications of one search, the baseline's included"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=["evolve", RANDOM], choices=[*STRATEGIES.names(), RANDOM])
    parser.add_argument("--best-known", type=float, default=2.37, help="what the targets refer to (0: none)")
    parser.add_argument("--from-scratch", action="store_true", help="withhold the grammar's hand-written policies")
    parser.add_argument("--leave-out", default="", help="judge winners on the train scenarios that begin so")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything there, winners included")
    args = parser.parse_args()
    problem = Problem(args.simulator, args.suite, args.leave_out, args.from_scratch)
    wanted = [(method, seed) for seed in range(args.seeds) for method in args.methods]
    searches: list[Search] = []
    with ProcessPoolExecutor(args.jobs) as pool:
        running = [
            pool.submit(search, problem, method, seed, args.evaluations, args.best_known) for method, seed in wanted
        ]
        for done in as_completed(running):
            searches.append(done.result())
            if args.json:
                args.json.write_text(json.dumps([asdict(s) for s in searches], indent=1))
    print(f"{args.simulator} / {args.suite}, best known {args.best_known}, {args.seeds} seeds")
    print(table(searches, args.methods, args.best_known))
    for method in args.methods:
        runs = [s for s in searches if s.method == method]
        for measure, values in (("train", [s.best[-1] for s in runs]), ("held-out", [s.held_out for s in runs])):
            print(f"{method}, {measure} of {len(values)} seeds: mean {paired_bootstrap(values, 0)}")
    if not args.best_known:  # else the searches ended at different times
        arrived = [Arrived(s.method, s.seed, "", s.best[-1], s.held_out) for s in searches]
        for one in contrast(arrived, args.methods):
            print(f"{one.measure}: {one.second} - {one.first} {one.interval}: {one.conclusion}")


if __name__ == "__main__":
    main()
