"""Messages of the contract become plain objects and back without loss; wrong ones are refused by field."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.generator import request

from quintain.errors import InvalidArgument
from quintain.generator.v1 import generator_pb2 as pb
from quintain.plugins.backend import Attempt, Example, Operator, Task
from quintain.plugins.simulator import Baseline, Description, Descriptor, Direction, Objective, RequiredDefinition
from quintain_generator.domain.generation import Outcome
from quintain_generator.rpc.from_proto import request_from, task_from
from quintain_generator.rpc.to_proto import OPERATORS, OUTCOMES, task_to

text = st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=12)
number = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none() | number
objectives = st.builds(Objective, text, text, text, st.sampled_from(Direction), text)
examples = st.builds(
    Example, text, text.filter(bool), maybe, maybe, text, st.dictionaries(text, number, max_size=3)
)  # fmt: skip
descriptions = st.builds(
    Description,
    name=text.filter(bool), title=text, build=text, policy_guide=text,
    required_definitions=st.tuples(st.builds(RequiredDefinition, text, text, text)),
    objectives=st.tuples(objectives), suites=st.tuples(text),
    baselines=st.tuples(st.builds(Baseline, text, text, text)),
    descriptors=st.tuples(st.builds(Descriptor, text, st.tuples(number, number))), grammar=text, hints=text,
)  # fmt: skip
tasks = st.builds(
    Task,
    simulator=descriptions, objective=objectives, suite_description=text, operator=st.sampled_from(Operator),
    seed=st.integers(0, 2**64 - 1), parents=st.tuples(examples, examples), inspirations=st.tuples(examples),
    history=st.tuples(st.builds(Attempt, st.integers(0, 2**31 - 1), text, maybe, text)), lessons=st.tuples(text),
    best_score=maybe, bound_score=maybe,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(tasks)
def test_a_task_survives_the_way_there_and_back(task: Task) -> None:
    assert task_from(pb.Task.FromString(task_to(task).SerializeToString())) == task


def test_every_operator_and_outcome_has_its_message_and_the_other_way_round() -> None:
    assert set(OPERATORS) == set(Operator)
    assert set(OUTCOMES) == set(Outcome)
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
