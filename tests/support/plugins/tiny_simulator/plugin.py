"""A simulator that takes milliseconds: guess (7 * n) % 10 for each number n. A plugin like any other, for tests.

The scenario `fragile` has an engine with faults: decision 13 kills its process, 14 raises, 15 computes for ever.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping

from quintain.plugins.simulator import (
    Aggregation,
    Baseline,
    Description,
    Direction,
    FailureKind,
    Group,
    InvalidInput,
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
    Suite,
    SuiteEntry,
    TimelineEvent,
)

MODES = ("one_by_one", "all_at_once")
BUILD = "build-1"
OBJECTIVES = (
    Objective("hits", "hits", "hits", Direction.MAXIMIZE, "numbers guessed right"),
    Objective("misses", "misses", "misses", Direction.MINIMIZE, "numbers guessed wrong"),
)
BASELINES = (
    Baseline("zero", "always 0", "def decide(n):\n    return 0\n"),
    Baseline("digit", "the last digit", "def decide(n):\n    return n % 10\n"),
)
SUITES = {
    "smoke": Suite(
        "smoke",
        "three quick ones",
        "hits",
        Aggregation.MEAN_NORMALIZED,
        (
            SuiteEntry("long", Part.TRAIN),
            SuiteEntry("short", Part.TRAIN),
            SuiteEntry("secret", Part.HELD_OUT),
        ),
    )
}


def _scenario(name: str, steps: int, seed: int, *, fragile: bool = False) -> Scenario:
    spec = {"steps": steps, "seed": seed, "fragile": fragile}
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    return Scenario(name, digest, f"{steps} numbers", spec, cost=float(steps))


SCENARIOS = {
    s.name: s
    for s in (
        _scenario("long", 40, 1),
        _scenario("short", 10, 2),
        _scenario("secret", 20, 3),
        _scenario("fragile", 10, 4, fragile=True),
    )
}


class TinySimulator:
    guest_module = "tiny_simulator.guest"
    guest_source = ""

    def describe(self) -> Description:
        return Description(
            name="tiny",
            title="Guess the number",
            build=BUILD,
            policy_guide="Define `decide(n)`; return `(7 * n) % 10`.",
            required_definitions=(RequiredDefinition("function", "decide", "the guess for a number"),),
            objectives=OBJECTIVES,
            suites=tuple(SUITES),
            baselines=BASELINES,
            calling_modes=MODES,
        )

    def suite(self, name: str) -> Suite:
        if name not in SUITES:
            raise InvalidInput("suite", f"{name!r} is unknown; known are: {', '.join(SUITES)}")
        return SUITES[name]

    def scenario(self, name: str) -> Scenario:
        if name not in SCENARIOS:
            raise InvalidInput("scenario", f"{name!r} is unknown; known are: {', '.join(SCENARIOS)}")
        return SCENARIOS[name]

    def inline_scenario(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        if set(files) != {"scenario.json"}:
            raise InvalidInput("files", f"found {sorted(files)}; must be scenario.json")
        try:
            spec = json.loads(files["scenario.json"])
            return _scenario(name, int(spec["steps"]), int(spec["seed"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput("scenario.json:1", f"needs integers steps and seed: {error!r}") from error

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        mode = options.calling_mode or MODES[-1]
        if mode not in MODES:
            raise InvalidInput("calling_mode", f"{mode!r} is unknown; known are: {', '.join(MODES)}")
        spec = scenario.spec
        assert isinstance(spec, dict)
        numbers = [(spec["seed"] * 1_000_003 + i * 7919) % 997 for i in range(spec["steps"])]
        decisions: list[int] = []
        failure = None
        try:
            policy = open_policy({"steps": spec["steps"]})
            batches = [numbers] if mode == "all_at_once" else [[n] for n in numbers]
            for batch in batches:
                answer = policy.ask(batch)
                if not isinstance(answer, list) or len(answer) != len(batch):
                    raise PolicyError(PolicyFailure(FailureKind.PROTOCOL, "not one answer for each number"))
                for decision in answer:
                    if spec["fragile"]:
                        _break(decision)
                    if type(decision) is not int or not 0 <= decision <= 9:
                        raise PolicyError(
                            PolicyFailure(
                                FailureKind.REJECTED,
                                f"decided {decision!r}; must be an int from 0 to 9",
                                rule="not_a_digit",
                                step=len(decisions),
                                time_seconds=float(len(decisions)),
                            )
                        )
                    decisions.append(decision)
        except PolicyError as error:
            failure = error.failure
        right = sum(d == (7 * n) % 10 for d, n in zip(decisions, numbers, strict=False))
        wrong = [(i, d) for i, (d, n) in enumerate(zip(decisions, numbers, strict=False)) if d != (7 * n) % 10]
        return Outcome(
            scenario=scenario.name,
            metrics={"hits": float(right), "misses": float(len(numbers) - right)},
            groups=(Group("all", {"numbers": float(len(numbers)), "hits": float(right)}),),
            decisions_digest=hashlib.sha256(json.dumps(decisions).encode()).hexdigest(),
            calling_mode=mode,
            failure=failure,
            failures_by_reason={"miss": len(wrong)} if wrong else {},
            timeline=tuple(TimelineEvent(float(i), f"{scenario.name}: guessed {d}") for i, d in wrong[:5]),
            decision_log=tuple(f"{i}: {d}" for i, d in enumerate(decisions)),
            detail=json.dumps(decisions) if options.timeline else "",
        )

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        names = [o.name for o in OBJECTIVES]
        if objective not in names:
            raise InvalidInput("objective", f"{objective!r} is unknown; known are: {', '.join(names)}")
        spec = scenario.spec
        assert isinstance(spec, dict)
        steps = float(spec["steps"])
        failed = outcome.failure is not None
        hits = 0.0 if failed else outcome.metrics["hits"]
        value, bound = (hits, steps) if objective == "hits" else (steps - hits, 0.0)
        return ScenarioScore(value, outcome.metrics.get(objective), hits / steps, baseline.metrics[objective], bound)


def _break(decision: object) -> None:
    if decision == 13:
        os._exit(1)
    if decision == 14:
        raise RuntimeError("the engine has a bug")
    while decision == 15:
        pass


simulator = TinySimulator()
