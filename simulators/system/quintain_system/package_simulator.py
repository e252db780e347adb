"""One system package as a simulator."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quintain.plugins.naming import unknown
from quintain.plugins.simulator import (
    Aggregation,
    Description,
    Descriptor,
    Direction,
    FailureKind,
    Group,
    InvalidInput,
    ModelFault,
    Objective,
    OpenPolicy,
    OpenProgram,
    Outcome,
    Part,
    PolicyFailure,
    Program,
    RequiredDefinition,
    RunOptions,
    Scenario,
    ScenarioScore,
    Simulator,
    SimulatorFault,
    Suite,
    SuiteEntry,
)
from quintain_system.engine.inputs import MAX_INPUTS, draw_inputs, read_trace
from quintain_system.engine.loop import SystemLoop
from quintain_system.engine.metrics import input_statistics
from quintain_system.engine.records import Everything, Ids, Kind, kinds, number_of
from quintain_system.engine.timeline import RecordedEntry
from quintain_system.form.names import config_numbers
from quintain_system.form.package import MODEL_FILE, OWN_MODEL, WORKLOAD_FILE, Package
from quintain_system.form.spec import ScenarioSpec
from quintain_system.guide import guide
from quintain_system.objective import score
from quintain_system.recordings.form import UNKNOWN_POLICY, Entry, Recording, packed
from quintain_system.scenario_notes import scenario_notes

DECIDE = RequiredDefinition(
    "function or class", "decide|Policy", "decide(observation, happened), or class Policy(config) with it"
)
WORKLOAD_CHUNK = 2_000
_WORKLOADS_KEPT = 8
GROUPS_SHOWN = 200


@dataclass(frozen=True)
class SystemScenario:
    """What `Scenario.spec` holds. `inputs` is None if they come from the package's workload; `model` is
    the name of the package's model that it runs in."""

    spec: ScenarioSpec
    config: Mapping[str, Any]
    inputs: list[list[Any]] | None
    model: str


