"""Models of one package as a simulator's candidates: scenarios are its recordings, the objective is the distance."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from quintain.plugins.inprocess import InProcessPolicy
from quintain.plugins.simulator import (
    Aggregation,
    Baseline,
    Description,
    Direction,
    Floor,
    Group,
    InvalidInput,
    LoadGuest,
    Objective,
    OpenPolicy,
    Outcome,
    Part,
    PolicyError,
    PolicyFailure,
    RequiredDefinition,
    RunOptions,
    Scenario,
    ScenarioScore,
    Simulator,
    SimulatorFault,
    Suite,
    SuiteEntry,
    TimelineEvent,
)
from quintain_system.fit.calibration import RUNS, Calibration, calibrate
from quintain_system.fit.components import WORST, Distance, together
from quintain_system.fit.counterexamples import hold, is_counterexample, read_counterexamples, recorded_limits
from quintain_system.fit.distance import Comparison
from quintain_system.fit.episode import Episode, beginning, digest_of, episode_of, kinds_by_number
from quintain_system.fit.floors import queueing_floor, replay_floor
from quintain_system.fit.grammar import grammar_of
from quintain_system.fit.guide import guide
from quintain_system.fit.lifecycle import lifecycle_of
from quintain_system.fit.reach import NO_LIMITS
from quintain_system.fit.rollout import Rollout, Rollouts, WrongModel, setup_of
from quintain_system.fit.windows import curves, judged_windows
from quintain_system.form.checks import check_system
from quintain_system.form.package import SYSTEM_FILE, Placed, decoded, read_toml
from quintain_system.form.spec import SystemSpec
from quintain_system.guest import rollout as guest
from quintain_system.recordings.form import is_recording, read_recordings
from quintain_system.recordings.split import SPLIT_FILE, split_of

OBJECTIVE = Objective(
    "distance",
    "distance",
    "",
    Direction.MINIMIZE,
    "How far what the model says is from what was recorded: 0 the same, 1 nothing alike. The baseline is the better of "
    "the two floors: a plain queueing model of the same capacity, and the empirical distributions replayed.",
)
MODEL = RequiredDefinition("class", "Model", "class Model(config, parameters, random), the model interface")
TRAIN = "train"
CALIBRATED_ON = 4_000  # entries of the train recordings, at most
CALIBRATIONS_KEPT = 64
ROLLOUTS, ROLLOUTS_TO_CALIBRATE = 4, 2  # of each recording, of a model that draws by chance
WORDS_SHOWN = 12


class PackageFit:
    """Satisfies `Simulator`. Scenarios are ``prefix/part/recording``; the parts but ``train`` are held out."""

    guest_module = "quintain_system.guest.rollout"
    guest_source = ""

    def __init__(self, files: Mapping[str, bytes], engine_build: str, prefix: str) -> None:
        spec = read_toml(SYSTEM_FILE, _bytes(files, SYSTEM_FILE), SystemSpec)
        check_system(spec, Placed(SYSTEM_FILE, decoded(SYSTEM_FILE, files[SYSTEM_FILE])))
        self._spec, self._prefix = spec, prefix
        self._numbers = kinds_by_number(spec)
        recordings = read_recordings(files, spec)
        split = split_of(recordings, files)
        self._counterexamples = read_counterexamples(files, spec, self._numbers)
        self._limits = recorded_limits(spec, self._numbers, recordings) if self._counterexamples else NO_LIMITS
        self.unverified = split.unverified
        train = [episode_of(recording, self._numbers) for recording in split.train]
        # One scenario for all of train: whoever runs it calibrates, and a calibration is dear.
        self._scenarios: dict[str, list[Episode]] = {f"{prefix}/{TRAIN}": train}
        for part, recordings in split.held_out.items():
            for recording in recordings:
                self._scenarios[f"{prefix}/{part}/{recording.name}"] = [episode_of(recording, self._numbers)]
        if not any(e.events for e in train):
            raise InvalidInput("recordings/", "no event is in what a model may be fitted to")
        self._calibrated_on = self._shortened(train)
        matter = {
            n: c for n, c in files.items() if n in (SYSTEM_FILE, SPLIT_FILE) or is_recording(n) or is_counterexample(n)
        }
        sha = hashlib.sha256(engine_build.encode())
        for name in sorted(matter):
            sha.update(f"\n{name} {hashlib.sha256(matter[name]).hexdigest()}".encode())
        self.build = sha.hexdigest()
        self._train_digest = digest_of(self._calibrated_on)
        self._lifecycle = lifecycle_of(spec, self._numbers, train)
        self.grammar = grammar_of(self._lifecycle)
        self._floors = {"queueing": queueing_floor(self.grammar), "replay": replay_floor(self.grammar)}
        self._guide = guide(spec, self._numbers, self._lifecycle, train, self.unverified, files)
        self._lock = threading.Lock()
        self._comparisons: dict[str, list[Comparison]] = {}
        self._floor_distances: dict[tuple[str, str], float] = {}
        self._calibrations: OrderedDict[str, Calibration] = OrderedDict()

    def describe(self) -> Description:
        # The other floor keeps to no limit, so it is no candidate.
        queueing = Baseline("queueing", "Floor: a plain queueing model of the same capacity", self._floors["queueing"])
        return Description(
            name="fit",
            title=f"Models of {self._spec.title or self._spec.name}",
            build=self.build,
            policy_guide=self._guide,
            required_definitions=(MODEL,),
            objectives=(OBJECTIVE,),
            suites=(self._prefix,),
            baselines=(queueing,),
            grammar=self.grammar.to_json(),
        )

    def suite(self, name: str) -> Suite:
        if name != self._prefix:
            raise InvalidInput("suite", f"{name!r} is unknown; the recordings are one suite: {self._prefix}")
        entries = tuple(
            SuiteEntry(scenario, Part.TRAIN)
            if scenario == f"{self._prefix}/{TRAIN}"
            else SuiteEntry(scenario, Part.HELD_OUT, section=scenario.split("/")[1])
            for scenario in self._scenarios
        )
        about = (
            "Recordings: what a model is fitted to, and later time, another policy, and the busiest windows held out"
        )
        return Suite(name, about, OBJECTIVE.name, Aggregation.MEAN_NORMALIZED, entries)

    def scenario(self, name: str) -> Scenario:
        if name not in self._scenarios:
            raise InvalidInput("scenario", f"{name!r} is unknown; known are: {', '.join(self._scenarios)}")
        episodes = self._scenarios[name]
        recordings = ", ".join(f"{e.recording.name} under {e.recording.policy}" for e in episodes[:5])
        more = f" and {len(episodes) - 5} more" if len(episodes) > 5 else ""
        meaning = hashlib.sha256(f"{digest_of(episodes)}\n{self._train_digest}".encode()).hexdigest()
        cost = max(1.0, sum(len(e.history) for e in episodes) / 1000)
        return Scenario(name, meaning, f"{name.split('/')[1]}: {recordings}{more}", None, cost)

    def inline_scenario(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        raise InvalidInput("scenario.toml", "a recording belongs to its package: give the package as a suite")

    def narrowed(self, suite: str = "", scenarios: Sequence[str] = ()) -> Simulator:
        return self

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        found = _Found()
        try:
            found.calibration = self._calibration(open_policy, options.policy_digest)
            fresh = Rollouts(self._spec, self._numbers, open_policy(setup_of(self._spec)))  # knows no other run
            values = found.calibration.values
            hold(self._spec, self._numbers, self._limits, self._counterexamples, fresh, values)
            for episode in self._scenarios[scenario.name]:
                found.rollouts.append(fresh.runs(episode, found.calibration.values, ROLLOUTS))
            found.distance = self._distance(scenario.name, found.rollouts)
        except WrongModel as wrong:
            found.failure = wrong.failure
        except PolicyError as error:
            found.failure = error.failure
        return self._outcome(scenario.name, found, whole=options.timeline)

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        if objective != OBJECTIVE.name:
            raise InvalidInput("objective", f"{objective!r} is unknown; known are: {OBJECTIVE.name}")
        floors = {name: self._floor_distance(name, scenario.name) for name in self._floors}
        least = min(floors.values())
        raw = outcome.metrics.get("distance")
        # The baseline is the better of the floors, so that who beats it beats both.
        value = least if outcome is baseline else WORST if raw is None or outcome.failure is not None else raw
        said = tuple(Floor(f"nearer than the floor {name}", 1 - of, 1 - value) for name, of in floors.items())
        return ScenarioScore(value, raw, 1.0 - value, least, 0.0, () if outcome is baseline else said)

    # -------------------------------------------------------------------------------------------------- calibration

    def _calibration(self, open_policy: OpenPolicy, digest: str) -> Calibration:
        """Found once for each model, by its digest (empty: not kept), and shared by its scenarios."""
        with self._lock:
            if digest in self._calibrations:
                self._calibrations.move_to_end(digest)
                return self._calibrations[digest]
        made = self._calibrated(Rollouts(self._spec, self._numbers, open_policy(setup_of(self._spec))))
        if digest:
            with self._lock:
                self._calibrations[digest] = made
                while len(self._calibrations) > CALIBRATIONS_KEPT:
                    self._calibrations.popitem(last=False)
        return made

    def _calibrated(self, rollouts: Rollouts) -> Calibration:
        comparisons = [Comparison(self._spec, self._numbers, episode) for episode in self._calibrated_on]

        def distance(values: Mapping[str, float], rollouts_of_each: int, first_seed: int) -> float:
            found = []
            for episode, comparison in zip(self._calibrated_on, comparisons, strict=True):
                try:
                    runs = rollouts.runs(episode, values, rollouts_of_each, first_seed)
                    found.append(comparison.distance([run.history for run in runs], worded=False).value)
                except WrongModel:
                    found.append(WORST)
            return sum(found) / len(found)

        return calibrate(
            rollouts.parameters,
            lambda values: distance(values, ROLLOUTS_TO_CALIBRATE, 0),
            lambda values: distance(values, ROLLOUTS, ROLLOUTS_TO_CALIBRATE),
            RUNS,
        )

    def _shortened(self, train: Sequence[Episode]) -> list[Episode]:
        """What of the train recordings fits into a calibration: an equal share of each."""
        each = max(1, CALIBRATED_ON // len(train))
        shortened = [(episode, beginning(episode.recording, each)) for episode in train]
        return [e if short is e.recording else episode_of(short, self._numbers) for e, short in shortened]

    def _distance(self, scenario: str, rollouts: Sequence[Sequence[Rollout]]) -> Distance:
        with self._lock:
            if scenario not in self._comparisons:
                episodes = self._scenarios[scenario]
                self._comparisons[scenario] = [Comparison(self._spec, self._numbers, e) for e in episodes]
        comparisons = self._comparisons[scenario]
        found = [c.distance([r.history for r in rs]) for c, rs in zip(comparisons, rollouts, strict=True)]
        if len(found) == 1:
            return found[0]
        return together({e.recording.name: d for e, d in zip(self._scenarios[scenario], found, strict=True)})

    def _floor_distance(self, floor: str, scenario: str) -> float:
        """The floors are ours: they run right here."""
        key = (floor, scenario)
        if key not in self._floor_distances:
            self._floor_distances[key] = self._distance(scenario, self._floor_rollouts(floor, scenario)).value
        return self._floor_distances[key]

    def _floor_rollouts(self, floor: str, scenario: str) -> list[Sequence[Rollout]]:
        """Of each recording of the scenario."""
        model = InProcessPolicy(cast(LoadGuest, guest.load), self._floors[floor], setup_of(self._spec))
        runs = Rollouts(self._spec, self._numbers, model, limits=floor != "replay")
        values = {name: p.value for name, p in runs.parameters.items()}
        try:
            return [runs.runs(episode, values, ROLLOUTS) for episode in self._scenarios[scenario]]
        except WrongModel as wrong:
            raise SimulatorFault(f"the floor {floor} failed on {scenario}: {wrong}") from wrong

    # ------------------------------------------------------------------------------------------------------ outcome

    def _outcome(self, scenario: str, found: _Found, *, whole: bool) -> Outcome:
        calibration, distance = found.calibration, found.distance
        metrics: dict[str, float] = {}
        if distance is not None:
            metrics |= {"distance": distance.value, **distance.groups}
            metrics |= {f"floor_{name}": self._floor_distance(name, scenario) for name in self._floors}
        refused = sum((runs[0].refused for runs in found.rollouts), Counter[str]())
        if found.rollouts:
            metrics["decisions_refused"] = float(refused.total())
        if calibration is not None:
            metrics |= {"calibration_runs": float(calibration.runs), "train_distance": calibration.distance}
            for name, worth in calibration.worth.items():
                metrics |= {f"parameter_{name}": calibration.values[name], f"worth_{name}": worth}
        words = self._words(found, refused)
        said = json.dumps([metrics, words, [[run.history for run in runs] for runs in found.rollouts]])
        return Outcome(
            scenario=scenario,
            metrics=metrics,
            groups=tuple(Group(name, values) for name, values in _components(distance).items()),
            decisions_digest=hashlib.sha256(said.encode()).hexdigest(),
            calling_mode="",
            failure=found.failure,
            failures_by_reason=dict(refused),
            timeline=tuple(TimelineEvent(0.0, text) for text in words),
            detail=json.dumps(self._detail(scenario, found, words)) if whole else "",
        )

    def _detail(self, scenario: str, found: _Found, words: list[str]) -> dict[str, Any]:
        """For the fidelity card: distances by window beside the floors', and curves of each recording."""
        windows: list[dict[str, Any]] = []
        drawn: list[dict[str, Any]] = []
        if found.distance is not None:
            floors = {name: self._floor_rollouts(name, scenario) for name in self._floors}
            for number, (episode, runs) in enumerate(zip(self._scenarios[scenario], found.rollouts, strict=True)):
                said = [run.history for run in runs]
                beside = {name: [run.history for run in of[number]] for name, of in floors.items()}
                windows += judged_windows(self._spec, self._numbers, episode, said, beside)
                drawn.append(curves(self._spec, self._numbers, episode, said))
        return {"components": _components(found.distance), "words": words, "windows": windows, "recordings": drawn}

    def _words(self, found: _Found, refused: Counter[str]) -> list[str]:
        """For the model's author, what matters most first."""
        words = []
        if refused:
            rules = ", ".join(f"{rule} {n}" for rule, n in refused.most_common(3))
            words.append(f"{refused.total()} recorded decisions were refused, which the real system took: {rules}")
        if found.distance is not None:
            words += [component.words for component in found.distance.worst(WORDS_SHOWN - 4)]
        if found.calibration is not None:
            words += found.calibration.words
        return words[:WORDS_SHOWN]


@dataclass
class _Found:
    """What one run has found, as far as it came."""

    calibration: Calibration | None = None
    rollouts: list[Sequence[Rollout]] = field(default_factory=list)
    distance: Distance | None = None
    failure: PolicyFailure | None = None


def _components(distance: Distance | None) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for component in distance.components if distance is not None else ():
        row = {"distance": component.value}
        if component.recorded is not None:
            row["recorded"] = component.recorded
        if component.said is not None:
            row["said"] = component.said
        found[f"{component.group}: {component.name}"] = row
    return found


def _bytes(files: Mapping[str, bytes], file: str) -> bytes:
    if file not in files:
        raise InvalidInput(file, f"is missing; the files given are: {', '.join(sorted(files)[:20]) or 'none'}")
    return files[file]
