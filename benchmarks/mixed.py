"""A model and the offline backend in one search, against either alone at equal dollars and equal verifications.

    python -m benchmarks.mixed --suite smoke --usd 0.6 --seeds 5

The model is `benchmarks.scripted_model`: it costs the same for every answer, has its ideas in an order that the seed
draws, and pays nobody. Everything else is a user's search: the controller's planner with its ledger, `evolve` with
roles, the look at one scenario of each kind before a sweep is run on all, and the offline backend's proposals; only the
services between them are left out. The mixed search goes first; the others get its dollars and as many verifications as
it made. What has the offline backend in it comes twice, with the simulator's grammar and without, as in systems that
have none. At the end, how much better the mixed search is than the better of either alone, seed by seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from benchmarks.screening import Judge, Run
from benchmarks.scripted_model import ScriptedModel

from quintain.plugins.backend import Attempt, Example, Operator
from quintain.plugins.grammar import Grammar
from quintain.plugins.simulator import Direction, Part
from quintain.plugins.strategy import RULES
from quintain.statistics import paired_bootstrap
from quintain_controller.domain import model
from quintain_controller.domain.crossval import trusted_best
from quintain_controller.domain.planner import Asked, Done, stopped, verified
from quintain_controller.domain.roles import assign
from quintain_controller.usecases.strategies import make_planner, parse_options, window
from quintain_generator.backends.offline.propose import propose
from quintain_generator.domain.gate import ast_digest

ANSWER_USD = 0.05
MODEL, OFFLINE = "model", "offline"
NO_GRAMMAR = ", no grammar"
ALL_OPERATORS = tuple(operator.value for operator in Operator)
PROFILES = {
    MODEL: model.BackendProfile(
        MODEL, ("full", "diff", "repair"), True, round(ANSWER_USD * model.NANO), measured_requests=10,
        typical_cost_usd_nano=round(ANSWER_USD * model.NANO), high_cost_usd_nano=round(ANSWER_USD * model.NANO * 4 / 5),
    ),
    OFFLINE: model.BackendProfile(OFFLINE, ALL_OPERATORS, True, 0),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    arm: str
    seed: int
    train: float
    held_out: float
    cross_validated: float  # held-out score of the candidate that the rule cross-validated takes
    usd: float
    answers: int
    verifications: int
    work: float  # in whole verifications: a look at some scenarios counts as its share of the cost


class Search:
    """One search in memory. `grammar`: what the offline backend may use."""

    def __init__(self, judge: Judge, backends: tuple[str, ...], seed: int, budget: model.Budget, grammar: str) -> None:
        self._judge, self._seed = judge, seed
        description = judge.simulator.describe()
        self._grammar = Grammar.from_json(grammar) if grammar else None
        self._baselines = tuple(baseline.source for baseline in description.baselines)
        self._model = ScriptedModel(seed, usd=ANSWER_USD)
        spec = model.SearchSpec(
            simulator=description.name, suite=judge.suite.name, objective=judge.suite.objective, strategy="evolve",
            strategy_options={}, backends=backends, budget=budget, seed=seed, seed_policies=(self._baselines[0],),
            parallel_generations=4, parallel_verifications=4, window=window("evolve", parse_options("evolve", {}), 4),
        )  # fmt: skip
        self._context = model.SearchContext(
            simulator=b"", objective=b"", simulator_build="", suite_description="",
            direction=model.Direction.MAXIMIZE if judge.direction is Direction.MAXIMIZE else model.Direction.MINIMIZE,
            aggregation=model.Aggregation[judge.suite.aggregation.name], train=judge.scenarios, held_out=(),
            descriptors=tuple((d.metric, tuple(d.edges)) for d in description.descriptors),
            backends=assign(tuple(PROFILES[name] for name in backends), {}, spec),
            default_policy=self._baselines[0], rules=RULES,
        )  # fmt: skip
        self._budget = budget
        self.planner = make_planner(spec, self._context)
        self.sources: dict[int, str] = {}
        self.candidates: dict[int, model.Candidate] = {}
        self.work = 0.0
        self.answers = 0

    def run(self) -> None:
        under_way = self.planner.begin()
        for seed in under_way:
            self.sources[seed.number] = self._baselines[0]
        while True:
            step = self.planner.next(self._budget)
            if isinstance(step, Done):
                return
            if isinstance(step, Asked):
                under_way.append(self._answered(step.candidate))
            elif under_way:  # the answers come in order
                self._settle(under_way.pop(0))

    def _settle(self, candidate: model.Candidate) -> None:
        if not candidate.state.settled:
            candidate = self._verified(candidate)
        self.candidates[candidate.number] = candidate
        self.planner.record(candidate)

    def _example(self, number: int) -> Example:
        candidate = self.candidates[number]
        train = candidate.train if candidate.status is model.VerdictStatus.OK else None
        values = train.values if train is not None else {}
        score, normalized = (train.score, train.normalized) if train is not None else (None, None)
        return Example(f"c{number}", self.sources[number], score, normalized, scenario_values=values)

    def _answered(self, candidate: model.Candidate) -> model.Candidate:
        plan = candidate.plan
        assert plan is not None
        parents, inspirations = ([self._example(n) for n in ns] for ns in (plan.parents, plan.inspirations))
        if plan.backend == MODEL:
            source, said = self._model.answer(parents[0].source)
            self.answers += 1
            candidate = replace(candidate, charge=model.Charge(usd_nano=round(ANSWER_USD * model.NANO), tokens=3000))
        else:
            best = self.planner.best
            proposal = propose(
                self._grammar, parents, inspirations, Operator(plan.operator), plan.seed,
                history=[Attempt(a.number, f"c{a.number}", a.score, a.summary) for a in self.planner.attempts(plan)],
                best_score=best.train.score if best and best.train else None, baselines=self._baselines,
            )  # fmt: skip
            source, said = proposal.source, proposal.rationale
        self.sources[candidate.number] = source
        if ast_digest(source) in {ast_digest(example.source) for example in (*parents, *inspirations)}:
            outcome = model.GenerationOutcome.DUPLICATE
            return replace(candidate, state=model.CandidateState.REJECTED, outcome=outcome, summary="a duplicate")
        return replace(
            candidate, state=model.CandidateState.GENERATED, outcome=model.GenerationOutcome.OK, summary=said
        )

    def _verified(self, candidate: model.Candidate) -> model.Candidate:
        source, plan = self.sources[candidate.number], candidate.plan
        if plan is not None and plan.screen is not None:
            look = self._judge.run(source, 0, plan.screen.scenarios)
            self.work += sum(self._judge.costs[n] for n in plan.screen.scenarios) / sum(self._judge.costs.values())
            seen = _verification(look)
            if why := self.planner.refusal(candidate, seen):
                return stopped(candidate, seen, why)
        self.work += 1.0
        run = self._judge.run(source, 0)
        parent = self.candidates[plan.parents[0]] if plan is not None else None
        return verified(candidate, _verification(run), parent, self._context)


def _verification(run: Run) -> model.Verification:
    normalized = statistics.fmean(run.values.values())
    status = model.VerdictStatus.POLICY_FAILED if run.failed else model.VerdictStatus.OK
    return model.Verification(
        digest="", simulator_build="", status=status,
        train=model.PartScore(run.score, 0.0, None, normalized, run.values), held_out=None, metrics=run.metrics,
        behavior=" ".join(run.decisions.values()), failure="it failed" if run.failed else "", rule="",
        determinism_checked=False, confirmed=False, feedback="", record=b"", identity=b"", decisions=run.decisions,
    )  # fmt: skip


@cache
def judge_of(simulator: str, suite: str, part: Part) -> Judge:
    return Judge(simulator, suite, part)


def arm(name: str, simulator: str, suite: str, seed: int, budget: model.Budget) -> Outcome:
    judge = judge_of(simulator, suite, Part.TRAIN)
    grammar = judge.simulator.describe().grammar
    backends = {"mixed": (MODEL, OFFLINE), "model": (MODEL,), "offline": (OFFLINE,)}[name.removesuffix(NO_GRAMMAR)]
    search = Search(judge, backends, seed, budget, "" if name.endswith(NO_GRAMMAR) else grammar)
    search.run()
    best = search.planner.best
    assert best is not None
    assert best.train is not None
    held_out = judge_of(simulator, suite, Part.HELD_OUT)
    ranked = search.planner.rank()[:50]
    values = {n: train.values for n in ranked if (train := search.candidates[n].train) is not None}
    trusted = trusted_best(values)
    spend = search.planner.ledger.spend()
    outcome = Outcome(
        name, seed, best.train.score, held_out.run(search.sources[best.number], 0).score,
        held_out.run(search.sources[best.number if trusted is None else trusted], 0).score,
        spend.usd_nano / model.NANO, search.answers, spend.verifications, search.work,
    )  # fmt: skip
    print(outcome, file=sys.stderr, flush=True)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulator", default="faas")
    parser.add_argument("--suite", default="smoke")
    parser.add_argument("--usd", type=float, default=0.6)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write everything there")
    args = parser.parse_args()
    outcomes: list[Outcome] = []
    for seed in range(args.seeds):
        dollars = model.Budget(usd_nano=round(args.usd * model.NANO))
        outcomes.append(arm("model", args.simulator, args.suite, seed, dollars))
        for grammar in ("", NO_GRAMMAR):
            both = arm(f"mixed{grammar}", args.simulator, args.suite, seed, dollars)
            free = model.Budget(verifications=both.verifications)
            outcomes += [both, arm(f"offline{grammar}", args.simulator, args.suite, seed, free)]
        if args.json:
            args.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    print(f"{args.simulator} / {args.suite}, ${args.usd:g}, {args.seeds} seeds: medians, least to greatest in brackets")
    print(
        "| search | train | held-out | held-out, cross-validated | dollars | answers | verifications | in whole runs |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in dict.fromkeys(outcome.arm for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.arm == name]
        cells = []
        for field in ("train", "held_out", "cross_validated"):
            found = sorted(getattr(outcome, field) for outcome in own)
            cells.append(f"{statistics.median(found):.4f} [{found[0]:.4f}, {found[-1]:.4f}]")
        for field, digits in (("usd", 2), ("answers", 0), ("verifications", 0), ("work", 1)):
            cells.append(f"{statistics.median(getattr(outcome, field) for outcome in own):.{digits}f}")
        print(f"| {name} | {' | '.join(cells)} |")
    for grammar in ("", NO_GRAMMAR):
        for field in ("train", "held_out"):
            mixed, offline, paid = (
                [getattr(outcome, field) for outcome in outcomes if outcome.arm == name]
                for name in (f"mixed{grammar}", f"offline{grammar}", "model")
            )
            gains = [one - max(alone) for one, *alone in zip(mixed, offline, paid, strict=True)]
            print(f"mixed{grammar}, {field}, over the better of either alone: mean {paired_bootstrap(gains, 0)}")


if __name__ == "__main__":
    main()
