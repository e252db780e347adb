"""Pauses between tries."""

from hypothesis import given
from hypothesis import strategies as st

from quintain.backoff import Backoff


def test_pauses_double_up_to_the_longest() -> None:
    assert [Backoff(0.5, 3.0).seconds(failures) for failures in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


@given(st.integers(1, 10**9), st.floats(1e-3, 10), st.floats(10, 1e4))
def test_no_number_of_failures_is_too_many(failures: int, first: float, most: float) -> None:
    """A client that watches for days counts thousands."""
    assert first <= Backoff(first, most).seconds(failures) <= most
