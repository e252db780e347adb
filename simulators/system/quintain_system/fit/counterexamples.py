"""Counterexamples: what a policy got out of an earlier model that the real system never showed. Hard limits of a fit.

``quintain fidelity --attack`` writes them, ``counterexamples/NAME.json`` with what was exceeded and the policy beside
``NAME.jsonl.gz``, the run's inputs and decisions. A person who knows better deletes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from quintain.plugins.simulator import FailureKind, InvalidInput, PolicyFailure
from quintain_system.fit.episode import Episode, Kinds, episode_of
from quintain_system.fit.reach import Limits, beyond, limits_of, reach_of
from quintain_system.fit.rollout import Rollouts, WrongModel
from quintain_system.form.spec import SystemSpec
from quintain_system.recordings.form import Recording, read_recording

FOLDER = "counterexamples/"


class _Stated(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    exceeded: list[str]


@dataclass(frozen=True)
class Counterexample:
    name: str
    episode: Episode
    exceeded: frozenset[str]


def is_counterexample(file: str) -> bool:
    return file.startswith(FOLDER) and file.endswith((".json", ".jsonl.gz")) and file.count("/") == 1


def read_counterexamples(files: Mapping[str, bytes], spec: SystemSpec, kinds: Kinds) -> list[Counterexample]:
    """Raises InvalidInput with the file."""
    found = []
    for file in sorted(f for f in files if is_counterexample(f) and f.endswith(".json")):
        run = file.removesuffix(".json") + ".jsonl.gz"
        if run not in files:
            raise InvalidInput(file, f"its run, {run}, is missing")
        try:
            stated = _Stated.model_validate_json(files[file])
        except ValidationError as error:
            raise InvalidInput(file, f"is no counterexample: {error.errors()[0]['msg']}") from None
        episode = episode_of(read_recording(run, files[run], spec), kinds)
        name = file.removeprefix(FOLDER).removesuffix(".json")
        found.append(Counterexample(name, episode, frozenset(stated.exceeded)))
    return found


def recorded_limits(spec: SystemSpec, kinds: Kinds, recordings: Sequence[Recording]) -> Limits:
    return limits_of(
        spec, [reach_of(spec, kinds, episode_of(r, kinds).history, r.config, r.duration) for r in recordings]
    )


def hold(
    spec: SystemSpec,
    kinds: Kinds,
    limits: Limits,
    counterexamples: Sequence[Counterexample],
    rollouts: Rollouts,
    values: Mapping[str, float],
) -> None:
    """Raises WrongModel if the model lets a counterexample's policy get as far again."""
    for example in counterexamples:
        run = rollouts.run(example.episode, values, 0)
        of = example.episode.recording
        found = beyond(kinds, limits, reach_of(spec, kinds, run.history, of.config, of.duration))
        for one in found:
            if one.what in example.exceeded:
                text = (
                    f"counterexample {example.name}: {one.what} is {one.reached:.4g}, and {one.recorded:.4g} is as far "
                    f"as recordings go (the limit is {one.limit:.4g})"
                )
                raise WrongModel(PolicyFailure(FailureKind.REJECTED, text, "counterexample"))
