"""How often is a look at some scenarios wrong about the rest? Constants of a policy are swept, everything is run.

    python -m benchmarks.screening --suite standard --sweeps 100 --seed 1

The policy is one that `benchmarks.scripted_model` comes to by taking over each of its ideas that helps. Each sweep
changes the best so far, as in a search; its scores and decisions on every train scenario are kept, and then it is
counted what a look at fewer of them would have said: at the cheapest one, and at one of each kind, as
`quintain_controller` takes it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.scripted_model import FIRST, IDEAS, with_function

from quintain.plugins.backend import Attempt, Example, Operator
from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import Outcome, Part, RunOptions, narrowed
from quintain_controller.domain.screening import screen_scenarios
from quintain_generator.backends.offline.propose import propose
from quintain_verifier.domain.verdict import aggregate_scores


@dataclass(frozen=True, slots=True)
class Run:
    """One policy on scenarios of a suite. `parent`: its position among the runs; `metrics`: means."""

    parent: int
    score: float
    failed: bool
    values: dict[str, float]
    decisions: dict[str, str]
    metrics: dict[str, float]


class Judge:
    """One part of a suite, floors on. What was run once is not run again."""

    def __init__(self, simulator: str, suite: str, part: Part = Part.TRAIN) -> None:
        self.simulator = narrowed(SIMULATORS.load(simulator), suite)
        self.suite = self.simulator.suite(suite)
        self.scenarios = tuple(e.scenario for e in self.suite.entries if e.part is part)
        self.costs = {name: self.simulator.scenario(name).cost for name in self.scenarios}
        description = self.simulator.describe()
        self.direction = next(o.direction for o in description.objectives if o.name == self.suite.objective)
        self._known: dict[tuple[str, str], Outcome] = {}
        self._of_baseline = {name: self._outcome(name, description.baselines[0].source) for name in self.scenarios}

    def _outcome(self, name: str, source: str) -> Outcome:
        if (name, source) not in self._known:
            scenario = self.simulator.scenario(name)
            found = simulate(self.simulator, scenario, in_process(self.simulator, source), RunOptions())
            self._known[name, source] = replace(found, timeline=(), decision_log=(), told_log=())
        return self._known[name, source]

    def run(self, source: str, parent: int, scenarios: Sequence[str] = ()) -> Run:
        """On all scenarios, or some of them."""
        outcomes = {name: self._outcome(name, source) for name in scenarios or self.scenarios}
        scores = {
            name: self.simulator.score(
                self.suite.objective, self.simulator.scenario(name), outcome, self._of_baseline[name]
            )
            for name, outcome in outcomes.items()
        }
        score, _ = aggregate_scores(self.suite.aggregation, self.direction, list(scores.values()))
        return Run(
            parent,
            score,
            any(outcome.failure is not None for outcome in outcomes.values()),
            {name: one.normalized for name, one in scores.items()},
            {name: outcome.decisions_digest for name, outcome in outcomes.items()},
            _means(outcomes.values()),
        )


def _means(outcomes: Iterable[Outcome]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for outcome in outcomes:
        for name, value in outcome.metrics.items():
            found.setdefault(name, []).append(value)
    return {name: statistics.fmean(values) for name, values in found.items()}


def begin(judge: Judge) -> tuple[str, Run]:
    source = FIRST
    best = judge.run(source, 0)
    for _, code in IDEAS:
        changed = with_function(source, textwrap.dedent(code).strip())
        run = judge.run(changed, 0)
        if not run.failed and run.score > best.score:
            source, best = changed, run
    return source, best


def sweep(judge: Judge, source: str, first: Run, count: int, seed: int) -> list[Run]:
    runs, best = [first], Example("c0", source, first.score, first.score)
    history = [Attempt(0, "c0", first.score, "")]
    for number in range(1, count + 1):
        proposal = propose(
            None, [best], [], Operator.DIFF, 1000 * seed + number, history=history[-40:], best_score=best.score
        )
        run = judge.run(proposal.source, int(best.candidate_id[1:]))
        runs.append(run)
        history.append(
            Attempt(number, f"c{number}", None if run.failed else run.score, f"score {run.score}. {proposal.rationale}")
        )
        if not run.failed and run.score > (best.score or 0.0):
            print(f"{number}: {run.score:.4f}  {proposal.rationale}", file=sys.stderr, flush=True)
            best = Example(f"c{number}", proposal.source, run.score, run.score)
    return runs


def ranks(values: Sequence[float]) -> list[float]:
    """Places in ascending order; equal values share the mean of theirs."""
    ordered = sorted(values)
    first = {value: index for index, value in reversed(list(enumerate(ordered)))}
    last = {value: index for index, value in enumerate(ordered)}
    return [(first[value] + last[value]) / 2 for value in values]


def told(judge: Judge, runs: Sequence[Run], look: Sequence[str], name: str) -> str:
    """A row of the table: what a look at these scenarios says of the sweeps, and how often it is wrong."""
    better = worse = same = wrong_same = lost = 0
    for run in runs[1:]:
        parent = runs[run.parent]
        better += run.score > parent.score
        if all(run.decisions[n] == parent.decisions[n] for n in look):
            same += 1
            wrong_same += run.decisions != parent.decisions
            lost += run.score > parent.score
        elif sum(run.values[n] for n in look) < sum(parent.values[n] for n in look):
            worse += 1
            lost += run.score > parent.score
    share = sum(judge.costs[n] for n in look) / sum(judge.costs.values())
    rank = statistics.correlation(
        ranks([sum(run.values[n] for n in look) for run in runs]), ranks([run.score for run in runs])
    )
    count = len(runs) - 1
    work = (count * share + (count - same - worse)) / count
    return (
        f"| {name} | {len(look)} | {share:.0%} | {same} ({wrong_same} differ elsewhere) | {worse} | "
        f"{lost} of {better} | {rank:.3f} | {work:.0%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulator", default="faas")
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--sweeps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the runs there")
    args = parser.parse_args()
    judge = Judge(args.simulator, args.suite)
    source, first = begin(judge)
    runs = sweep(judge, source, first, args.sweeps, args.seed)
    if args.json:
        args.json.write_text(json.dumps([[r.parent, r.score, r.values, r.decisions] for r in runs]))
    equal = sum(run.decisions == runs[run.parent].decisions for run in runs[1:])
    best = max(run.score for run in runs if not run.failed)
    print(f"{args.simulator} / {args.suite}, {args.sweeps} sweeps, seed {args.seed}: {first.score:.4f} -> {best:.4f}")
    print(f"{equal} decided everywhere as their parents did")
    print(
        "| a look at | scenarios | of the work | decides the same | worse | gains lost | rank correlation | work left |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    cheapest = min(judge.scenarios, key=lambda n: judge.costs[n])
    print(told(judge, runs, [cheapest], "the cheapest"))
    if kinds := screen_scenarios(judge.scenarios):
        print(told(judge, runs, kinds, "one of each kind"))


if __name__ == "__main__":
    main()
