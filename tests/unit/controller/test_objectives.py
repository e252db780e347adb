"""Searches of several objectives: what is kept, and from what they go on."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.errors import InvalidArgument
from quintain.plugins.strategy import BackendInfo, Operator, Problem, Result
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_controller.adapters.verifier import _axis, decode_verification
from quintain_controller.domain.model import Axis, Direction
from quintain_controller.domain.strategies.archive import ObjectiveFront
from quintain_controller.domain.strategies.evolve import Evolve, EvolveOptions

KNOWN = {
    "throughput": type_pb2.Objective(name="throughput", metric="throughput", direction=type_pb2.DIRECTION_MAXIMIZE),
    "latency": type_pb2.Objective(name="latency", metric="penalised", unit="s", direction=type_pb2.DIRECTION_MINIMIZE),
}


def test_a_further_objective_is_one_of_the_simulators_or_a_metric_with_its_direction() -> None:
    assert _axis("latency", KNOWN, "throughput") == Axis("latency", "penalised", Direction.MINIMIZE, "s")
    name = "query.p99_latency_seconds:min"
    assert _axis(name, KNOWN, "throughput") == Axis(name, "query.p99_latency_seconds", Direction.MINIMIZE)
    for wrong in ("throughput", "cost", "cost:less", ":min"):
        with pytest.raises(InvalidArgument, match=r"another objective \(latency\) nor METRIC:min"):
            _axis(wrong, KNOWN, "throughput")


def test_a_metric_that_a_scenario_lacks_has_no_mean_also_of_a_class() -> None:
    """A policy that completes nothing in one scenario has no latency there, and would look faster for it."""

    def scenario(name: str, seconds: float | None) -> pb.ScenarioVerdict:
        metrics = [type_pb2.Metric(name="seconds", value=seconds)] if seconds is not None else []
        return pb.ScenarioVerdict(
            scenario=name,
            part=type_pb2.PART_TRAIN,
            ran=True,
            metrics=[type_pb2.Metric(name="cost", value=2.0), *metrics],
            groups=[pb.Group(name="query", metrics=metrics)],
        )

    def means(*seconds: float | None) -> dict[str, float]:
        verdict = pb.Verdict(status=pb.VERDICT_STATUS_OK)
        verdict.scenarios.extend(scenario(f"s{index}", value) for index, value in enumerate(seconds))
        return dict(decode_verification(pb.VerifyResult(verdict=verdict)).complete_metrics)

    assert means(1.0, 3.0) == {"cost": 2.0, "seconds": 2.0, "query.seconds": 2.0}
    assert means(1.0, None) == {"cost": 2.0}


def result(number: int, *objectives: float) -> Result:
    score = objectives[0] if objectives else 0.1
    return Result(number, (score, score), values=(score,), behavior=f"b{number}", objectives=objectives)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=60))
@settings(max_examples=50, deadline=None)
def test_the_kept_front_is_bounded_holds_its_ends_and_nothing_that_is_beaten(points: list[tuple[float, float]]) -> None:
    kept = ObjectiveFront(most=8)
    for number, point in enumerate(points):
        kept.add(result(number, *point))
        kept.add(result(number))  # without a value of every objective
    assert len(kept.members) <= 8
    for member in kept.members:
        assert not any(
            other.objectives[0] > member.objectives[0] and other.objectives[1] > member.objectives[1]
            for other in kept.members
        )
    if points:
        assert max(m.objectives[0] for m in kept.members) == max(p[0] for p in points)
        assert max(m.objectives[1] for m in kept.members) == max(p[1] for p in points)


def test_a_search_of_several_objectives_starts_from_the_front_as_well_as_from_the_best() -> None:
    def parents(second: bool) -> set[int]:
        problem = Problem((BackendInfo("a", tuple(Operator), 0.0),), ("s",), (), seeds=1, planned=100)
        strategy = Evolve(problem, EvolveOptions(population=2, repair=0.0, pareto=0.5, exploit=0.5))
        for number in range(8):  # the better the score, the worse the second objective
            score = 0.1 + number / 10
            strategy.tell(result(number, score, -score) if second else result(number, score))
        return {strategy.ask(number, random.Random(number).getrandbits(64)).parents[0] for number in range(8, 80)}

    assert 1 in parents(True)
    assert 1 not in parents(False)
