"""The token bucket and the circuit breaker, on a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quintain_generator.usecases.rate_limits import Breaker, TokenBucket


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_tokens_come_back_at_the_rate_of_the_minute() -> None:
    clock = Clock()
    bucket = TokenBucket(600, clock)
    bucket.take(600)
    assert bucket.wait_seconds(100) == 10.0
    clock.now += 10
    assert bucket.wait_seconds(100) == 0.0


def test_a_request_larger_than_the_bucket_waits_for_a_full_one_and_leaves_a_debt() -> None:
    clock = Clock()
    bucket = TokenBucket(600, clock)
    assert bucket.wait_seconds(1200) == 0.0
    bucket.take(1200)
    assert bucket.wait_seconds(1) == (600 + 1) / 10


def test_what_was_not_used_is_given_back() -> None:
    bucket = TokenBucket(600, Clock())
    bucket.take(600)
    bucket.give_back(550)
    assert bucket.wait_seconds(550) == 0.0


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0, 30)), max_size=60))
def test_no_more_is_taken_in_any_stretch_than_a_bucketful_and_the_rate(requests: list[tuple[int, float]]) -> None:
    clock = Clock()
    bucket = TokenBucket(600, clock)
    taken = 0
    for tokens, pause in requests:
        clock.now += pause
        if bucket.wait_seconds(tokens) == 0.0:
            bucket.take(tokens)
            taken += tokens
        assert taken <= 600 + (clock.now - 100.0) * 10 + 1e-6


def opened() -> tuple[Breaker, Clock]:
    clock = Clock()
    breaker = Breaker(3, 30.0, clock)
    for _ in range(3):
        breaker.end_call(breaker.begin_call(), success=False)
    return breaker, clock


def test_the_breaker_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(3, 30.0, Clock())
    for success in (False, False, True, False, False, None):
        breaker.end_call(breaker.begin_call(), success)
        assert breaker.wait_seconds() == 0.0
    breaker.end_call(breaker.begin_call(), success=False)
    assert breaker.wait_seconds() == 30.0


def test_after_the_cooldown_one_probe_is_let_through_and_others_wait_for_it_however_long_it_takes() -> None:
    breaker, clock = opened()
    clock.now += 30
    assert breaker.wait_seconds() == 0.0
    probe = breaker.begin_call()
    assert probe
    for _ in range(5):
        assert breaker.wait_seconds() == 30.0
        clock.now += 100
    breaker.end_call(probe, success=True)
    assert breaker.wait_seconds() == 0.0
    assert not breaker.is_open


def test_a_probe_that_fails_closes_nothing_and_one_that_says_nothing_makes_room_for_the_next() -> None:
    breaker, clock = opened()
    clock.now += 30
    breaker.end_call(breaker.begin_call(), success=False)
    assert breaker.wait_seconds() == 30.0
    clock.now += 30
    breaker.end_call(breaker.begin_call(), success=None)
    assert breaker.is_open
    assert breaker.wait_seconds() == 0.0


def test_a_call_from_before_does_not_end_the_probe_of_another() -> None:
    breaker, clock = opened()
    clock.now += 30
    assert breaker.begin_call()
    breaker.end_call(False, success=None)
    breaker.end_call(False, success=False)
    clock.now += 60
    assert breaker.wait_seconds() == 30.0
