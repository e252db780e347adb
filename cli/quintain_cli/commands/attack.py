"""The attack of ``quintain fidelity --attack``: policies that get out of a model what the real system never showed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from quintain.controller.v1 import controller_pb2 as controller
from quintain.errors import Internal
from quintain.plugins.recorder import Exceeded, ReachJudge, RecordedRun
from quintain.plugins.simulator import Part, narrowed
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli import render
from quintain_cli.commands.lookup import list_candidates
from quintain_cli.commands.record import load_recorder
from quintain_cli.commands.searching import searched, unfinished
from quintain_cli.commands.simulate import load_simulator
from quintain_cli.commands.system import SIMULATOR
from quintain_cli.commands.verify import run_verify
from quintain_cli.connect import Connection
from quintain_cli.fidelity.attack import Attack, Hole, worst_of_each
from quintain_cli.fidelity.runs import System
from quintain_cli.files import write_file

FOLDER = "counterexamples"
MOST_OBJECTIVES = 3
MOST_RUNS = 12  # of the best policies of one search
MODEL_FAILED = "MODEL_FAILED"  # the reason of the error; a search says it of the candidate, or of why it paused


_Run: TypeAlias = tuple[str, str]  # a policy and a scenario


@dataclass(frozen=True)
class Counterexample:
    """A hole with the run that shows it: `recording` as a fit reads it."""

    hole: Hole
    source: str
    recording: bytes


def attack(
    connection: Connection, model: System, truth: System | None, package: Mapping[str, bytes], budget: int, seed: int
) -> tuple[Attack, list[Counterexample]]:
    """Search policies in the model for each of its objectives, `budget` candidates in all, and look how far the best
    of them reach. What the truth reaches as well is no hole."""
    policies, tried, holes = _policies(connection, model, budget, seed)
    runs: dict[_Run, bytes] = {}
    for name, source in policies.items():
        made = _runs(connection, model, name, source, package)
        if isinstance(made, Hole):
            holes.append(made)
        else:
            runs |= {(name, at): recording for at, recording in made.items()}
    exceeded = _exceeded(package, runs)
    if truth is not None:
        real: dict[_Run, bytes] = {}
        for name in dict.fromkeys(name for name, _ in exceeded):
            made = _runs(connection, truth, name, policies[name], package)
            real |= {(name, at): recording for at, recording in made.items()} if isinstance(made, dict) else {}
        exceeded = _not_in_truth(exceeded, _exceeded(package, real))
    found = [Hole(*run, tuple(far), confirmed=truth is not None) for run, far in exceeded.items()]
    kept = worst_of_each(found)
    examples = [
        Counterexample(replace(hole, exceeded=of), policies[hole.policy], runs[hole.policy, hole.scenario])
        for hole in kept
        if (of := tuple(one for one in hole.exceeded if hole.confirmed or one.sure))
    ]
    return Attack(tried, seed, truth is not None, (*holes, *kept)), examples


def _policies(connection: Connection, model: System, budget: int, seed: int) -> tuple[dict[str, str], int, list[Hole]]:
    """Sources of the best policies by name, how many were tried, and those on which the model itself broke."""
    files = {file.name: file.content for file in model.files.files} if model.files is not None else None
    objectives = narrowed(load_simulator(model.simulator), model.suite, files=files).describe().objectives
    chosen = objectives[: min(MOST_OBJECTIVES, budget)]
    sources: dict[str, str] = {}
    holes: list[Hole] = []
    tried = 0
    for number, objective in enumerate(chosen):
        share = budget // len(chosen) + (number < budget % len(chosen))
        spec = controller.SearchSpec(
            simulator=model.simulator,
            suite=model.suite,
            suite_files=model.files,
            objective=objective.name,
            backends=["offline"],
            budget=controller.Budget(candidates=share),
            seed=seed,
            title=f"attack on a model by {objective.name}",
        )
        search = searched(connection, spec, f"attacking the model by {objective.name}")
        search_id = search.search_id
        if MODEL_FAILED in search.pause_reason:
            holes.append(_broke(f"the search by {objective.name}", search.pause_reason))
        elif search.state != controller.SEARCH_STATE_FINISHED:
            raise unfinished(search, "the attack")
        listed = list(list_candidates(connection, search_id))
        tried += sum(bool(c.operator) for c in listed)
        scored = sorted(
            (c for c in listed if c.verdict_status == pb.VERDICT_STATUS_OK), key=lambda c: (-c.normalized, c.number)
        )
        holes += [_broke(f"{objective.name} #{c.number}", c.summary) for c in listed if MODEL_FAILED in c.summary]
        for c in scored[:MOST_RUNS]:
            request = controller.GetCandidateRequest(candidate_id=c.candidate_id)
            source = connection.controller.get_candidate(request).candidate.source
            if source not in sources.values():
                sources[f"{objective.name} #{c.number}"] = source
    return sources, tried, holes


def _broke(policy: str, said: str) -> Hole:
    return Hole(policy, "", (), confirmed=True, broke=said[:300])


def _runs(
    connection: Connection, where: System, name: str, source: str, package: Mapping[str, bytes]
) -> dict[str, bytes] | Hole:
    """Recordings of the policy's runs by the scenario's short name; without those that failed. A hole if the model
    broke."""
    request = where.request(source)
    request.include_detail = True
    try:
        verdict = run_verify(connection, request, f"{name} in the {where.name}").verdict
    except Internal as error:
        if error.reason != MODEL_FAILED:
            raise
        return _broke(name, error.message)
    files = {file.name: file.content for file in where.files.files} if where.files is not None else None
    made = {}
    for scenario in verdict.scenarios:
        if scenario.ran and not scenario.HasField("failure"):
            run = RecordedRun(where.suite, files, scenario.scenario, Part.TRAIN, "attack", scenario.detail)
            made[scenario.scenario.rpartition("/")[2]] = where.recorder.recording(package, run)[1]
    return made


def _exceeded(package: Mapping[str, bytes], runs: Mapping[_Run, bytes]) -> dict[_Run, Sequence[Exceeded]]:
    judge = load_recorder(SIMULATOR)  # recordings of all simulators have the form of a package's
    assert isinstance(judge, ReachJudge)
    found = judge.exceeded(package, {f"run_{n}": recording for n, recording in enumerate(runs.values())})
    return {run: found[f"run_{n}"] for n, run in enumerate(runs) if found[f"run_{n}"]}


def _not_in_truth(
    exceeded: Mapping[_Run, Sequence[Exceeded]], real: Mapping[_Run, Sequence[Exceeded]]
) -> dict[_Run, Sequence[Exceeded]]:
    """What the same policy does not reach in the truth: there it failed, or stayed within the limit."""
    found: dict[_Run, Sequence[Exceeded]] = {}
    for run, far in exceeded.items():
        there = {one.what for one in real.get(run, ())}
        if left := [one for one in far if one.what not in there]:
            found[run] = left
    return found


def counterexample_stem(model: str) -> str:
    """What the names of files begin with that an attack on the model with this digest writes."""
    return f"{FOLDER}/{model[:8]}_"


def write_counterexamples(folder: Path, model: str, found: Sequence[Counterexample]) -> None:
    """Into the package, for the next fit. `model`: the digest of the attacked model."""
    for number, example in enumerate(found, 1):
        stem = folder / f"{counterexample_stem(model)}{number}"
        stem.parent.mkdir(exist_ok=True)
        document = {
            "model": model,
            "policy": example.source,
            "scenario": example.hole.scenario,
            "exceeded": [one.what for one in example.hole.exceeded],
            "said": example.hole.words,
            "proposed_invariants": [one.invariant for one in example.hole.exceeded if one.invariant],
        }
        write_file(stem.with_suffix(".jsonl.gz"), example.recording)  # alone it says nothing; the other needs it
        write_file(stem.with_suffix(".json"), json.dumps(document, indent=1) + "\n")
        render.errors.print(f"wrote {stem.with_suffix('.json')}", markup=False)
