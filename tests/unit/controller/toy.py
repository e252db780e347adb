"""A search without services: plans become candidates by a pure function, so that every order can be tried."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

from quintain_controller.domain.model import (
    REQUEST_VERSION,
    Aggregation,
    BackendProfile,
    Budget,
    Candidate,
    CandidateState,
    Charge,
    Direction,
    GenerationOutcome,
    PartScore,
    SearchContext,
    SearchSpec,
    VerdictStatus,
)

SCENARIOS = ("s1", "s2", "s3")
TARGETS = (0.6, 0.7, 0.8)

CONTEXT = SearchContext(
    simulator=b"",
    objective=b"",
    simulator_build="b",
    suite_description="",
    direction=Direction.MAXIMIZE,
    aggregation=Aggregation.MEAN_NORMALIZED,
    train=SCENARIOS,
    held_out=(),
    descriptors=(("x", (0.25, 0.5, 0.75)),),
    backends=(
        BackendProfile("cheap", ("full", "diff", "crossover", "repair"), True, 1_000_000),
        BackendProfile("dear", ("full", "repair"), True, 50_000_000),
    ),
    default_policy="x = 0",
    request_version=REQUEST_VERSION,
)


def make_spec(strategy: str, *, window: int = 4, budget: Budget | None = None, seeds: int = 1) -> SearchSpec:
    return SearchSpec(
        simulator="toy",
        suite="toy",
        objective="o",
        strategy=strategy,
        strategy_options={},
        backends=("cheap", "dear"),
        budget=budget or Budget(candidates=40),
        seed=5,
        seed_policies=("x = 0",) * seeds,
        parallel_generations=4,
        parallel_verifications=4,
        window=1 if strategy == "chain" else window,
    )


class Toy:
    """Makes each candidate's outcome from its plan and its parents' positions alone."""

    def __init__(self) -> None:
        self._x: dict[int, float] = {}

    def settle(self, candidate: Candidate) -> Candidate:
        plan = candidate.plan
        if plan is None:
            self._x[candidate.number] = 0.0
            return verdict(candidate, 0.0)
        rng = random.Random(plan.seed)
        parents = [self._x.get(number, 0.0) for number in plan.parents]
        x = min(1.0, max(0.0, sum(parents) / len(parents) + rng.gauss(0.0, 0.15)))
        self._x[candidate.number] = x
        charge = Charge(candidate.reserved.usd_nano // 2, tokens=rng.randrange(100, 1000))
        draw = rng.random()
        if draw < 0.1:
            return replace(
                candidate,
                state=CandidateState.REJECTED,
                outcome=GenerationOutcome.REFUSED,
                charge=charge,
                summary="refused",
            )
        done = verdict(replace(candidate, outcome=GenerationOutcome.OK, charge=charge), x)
        if draw < 0.25:
            return replace(done, status=VerdictStatus.POLICY_FAILED, rule="broke", summary="rejected: broke")
        return done


def verdict(candidate: Candidate, x: float) -> Candidate:
    values = {name: 1.0 - abs(x - target) for name, target in zip(SCENARIOS, TARGETS, strict=True)}
    mean = sum(values.values()) / len(values)
    return replace(
        candidate,
        state=CandidateState.VERIFIED,
        status=VerdictStatus.OK,
        train=PartScore(mean, 0.3, 1.0, mean, values),
        metrics={"x": x},
        behavior=hashlib.sha256(repr(x).encode()).hexdigest(),
        summary=f"score {mean}",
    )
