"""How much of the true gain is kept by policies that were found in a fitted model alone?

    .venv/bin/python -m benchmarks.fitted --seeds 5 --verifications 200 --json fitted.json
    .venv/bin/python -m benchmarks.fitted --truth faas_pools --seeds 1 --models 6 --verifications 40

Two truths whose inner workings no author of a model sees: the package ``tenants``, and the exact FaaS engine through
the package ``faas_pools``. For each truth and seed: the train scenarios of its suite are recorded under policies
(first come first served or its nearest, one with priorities, random ones); a model is fitted offline; eight policies
are run in it and in the truth; then policies are searched in the model alone, in the truth and in each of the two
floors, with the same seed and the same number of verifications, and each winner is run in the truth. The headline is

    share kept = (truth's score of the model's winner - baseline) / (truth's score of the truth's winner - baseline)

Scores are normalised, floors on; ``train`` is over the recorded scenarios, ``held out`` over those that nobody saw.
Everything runs in this process, one after the other (results do not depend on where it runs). Seeds that are in the
JSON file with as many verifications are not run again, so a run may be stopped at any time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import statistics
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.offline import Candidates, Judge, scenarios_of

from quintain.plugins.doors import RECORDERS, SIMULATORS
from quintain.plugins.grammar import Grammar
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.recorder import Files, RecordedRun
from quintain.plugins.simulator import (
    FailureKind,
    ModelFault,
    Outcome,
    Part,
    PolicyFailure,
    RunOptions,
    Simulator,
    narrowed,
)
from quintain.statistics import paired_bootstrap
from quintain_cli.fidelity.decision import FEWEST, Reference, decision_fidelity, gain_kept
from quintain_cli.fidelity.models import calibrated
from quintain_generator.backends.offline.render import render
from quintain_system.fit.floors import queueing_floor, replay_floor
from quintain_system.fit.package_fit import PackageFit
from quintain_system.fit.plugin import simulator as fit_simulator
from quintain_system.form.toml_text import toml_text
from quintain_system.plugin import simulator as system_simulator

NAME = "recorded"
RUN_SECONDS = 60  # of processor time; a policy that was mutated into an endless loop ends there
TRUTH, MODEL, QUEUEING, REPLAY = "truth", "model", "queueing", "replay"


@dataclass(frozen=True)
class Truth:
    """Where recordings come from and where winners are run. `policies`: what is in force while it is recorded, from the
    simulator and the package that the first recordings have made."""

    simulator: str
    suite: str
    policies: Callable[[Simulator, Files], Mapping[str, str]]
    left_out: tuple[str, ...] = ()  # scenarios of the suite with what the package does not have

    def load(self) -> Simulator:
        return narrowed(SIMULATORS.load(self.simulator), self.suite)

    def scenarios(self, part: Part) -> tuple[str, ...]:
        return tuple(s for s in scenarios_of(self.load().suite(self.suite), part) if s not in self.left_out)


def tenants_policies(plugin: Simulator, package: Files) -> Mapping[str, str]:
    baselines = {b.name: b.source for b in plugin.describe().baselines}
    grammar = Grammar.from_json(plugin.describe().grammar)
    defaults = {gene.name: gene.default for gene in grammar.genes}
    by_load = "sorted(range(len(self.free)), key=self.running.__getitem__)"
    assert by_load in baselines["least_loaded"]
    at_random = baselines["least_loaded"].replace(by_load, "CHANCE.sample(range(len(self.free)), len(self.free))")
    at_random = at_random.replace("from collections import deque\n", "import random\nfrom collections import deque\n")
    return {
        "fixed_keep_alive": baselines["fixed_keep_alive"],
        "heavier_tenants_first": render(grammar, {**defaults, "queue_order": "weight", "eviction": "greedy_dual"}),
        "random_nodes": at_random.replace("\n\n\nclass Instance", "\n\nCHANCE = random.Random(1)\n\n\nclass Instance"),
        # What no recording shows no model knows: this one takes the decisions that the others never take.
        "all_decisions": render(grammar, {**defaults, "keep_law": "gaps", "prewarm": "early", "spare": "share",
                                          "admission": "refuse_late", "place_cold": "best_fit"}),
    }  # fmt: skip


def pools_policies(plugin: Simulator, package: Files) -> Mapping[str, str]:
    named = {n: package[f"baselines/{n}.py"].decode() for n in ("fifo_tenths", "priority_tenths", "random_sizes")}
    chance = "random.Random(1)"
    assert chance in named["random_sizes"]
    again = {f"random_sizes_{n}": named["random_sizes"].replace(chance, f"random.Random({n})") for n in (2, 3)}
    return {**named, **again}


TRUTHS = {
    "tenants": Truth("system", "tenants/smoke", tenants_policies),
    "faas_pools": Truth("faas", "smoke", pools_policies, left_out=("smoke_deadline",)),
}


# ------------------------------------------------------------------------------------------------------------- judges


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TimeoutError inside after so much processor time of this process."""

    def expired(*_: object) -> None:
        raise TimeoutError(f"more than {seconds:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, expired)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class InModel(Judge):
    """Policies in a package's model. A model that fails under a policy fails that policy: as in a search, which lays it
    aside."""

    def _run(self, name: str, source: str) -> Outcome:
        try:
            with limited(RUN_SECONDS):
                return super()._run(name, source)
        except (ModelFault, TimeoutError) as fault:
            failure = PolicyFailure(FailureKind.RAISED, str(fault))
            return Outcome(name, {}, (), hashlib.sha256(str(fault).encode()).hexdigest(), "", failure)


class InTruth(Judge):
    """Policies of the package in the truth: what a search asks for is described as in the package, what it is told
    comes from the truth."""

    def __init__(self, truth: Truth, package: Simulator, part: Part) -> None:
        self._recorder = RECORDERS.load(truth.simulator)
        super().__init__(truth.load(), truth.suite, truth.scenarios(part), package.describe())

    def _run(self, name: str, source: str) -> Outcome:
        with limited(RUN_SECONDS):
            return super()._run(name, self._recorder.policy(source))


def in_model(files: Files, source: str, *, limits: bool = True) -> InModel:
    """The recorded package with a model, on its train scenarios. Without `limits` the model may hold more than there
    is: what is recorded knows no capacity."""
    table = tomllib.loads(files["system.toml"].decode())
    if not limits:
        table["invariants"] = {n: i for n, i in table["invariants"].items() if i["type"] != "capacity"}
    kept = {name: content for name, content in files.items() if not name.startswith("recordings/")}
    package = {**kept, "system.toml": toml_text(table).encode(), "model.py": source.encode()}
    simulator = system_simulator.from_files(NAME, package)
    return InModel(simulator, NAME, scenarios_of(simulator.suite(NAME), Part.TRAIN))


# -------------------------------------------------------------------------------------------------------------- steps


def recorded(truth: Truth) -> tuple[Files, Mapping[str, str]]:
    """The package with its recordings, and the policies that were in force."""
    plugin, recorder = truth.load(), RECORDERS.load(truth.simulator)

    def run(policy: str, source: str, scenario: str) -> RecordedRun:
        opened = in_process(plugin, recorder.policy(source))
        outcome = simulate(plugin, plugin.scenario(scenario), opened, RunOptions(timeline=True))
        if outcome.failure is not None:
            raise SystemExit(f"{policy} failed on {scenario}: {outcome.failure.message}")
        return RecordedRun(truth.suite, None, scenario, Part.TRAIN, policy, outcome.detail)

    scenarios = truth.scenarios(Part.TRAIN)
    first = plugin.describe().baselines[0]
    package, _ = recorder.package([run(first.name, first.source, scenario) for scenario in scenarios])
    policies = truth.policies(plugin, package)
    made = [recorder.recording(package, run(p, source, s)) for p, source in policies.items() for s in scenarios]
    return {**package, **dict(made)}, policies


@dataclass(frozen=True)
class Found:
    """What a search found: its best, and every distinct score with the first policy that has it."""

    source: str
    score: float
    by_score: Mapping[float, str]
    failed: int
    seconds: float


def searched(judge: Judge, seed: int, verifications: int) -> Found:
    began = time.process_time()
    by_score: dict[float, str] = {}
    failed = 0
    for example, verdict in Candidates(judge, "evolve", seed, verifications).told():
        failed += verdict.failed
        if not verdict.failed:
            by_score.setdefault(verdict.score.normalized, example.source)
    best = max(by_score, default=0.0)
    source = by_score.get(best, judge.description.baselines[0].source)
    return Found(source, best, by_score, failed, time.process_time() - began)


def fitted(fit: PackageFit, seed: int, models: int) -> tuple[str, Mapping[str, Mapping[str, float]]]:
    """The best of so many models with its calibrated values, and by part its distance beside those of the floors."""
    scenarios = fit.suite(NAME).entries
    judge = Judge(fit, NAME, tuple(e.scenario for e in scenarios if e.part is Part.TRAIN))
    source = searched(judge, seed, models).source
    by_part: dict[str, list[Mapping[str, float]]] = {}
    values: dict[str, float] = {}
    for scenario in scenarios:
        metrics = judge._run(scenario.scenario, source).metrics
        names = {"distance": MODEL, "floor_queueing": QUEUEING, "floor_replay": REPLAY}
        by_part.setdefault(scenario.scenario.split("/")[1], []).append({to: metrics[m] for m, to in names.items()})
        values |= {n.removeprefix("parameter_"): v for n, v in metrics.items() if n.startswith("parameter_")}
    means = {part: {n: statistics.fmean(r[n] for r in rows) for n in rows[0]} for part, rows in by_part.items()}
    return calibrated(source, values), means


def references(of_package: Mapping[str, str], found: Found) -> dict[str, str]:
    """Those given, and up to eight policies of a search in the truth, from its worst to its best."""
    lack = max(0, FEWEST - len(of_package))
    scores = sorted(found.by_score)
    chosen = [scores[round(i * (len(scores) - 1) / max(1, lack - 1))] for i in range(lack)] if scores else []
    return {**of_package, **{f"searched-{score:.4f}": found.by_score[score] for score in chosen}}


def one(truth: Truth, seed: int, models: int, verifications: int) -> dict[str, Any]:
    """A seed of a truth, from recordings to the share that is kept."""
    began = time.process_time()
    files, policies = recorded(truth)
    fit = fit_simulator.from_files(NAME, files)
    model, distances = fitted(fit, seed, models)
    fit_seconds = time.process_time() - began
    judges: dict[str, Judge] = {
        MODEL: in_model(files, model),
        QUEUEING: in_model(files, queueing_floor(fit.grammar)),
        REPLAY: in_model(files, replay_floor(fit.grammar), limits=False),
    }
    package = judges[MODEL].simulator
    judges[TRUTH] = InTruth(truth, package, Part.TRAIN)
    held_out = InTruth(truth, package, Part.HELD_OUT)
    found = {where: searched(judge, seed, verifications) for where, judge in judges.items()}
    baseline = package.describe().baselines[0].source

    def true_scores(source: str) -> dict[str, float]:
        return {"train": _score(judges[TRUTH], source), "held_out": _score(held_out, source)}

    truths = {where: true_scores(of.source) for where, of in found.items()}
    at_baseline = true_scores(baseline)
    shares = {
        part: {w: gain_kept(at_baseline[part], truths[w][part], truths[TRUTH][part]) for w in (MODEL, QUEUEING, REPLAY)}
        for part in at_baseline
    }
    ranked = references({"baseline": baseline, **policies}, found[TRUTH])
    decisions = {}
    for where in (MODEL, QUEUEING, REPLAY):
        pairs = [
            Reference(n, _score_or_none(judges[where], s), _score_or_none(judges[TRUTH], s)) for n, s in ranked.items()
        ]
        decided = decision_fidelity(TRUTH, pairs)
        decisions[where] = {"tau": decided.tau, "regret": decided.regret, "references": [asdict(p) for p in pairs]}
    return {
        "models": models,
        "verifications": verifications,
        "distances": distances,
        "decisions": decisions,
        "baseline": at_baseline,
        "predicted": {where: of.score for where, of in found.items()},
        "true": truths,
        "share_kept": shares,
        "failed_policies": {where: of.failed for where, of in found.items()},
        "cpu_seconds": {"fit": fit_seconds, **{where: of.seconds for where, of in found.items()}},
        "model": model,
        "winners": {where: of.source for where, of in found.items()},
    }


def _score(judge: Judge, source: str) -> float:
    """0 for a policy that failed."""
    return _score_or_none(judge, source) or 0.0


def _score_or_none(judge: Judge, source: str) -> float | None:
    verdict = judge.verify(source)
    return None if verdict.failed else verdict.score.normalized


# ------------------------------------------------------------------------------------------------------------- report


def table(name: str, seeds: Mapping[str, Mapping[str, Any]]) -> str:
    head = ["distance (floors)", "tau", "regret", "baseline", "truth's winner", "model's winner", "share kept",
            "by queueing", "by replay", "held out: share kept"]  # fmt: skip
    lines = [f"| {name}: seed | " + " | ".join(head) + " |", "| --- " * (len(head) + 1) + "|"]
    for seed, of in seeds.items():
        held_out = [row for part, row in of["distances"].items() if part != "train"]
        distance, *floors = (statistics.fmean(r[n] for r in held_out) for n in (MODEL, QUEUEING, REPLAY))
        decided, true, shares = of["decisions"][MODEL], of["true"], of["share_kept"]
        cells = [
            f"{distance:.3f} ({', '.join(f'{f:.3f}' for f in floors)})",
            _number(decided["tau"]),
            _number(decided["regret"]),
            f"{of['baseline']['train']:.4f}",
            f"{true[TRUTH]['train']:.4f}",
            f"{true[MODEL]['train']:.4f} (said {of['predicted'][MODEL]:.4f})",
            *(_percent(shares["train"][w]) for w in (MODEL, QUEUEING, REPLAY)),
            _percent(shares["held_out"][MODEL]),
        ]
        lines.append(f"| {seed} | " + " | ".join(cells) + " |")
    for where in (MODEL, QUEUEING, REPLAY):
        for part in ("train", "held_out"):
            kept = [of["share_kept"][part][where] for of in seeds.values() if of["share_kept"][part][where] is not None]
            if kept:
                lines.append(
                    f"share kept by the {where}, {part}: mean of {len(kept)} seeds {paired_bootstrap(kept, 0)},"
                    f" median {statistics.median(kept):.1%}"
                )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "nothing to gain" if value is None else f"{value:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", nargs="+", choices=list(TRUTHS), default=list(TRUTHS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--models", type=int, default=8, help="candidates of the search for a model")
    parser.add_argument("--verifications", type=int, default=200, help="of each search for a policy")
    parser.add_argument("--json", type=Path, default=Path("fitted.json"))
    args = parser.parse_args()
    found: dict[str, dict[str, Any]] = json.loads(args.json.read_text()) if args.json.exists() else {}
    for seed in range(args.seeds):
        for name in args.truth:
            done = found.setdefault(name, {}).get(str(seed))
            if done and (done["models"], done["verifications"]) == (args.models, args.verifications):
                continue
            found[name][str(seed)] = one(TRUTHS[name], seed, args.models, args.verifications)
            args.json.write_text(json.dumps(found, indent=1))
            kept = _percent(found[name][str(seed)]["share_kept"]["train"][MODEL])
            print(f"{name}, seed {seed}: share kept {kept}", file=sys.stderr, flush=True)
    for name in args.truth:
        print(table(name, found[name]), end="\n\n")


if __name__ == "__main__":
    main()
