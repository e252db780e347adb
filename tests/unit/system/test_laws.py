"""How long steps take, read from recorded times: what is exact in them is found exactly."""

from __future__ import annotations

import random

import pytest

from quintain_system.fit.laws import Fields, Sample, law_of

FIELDS = Fields(names=frozenset(), grouping=frozenset({"kind", "server"}), given=frozenset({"cpu"}))


def samples(seconds_of, count: int = 80) -> list[Sample]:  # type: ignore[no-untyped-def]
    chance = random.Random(1)
    made = []
    for number in range(count):
        known = {
            "it.kind": "query" if number % 5 == 0 else "batch",
            "it.cpu": chance.choice((0.5, 1.0, 2.0, 2.5, 4.0, 6.0, 9.0)),
            "it.gb": chance.uniform(1.0, 50.0),
            "it.server": number % 4,
        }
        made.append(Sample(seconds_of(known), known, float(number), []))
    return made


def test_one_class_takes_what_it_is_given_into_account_and_no_more_than_a_limit() -> None:
    law = law_of(samples(lambda it: 1.75 + 15 / min(it["it.cpu"], 3) if it["it.kind"] == "query" else 3.75), FIELDS)
    (case,) = law.cases
    assert (case.attribute, case.value) == ("it.kind", "query")
    ((feature, seconds),) = case.features.items()
    assert feature.startswith("1 / min(it.cpu, ")
    assert float(feature.rpartition(", ")[2].rstrip(")")) == pytest.approx(3.0, rel=0.03)
    assert case.base == pytest.approx(1.75, rel=0.1)
    assert seconds == pytest.approx(15, rel=0.03)
    assert law.base == pytest.approx(3.75)
    assert law.features == {}
    assert law.explained > 0.999


def test_where_all_take_alike_long_nobody_has_a_law_of_its_own() -> None:
    law = law_of(samples(lambda it: 0.5 + 0.05 * it["it.gb"]), FIELDS)
    assert law.cases == ()
    assert law.features == {"it.gb": pytest.approx(0.05)}
    assert law.groups == {}


def test_rounding_is_not_read_as_a_difference_between_servers() -> None:
    law = law_of(samples(lambda it: 3.75 + (0.01 if it["it.server"] == 2 else 0.0)), FIELDS)
    assert (law.cases, law.groups, law.features) == ((), {}, {})


def test_slow_servers_are_a_factor() -> None:
    law = law_of(samples(lambda it: (2.0 if it["it.server"] == 3 else 1.0) * (0.5 + 0.1 * it["it.gb"])), FIELDS)
    slow = law.cases[0].features["it.gb"] / law.features["it.gb"] if law.cases else law.groups["it.server"][3]
    assert slow == pytest.approx(2.0, rel=0.05)
