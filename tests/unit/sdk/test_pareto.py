"""The Pareto front, against its definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quintain.pareto import dominates, front

POINTS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=20)


@given(POINTS)
def test_it_is_what_nothing_dominates_and_of_equal_points_the_first(points: list[tuple[int, int, int]]) -> None:
    expected = [
        index
        for index, point in enumerate(points)
        if not any(dominates(other, point) for other in points) and point not in points[:index]
    ]
    assert front(dict(enumerate(points))) == expected


def test_as_good_everywhere_is_not_better() -> None:
    assert not dominates((1, 2), (1, 2))
    assert dominates((1, 3), (1, 2))
    assert not dominates((1, 3), (2, 2))