class JailedSystems:
    """What simulators of systems share: guests, and what they refuse."""

    guest_module = "quintain_system.guest.policy"
    guest_source = ""
    program_guests = ("quintain_system.guest.model", "quintain_system.guest.workload")

    def inline_scenario(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        raise InvalidInput(
            "scenario.toml", "a scenario of a system belongs to its package: give the package as a suite"
        )

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        raise SimulatorFault("a system's model is not trusted: it needs a jailed process")


class PackageSimulator(JailedSystems):
    """Satisfies `ProgramSimulator`. Names of suites are ``prefix`` and ``prefix/suite``, of scenarios
    ``prefix/scenario`` and ``prefix/suite/scenario``."""

    def __init__(self, package: Package, engine_build: str, prefix: str) -> None:
        self._package = package
        self._prefix = prefix
        self.build = hashlib.sha256(f"{engine_build}\n{package.digest}".encode()).hexdigest()
        self._lock = threading.Lock()
        self._scenarios: dict[str, Scenario] = {}
        self._workloads: OrderedDict[str, list[list[Any]]] = OrderedDict()

    @property
    def package(self) -> Package:
        return self._package

    @property
    def model_source(self) -> str:
        return self._package.models.get(OWN_MODEL, "")

    @property
    def suite_names(self) -> tuple[str, ...]:
        return tuple(self._full(name) for name in self._package.suites)

    def describe(self) -> Description:
        package = self._package
        spec = package.spec
        return Description(
            name="system",
            title=spec.title or spec.name,
            build=self.build,
            policy_guide=guide(package),
            required_definitions=(DECIDE,),
            objectives=tuple(self._objective(name) for name in self._objectives()),
            suites=self.suite_names,
            baselines=package.baselines,
            descriptors=tuple(Descriptor(d.metric, d.edges) for d in spec.descriptors),
            grammar=package.grammar,
            fidelity=package.fidelity,
            fidelity_reason=package.fidelity_reason,
        )

    def _objectives(self) -> list[str]:
        """The first suite's own comes first."""
        first = next(iter(self._package.suites.values())).objective
        return sorted(self._package.spec.objectives, key=lambda name: name != first)

    def _objective(self, name: str) -> Objective:
        spec = self._package.spec
        objective = spec.objectives[name]
        unit = spec.metrics[objective.metric].unit or ("s" if spec.metrics[objective.metric].type == "time" else "")
        about = objective.about or spec.metrics[objective.metric].about
        floors = (
            f"{f.metric} must not fall below {f.share:.0%} of "
            + ("the baseline" if f.at_least == "baseline" else f"{f.at_least:g}")
            + (" in each class" if f.each_class else "")
            for f in objective.floors
        )
        said = " ".join([*([about] if about else []), *(f"Floor: {floor}." for floor in floors)])
        return Objective(name, objective.metric, unit, Direction(objective.direction), said)

    def narrowed(self, suite: str = "", scenarios: Sequence[str] = ()) -> Simulator:
        return self

    def suite(self, name: str) -> Suite:
        suites = {self._full(short): (short, suite) for short, suite in self._package.suites.items()}
        if name not in suites:
            raise InvalidInput("suite", unknown(name, suites))
        short, suite = suites[name]
        entries = tuple(
            entry for s in suite.scenarios for entry in self._entries(self._scenario_name(short, s.name), Part(s.part))
        )
        return Suite(name, suite.about, suite.objective, Aggregation(suite.aggregation), entries)

    def _entries(self, scenario: str, part: Part) -> list[SuiteEntry]:
        """The scenario in each model of the package; those of one scenario are a group."""
        models = self._package.models
        if len(models) < 2:
            return [SuiteEntry(scenario, part)]
        return [SuiteEntry(in_model(scenario, model), part, scenario, model) for model in models]

    def scenario(self, name: str) -> Scenario:
        if not self._package.models:
            raise InvalidInput(MODEL_FILE, "is missing: this package has recordings, and `quintain fit` makes a model")
        with self._lock:
            if name not in self._scenarios:
                self._scenarios[name] = self._load(name)
            return self._scenarios[name]

    def scenario_notes(self, scenario: Scenario) -> str:
        of = _spec_of(scenario)
        return scenario_notes(self._package.spec, of.spec, of.config, of.inputs)

    def run_with_programs(
        self, scenario: Scenario, open_policy: OpenPolicy, open_program: OpenProgram, options: RunOptions
    ) -> Outcome:
        of = _spec_of(scenario)
        inputs = self._inputs(of, open_program)
        loop = SystemLoop(
            self._package, of.config, inputs, of.spec.duration, of.spec.seed, options=options, model=of.model
        )
        run = loop.run(open_policy, open_program)
        metrics = run.metrics.values()
        return Outcome(
            scenario=scenario.name,
            metrics={**metrics, "policy_calls": float(run.calls), "decisions": float(run.decided)},
            groups=tuple(
                Group(str(name), run.metrics.class_values(name)) for name in run.metrics.classes[:GROUPS_SHOWN]
            ),
            decisions_digest=run.digest,
            calling_mode="",
            failure=run.failure,
            timeline=run.timeline.events(failed=run.failure is not None),
            decision_log=tuple(run.log),
            told_log=tuple(run.told_log),
            detail=run.timeline.detail(scenario.name, of.spec.duration, self._recording(of, run.timeline.recorded)),
        )

    def _recording(self, of: SystemScenario, entries: list[RecordedEntry] | None) -> str:
        """A ``.jsonl.gz`` in base 64, of no named policy; empty if nothing was kept."""
        if entries is None:
            return ""
        made = tuple(Entry(*entry) for entry in entries)
        whole = Recording("run", self._package.name, UNKNOWN_POLICY, of.config, of.spec.duration, made)
        return base64.b64encode(packed(whole)).decode()

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        spec = self._package.spec
        if objective not in spec.objectives:
            raise InvalidInput("objective", unknown(objective, spec.objectives))
        of = _spec_of(scenario)
        names = config_numbers(of.config) | {"duration": of.spec.duration}
        if of.inputs is not None:
            names |= input_statistics(of.inputs, spec)
        return score(spec, spec.objectives[objective], outcome, baseline, names)

    # ------------------------------------------------------------------------------------------------- scenarios

    def _full(self, short: str) -> str:
        return f"{self._prefix}/{short}" if short else self._prefix

    def _scenario_name(self, suite: str, scenario: str) -> str:
        return f"{self._full(suite)}/{scenario}"

    def _load(self, name: str) -> Scenario:
        known = {
            in_model(self._scenario_name(short, scenario.name), model): (short, scenario, model)
            for short, suite in self._package.suites.items()
            for scenario in suite.scenarios
            for model in self._package.models
        }
        if name not in known:
            raise InvalidInput("scenario", unknown(name, known))
        short, spec, model = known[name]
        declared = self._package.spec.config
        config = {key: of.default for key, of in declared.items()}
        for key, value in spec.config.items():
            config[key] = float(value) if isinstance(config[key], float) else value  # type: ignore[arg-type]
        inputs = self._declared_inputs(short, spec, config)
        meaning = {
            "config": config,
            "duration": spec.duration.hex(),
            "seed": spec.seed,
            "inputs": "workload" if inputs is None else inputs,
            **({"model": model} if model != OWN_MODEL else {}),
        }
        text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        cost = spec.cost or (max(1.0, len(inputs) / 1000) if inputs is not None else max(1.0, spec.duration / 1000))
        return Scenario(name, digest, spec.about, SystemScenario(spec, config, inputs, model), cost)

    def _declared_inputs(self, suite: str, scenario: ScenarioSpec, config: Mapping[str, Any]) -> list[list[Any]] | None:
        specs = self._package.spec.inputs
        if scenario.workload:
            return None
        if scenario.trace is None:
            return self._checked(scenario.name, draw_inputs(scenario, specs), config)
        file = f"suites/{scenario.trace}" if suite else scenario.trace
        return read_trace(file, self._package.files[file], self._input_kinds(config), specs, scenario.duration)

    def _checked(self, name: str, inputs: list[list[Any]], config: Mapping[str, Any]) -> list[list[Any]]:
        of = self._input_kinds(config)
        for record in inputs:
            problem = of[record[1]].problem(record[1:])
            if problem is not None:
                raise InvalidInput(f"{name}:arrivals", f"at {record[0]:g} s: {problem[1]}")
        return inputs

    def _input_kinds(self, config: Mapping[str, Any]) -> list[Kind]:
        ids: Ids = {name: Everything() for name in self._package.spec.events}
        return kinds(self._package.spec.inputs, config, ids)

    def _inputs(self, scenario: SystemScenario, open_program: OpenProgram) -> list[list[Any]]:
        if scenario.inputs is not None:
            return scenario.inputs
        key = json.dumps([scenario.spec.seed, scenario.spec.duration, scenario.config], sort_keys=True)
        with self._lock:
            if key in self._workloads:
                return self._workloads[key]
        made = self._made(scenario, open_program)
        with self._lock:
            self._workloads[key] = made
            while len(self._workloads) > _WORKLOADS_KEPT:
                self._workloads.popitem(last=False)
        return made

    def _made(self, scenario: SystemScenario, open_program: OpenProgram) -> list[list[Any]]:
        of = self._input_kinds(scenario.config)
        program = Program(WORKLOAD_FILE, self._package.workload, "quintain_system.guest.workload", scenario.spec.seed)
        duration = scenario.spec.duration
        workload = open_program(
            program,
            {
                "config": dict(scenario.config),
                "seed": scenario.spec.seed,
                "duration": duration,
                "inputs": [[kind.name, list(kind.fields)] for kind in of],
            },
        )
        inputs: list[list[Any]] = []
        last = 0.0
        while True:
            chunk = workload.ask(WORKLOAD_CHUNK)
            if not isinstance(chunk, list):
                raise _wrong(f"its process answered {chunk!r:.200}")
            for record in chunk:
                if type(record) is not list or not record or type(record[0]) not in (int, float):
                    raise _wrong(f"an input is (time, Record), not {record!r:.200}")
                number = number_of(record[1:], of)
                if number is None:
                    raise _wrong(f"an input of no kind: {record!r:.200}")
                if not last <= record[0] <= duration:
                    raise _wrong(f"an input at {record[0]} after one at {last}; must ascend, up to {duration:g}")
                problem = of[number].problem(record[1:])
                if problem is not None:
                    raise _wrong(f"at {record[0]:g} s: {problem[1]}")
                last = record[0]
                inputs.append(record)
            if len(inputs) > MAX_INPUTS:
                raise _wrong(f"more than {MAX_INPUTS} inputs in one scenario")
            if len(chunk) < WORKLOAD_CHUNK:
                return inputs


def in_model(scenario: str, model: str) -> str:
    """A scenario's name in one of the package's models: its own in ``model.py``, ``scenario@model`` in another."""
    return scenario if model == OWN_MODEL else f"{scenario}@{model}"


def _wrong(message: str) -> ModelFault:
    return ModelFault(WORKLOAD_FILE, PolicyFailure(FailureKind.REJECTED, message, "inputs"))


def _spec_of(scenario: Scenario) -> SystemScenario:
    if not isinstance(scenario.spec, SystemScenario):
        raise InvalidInput("scenario", f"{scenario.name!r} does not belong to this simulator")
    return scenario.spec
