"""Requests that are wrong as written: every wrong field is named, whatever number it holds."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf import struct_pb2

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain.generator.v1 import generator_pb2
from quintain.service.paging import decode_token, encode_token
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_controller.rpc.checks import check_budget, check_spec, check_update

NOT_FINITE = (math.nan, math.inf, -math.inf)


def refused(spec: pb.SearchSpec, request_id: str = "") -> list[str]:
    with pytest.raises(InvalidArgument) as error:
        check_spec(spec, request_id)
    assert all(violation.message in error.value.message for violation in error.value.violations)
    return [violation.field for violation in error.value.violations]


@pytest.mark.parametrize("bound", ["usd", "wall_seconds"])
@pytest.mark.parametrize("value", [*NOT_FINITE, -1.0, 0.0, -0.0, 1e-12, 1e300])
def test_a_bound_in_dollars_or_seconds_is_a_positive_number(bound: str, value: float) -> None:
    budget = pb.Budget(**{bound: value})
    assert refused(pb.SearchSpec(budget=budget)) == [f"spec.budget.{bound}"]
    with pytest.raises(InvalidArgument, match=f"^budget.{bound}: "):
        check_budget(budget)


@pytest.mark.parametrize("bound", ["tokens", "candidates", "verifications"])
@pytest.mark.parametrize("value", [-1, 0, 2**62])
def test_a_bound_that_counts_is_a_positive_number(bound: str, value: int) -> None:
    assert refused(pb.SearchSpec(budget=pb.Budget(**{bound: value}))) == [f"spec.budget.{bound}"]


@pytest.mark.parametrize("value", [*NOT_FINITE, -1.0])
def test_other_numbers_are_finite_and_not_negative(value: float) -> None:
    spec = pb.SearchSpec(
        assume_usd_per_generation=value,
        allowance=generator_pb2.Allowance(max_cost_usd=value, max_output_tokens=-1),
        limits=verifier_pb2.Limits(wall_seconds=value, memory_bytes=-1),
        parallel_generations=-1,
        parallel_verifications=257,
    )
    assert set(refused(spec)) == {
        "spec.assume_usd_per_generation",
        "spec.allowance.max_cost_usd",
        "spec.allowance.max_output_tokens",
        "spec.limits.wall_seconds",
        "spec.limits.memory_bytes",
        "spec.parallel_generations",
        "spec.parallel_verifications",
    }


@pytest.mark.parametrize("value", NOT_FINITE)
def test_options_are_finite_however_deep(value: float) -> None:
    options = struct_pb2.Struct()
    options.update({"fine": 1.5, "deep": {"list": [1.0, {"bad": value}]}})
    assert refused(pb.SearchSpec(strategy_options=options)) == ["spec.strategy_options.deep.list.bad"]


def test_texts_have_an_end_and_can_be_shown() -> None:
    assert refused(pb.SearchSpec(title="x" * 201, suite="a\0b"), "\n") == ["request_id", "spec.suite", "spec.title"]


def test_seed_policies_and_backends_are_real_ones() -> None:
    policies = [type_pb2.Policy(source=source) for source in ("x = 1\n", " ", "x = \0")]
    assert refused(pb.SearchSpec(seed_policies=policies, backends=["a", "b", "a"])) == [
        "spec.seed_policies[1]",
        "spec.seed_policies[2]",
        "spec.backends",
    ]
    assert refused(pb.SearchSpec(seed_policies=policies[:1] * 101)) == ["spec.seed_policies"]


def test_an_ordinary_spec_passes() -> None:
    check_spec(pb.SearchSpec(simulator="faas", budget=pb.Budget(usd=5.0, candidates=200), title="Süß"), "r1")


TOKEN = encode_token("candidates of s1", 5)


@pytest.mark.parametrize(
    "token",
    ["x", "é", "====", "bnVsbA==", TOKEN[:-1], TOKEN + "!", encode_token("candidates of s2", 5)]
    + [encode_token("candidates of s1", *p) for p in ([], [1, 2], ["5"], [5.0], [2**70], [-(2**70)], [True])]
    + [encode_token("candidates of s1", value) for value in NOT_FINITE],
)
def test_a_page_token_of_somebody_elses_making_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        decode_token(token, "candidates of s1", int)


def test_a_page_token_says_where_the_page_ended() -> None:
    assert decode_token(TOKEN, "candidates of s1", int) == (5,)
    assert decode_token(encode_token("searches", 0.1, "s1"), "searches", float, str) == (0.1, "s1")


def test_seed_policies_are_bounded_in_sum() -> None:
    """Each below the verifier's own limit, and a record that no list could hold."""
    seeds = [type_pb2.Policy(source="def decide(n):\n    return n\n#" + "x" * 250_000) for _ in range(20)]
    assert refused(pb.SearchSpec(seed_policies=seeds)) == ["spec.seed_policies"]
    check_spec(pb.SearchSpec(seed_policies=seeds[:16]), "")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "nothing to change"),
        ({"title": "x" * 201}, "title: 201 characters"),
        ({"title": "a\nb"}, "title"),
        ({"notes": "x" * 20_001}, "notes: 20001 characters"),
        ({"notes": "a\0"}, "NUL"),
        *(({"add_tags": ["fine", tag]}, "one printable word") for tag in ("", "two words", " a", "a\n", "x" * 51)),
    ],
)
def test_labels_that_cannot_be_are_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        check_update(pb.UpdateSearchRequest(search_id="s", **fields))


def test_a_title_may_be_taken_away_and_notes_have_lines() -> None:
    check_update(pb.UpdateSearchRequest(title=""))
    check_update(pb.UpdateSearchRequest(notes="two\nlines", add_tags=["größe", "a-b"], remove_tags=["two words"]))
