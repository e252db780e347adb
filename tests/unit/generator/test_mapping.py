"""Messages of the contract become plain objects and back without loss; wrong ones are refused by field."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.generator import request

from quintain.errors import InvalidArgument
from quintain.generator.v1 import generator_pb2 as pb
from quintain.plugins.backend import Attempt, Example, Operator, ScenarioFacts, Task
from quintain.plugins.simulator import (
    Baseline,
    Description,
    Descriptor,
    Direction,
    Fidelity,
    Objective,
    RequiredDefinition,
)
from quintain_generator.adapters.remote_messages import task_message
from quintain_generator.domain.generation import GenerationOutcome
from quintain_generator.rpc.from_proto import request_from, task_from
from quintain_generator.rpc.to_proto import OPERATORS, OUTCOMES

text = st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=12)
named = text.filter(bool)
number = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none() | number
metrics = st.dictionaries(text, number, max_size=3)


def built(kind: type[Any], /, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """`kind` with a value for each of its fields: a new field that is not mapped is found out here."""
    assert set(values) == {field.name for field in fields(kind)}
    return st.builds(kind, **values)


def one(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(values)


objectives = built(Objective, name=text, metric=text, unit=text, direction=st.sampled_from(Direction), description=text)
examples = built(
    Example, candidate_id=text, source=named, score=maybe, normalized=maybe, feedback=text,
    scenario_values=metrics,
)  # fmt: skip
descriptions = built(
    Description,
    name=named, title=text, build=text, policy_guide=text,
    required_definitions=one(built(RequiredDefinition, kind=text, name=text, description=text)),
    objectives=one(objectives), suites=one(text),
    baselines=one(built(Baseline, name=text, description=text, source=text)),
    descriptors=one(built(Descriptor, metric=text, edges=st.tuples(number, number))), grammar=text,
    calling_modes=one(text), hints=text, unavailable_suites=st.dictionaries(text, text, max_size=2),
    fidelity=st.one_of(st.none(), st.sampled_from(Fidelity)), fidelity_reason=text,
)  # fmt: skip
tasks = built(
    Task,
    simulator=descriptions, objective=objectives, suite_description=text, operator=st.sampled_from(Operator),
    seed=st.integers(0, 2**64 - 1), parents=st.tuples(examples, examples), inspirations=one(examples),
    history=one(
        built(
            Attempt, number=st.integers(0, 2**31 - 1), candidate_id=text, score=maybe, summary=text,
            scenario_values=metrics,
        )
    ),
    lessons=one(text), best_score=maybe, bound_score=maybe, number=st.integers(0, 2**31 - 1),
    carried_lessons=one(text),
    scenarios=one(built(ScenarioFacts, name=text, notes=text, baseline=maybe, bound=maybe, floors=metrics)),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(tasks)
def test_a_task_survives_the_way_there_and_back(task: Task) -> None:
    assert task_from(pb.Task.FromString(task_message(task).SerializeToString())) == task


def test_every_operator_and_outcome_has_its_message_and_the_other_way_round() -> None:
    assert set(OPERATORS) == set(Operator)
    assert set(OUTCOMES) == set(GenerationOutcome)
    assert set(OPERATORS.values()) == set(pb.Operator.values()) - {0}
    assert set(OUTCOMES.values()) == set(pb.Outcome.values()) - {0}


def test_the_digest_names_the_task_and_not_the_id() -> None:
    one, same, other = request("a", "llm"), request("b", "llm"), request("a", "llm", seed=2)
    digests = [request_from(r).task_digest for r in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def broken(**changes: object) -> pb.GenerateRequest:
    message = request("r1")
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = message
        for name in parents:
            target = getattr(target, name)
        if isinstance(value, list):
            target.ClearField(last)  # type: ignore[arg-type]  # a path of names
        else:
            setattr(target, last, value)
    return message


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (broken(request_id=""), "request_id"),
        (broken(request_id="a b"), "request_id"),
        (broken(request_id="x" * 129), "request_id"),
        (broken(allowance__max_output_tokens=-1), "allowance.max_output_tokens"),
        (broken(allowance__max_cost_usd=-0.5), "allowance.max_cost_usd"),
        (broken(allowance__max_cost_usd=float("nan")), "allowance.max_cost_usd"),
        (broken(allowance__effort="extreme"), "allowance.effort"),
        (broken(task__operator=pb.OPERATOR_UNSPECIFIED), "task.operator"),
        (broken(task__operator=pb.OPERATOR_CROSSOVER), "task.parents"),
        (broken(task__simulator__name=""), "task.simulator"),
        (broken(task__objective=[]), "task.objective.direction"),
    ],
)
def test_a_wrong_field_is_named(message: pb.GenerateRequest, field: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        request_from(message)
    assert [violation.field for violation in error.value.violations] == [field]
