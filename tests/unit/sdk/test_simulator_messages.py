"""The simulators' data comes through the contract's messages as it was: every field of every class, also new ones."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.plugins.simulator import Description, Outcome, PolicyFailure, Scenario, ScenarioScore, Suite
from quintain.wire import simulator_messages as messages


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type: for a class of the plug-in interface, with every one of its fields given."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{field.name: values_of(hints[field.name]) for field in fields(kind)})  # type: ignore[arg-type]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values_of, arguments))
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=3)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=10),
        int: st.integers(0, 2**31 - 1),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return simple[kind]


def suite_round_trip(suite: Suite) -> Suite:
    def scenario(name: str) -> Scenario:
        return Scenario(name=name, digest="digest", description="words", spec=None)

    return messages.suite_from(messages.suite_message(suite, scenario))


ROUND_TRIPS: dict[type, Any] = {
    Description: lambda d: messages.description_from(messages.description_message(d)),
    Outcome: lambda o: messages.outcome_from(messages.outcome_message(o)),
    ScenarioScore: lambda s: messages.score_from(messages.score_message(s)),
    PolicyFailure: lambda f: messages.failure_from(messages.failure_message(f)),
    Suite: suite_round_trip,
}


@pytest.mark.parametrize("kind", ROUND_TRIPS, ids=lambda kind: kind.__name__)
def test_nothing_is_lost_on_the_way(kind: type) -> None:
    @settings(deadline=None, max_examples=60)
    @given(values_of(kind))
    def check(value: Any) -> None:
        assert ROUND_TRIPS[kind](value) == value

    check()
