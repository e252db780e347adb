"""Kendall's tau against its definition and known values."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.statistics import bootstrap_tau, kendall_tau

rankings = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12)


@pytest.mark.parametrize(
    ("first", "second", "tau"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        # The textbook's twelve: Abdi, The Kendall Rank Correlation Coefficient, 2007: four things, 4 of 6 pairs agree.
        ([1, 2, 3, 4], [1, 3, 2, 4], 4 / 6),
        # With ties, by hand: 5 pairs agree, none disagrees, one is tied in the first only.
        ([1, 1, 2, 3], [1, 2, 3, 4], 5 / math.sqrt(5 * 6)),
    ],
)
def test_known_values(first: list[float], second: list[float], tau: float) -> None:
    assert kendall_tau(first, second) == pytest.approx(tau)


@given(rankings)
def test_it_is_the_normalised_inner_product_of_the_pairs_signs(pairs: list[tuple[int, int]]) -> None:
    """Another way to the same number: tau-b is the cosine between the two matrices of signs."""
    first, second = zip(*pairs, strict=True)
    signs = [
        [math.copysign(1, values[i] - values[j]) if values[i] != values[j] else 0.0
         for i, j in itertools.product(range(len(values)), repeat=2)]
        for values in (first, second)
    ]  # fmt: skip
    norms = [math.sqrt(sum(s * s for s in row)) for row in signs]
    tau = kendall_tau(first, second)
    if not all(norms):
        assert tau is None
    else:
        assert tau == pytest.approx(sum(a * b for a, b in zip(*signs, strict=True)) / (norms[0] * norms[1]))


@given(rankings)
def test_turning_one_around_turns_the_sign(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    tau = kendall_tau(first, second)
    assert kendall_tau(first, [-value for value in second]) == (None if tau is None else pytest.approx(-tau))


def test_the_interval_is_the_same_every_time_and_holds_the_estimate() -> None:
    first, second = list(range(10)), [0, 2, 1, 3, 5, 4, 6, 8, 7, 9]
    interval = bootstrap_tau(first, second, seed=1)
    assert interval is not None
    assert interval == bootstrap_tau(first, second, seed=1)
    assert interval[0] <= (kendall_tau(first, second) or 0) <= interval[1]
    assert bootstrap_tau([1.0, 1.0], [2.0, 2.0], seed=1) is None
