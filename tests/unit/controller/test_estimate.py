"""What is reserved for a request, and what a budget is good for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.controller.toy import make_spec

from quintain_controller.domain.estimate import (
    Habits,
    Pace,
    estimate,
    reserved_tokens,
    reserved_usd,
    too_small,
)
from quintain_controller.domain.model import NANO, Allowance, BackendProfile, Budget, Charge

# As it was found: three calls at the largest input and output may cost 2.04 dollars, where 0.02 to 0.13 are used.
UNKNOWN = BackendProfile("llm", ("full",), True, round(2.04 * NANO))
KNOWN = replace(
    UNKNOWN,
    measured_requests=40,
    typical_cost_usd_nano=round(0.03 * NANO),
    high_cost_usd_nano=round(0.12 * NANO),
    high_tokens=9_000,
)
FREE = BackendProfile("offline", ("full",), True, 0)


def spec(**budget: object):  # type: ignore[no-untyped-def]
    return make_spec("evolve", budget=Budget(**budget))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("backend", "told", "reserved"),
    [
        (UNKNOWN, [], 2.04),
        (UNKNOWN, [0.02, 0.02], 2.04),  # two are no habit
        (UNKNOWN, [0.02, 0.13, 0.02], 0.1625),
        (KNOWN, [], 0.15),
        (KNOWN, [0.4], 0.5),
        (KNOWN, [0.02, 0.02, 0.02], 0.025),
        (UNKNOWN, [3.0, 3.0, 3.0], 2.04),  # never more than a request may cost
        (FREE, [], 0.0),
    ],
)
def test_the_reservation_follows_what_requests_have_cost_within_what_one_may_cost(
    backend: BackendProfile, told: list[float], reserved: float
) -> None:
    habits = Habits()
    for usd in told:
        habits = habits.told(Charge(usd_nano=round(usd * NANO)))
    assert reserved_usd(backend, spec(usd_nano=NANO), habits) == round(reserved * NANO)


def test_what_is_at_risk_belongs_to_the_habit() -> None:
    habits = Habits()
    for _ in range(3):
        habits = habits.told(Charge(usd_nano=NANO // 10, at_risk_usd_nano=NANO // 10))
    assert reserved_usd(UNKNOWN, spec(usd_nano=NANO), habits) == NANO // 4


def test_tokens_follow_the_backend_until_the_search_has_its_own() -> None:
    wanted = spec(tokens=10**6)
    assert reserved_tokens(UNKNOWN, wanted, 0) == 32_000
    assert reserved_tokens(replace(KNOWN), wanted, 0) == 11_250
    assert reserved_tokens(KNOWN, wanted, 4_000) == 5_000
    assert reserved_tokens(FREE, wanted, 0) == 0


def test_a_budget_without_room_for_one_request_is_refused_with_what_would_be_right() -> None:
    bound, reason = too_small(spec(usd_nano=2 * NANO), (UNKNOWN,)) or ("", "")
    assert bound == "usd"
    assert "2.04 dollars" in reason
    assert "max_cost_usd" in reason
    assert too_small(spec(usd_nano=2 * NANO), (KNOWN,)) is None
    bounded = replace(spec(usd_nano=2 * NANO), allowance=Allowance(max_cost_usd=0.5))
    assert too_small(bounded, (UNKNOWN,)) is None
    assert (too_small(spec(tokens=20_000), (UNKNOWN,)) or ("", ""))[0] == "tokens"


def test_an_estimate_says_candidates_dollars_and_hours_as_far_as_they_are_known() -> None:
    pace = Pace(30.0, 2)
    made = estimate(spec(usd_nano=3 * NANO), (KNOWN,), pace)
    assert (made.candidates, made.usd_nano, made.seconds) == (100, 3 * NANO, 3000.0)
    assert made.warnings == ()
    made = estimate(spec(candidates=50, wall_seconds=600.0), (KNOWN,), pace)
    assert (made.candidates, made.usd_nano, made.seconds) == (20, round(0.6 * NANO), 600.0)
    unknown = estimate(spec(usd_nano=5 * NANO), (UNKNOWN,), None)
    assert (unknown.candidates, unknown.usd_nano, unknown.seconds) == (None, None, None)
    assert any("2 of 4 go at once" in warning for warning in unknown.warnings)


def test_a_budget_that_is_hardly_a_search_is_warned_of() -> None:
    made = estimate(spec(usd_nano=NANO // 5), (KNOWN,), None)
    assert made.candidates == 6
    assert any("hardly a search" in warning for warning in made.warnings)


def test_with_roles_the_main_backends_count_and_the_others_are_spoken_of() -> None:
    main = replace(KNOWN, name="mini")
    strong, free = replace(UNKNOWN, name="large", role="strong"), replace(FREE, role="sweep")
    wanted = spec(usd_nano=NANO)
    assert too_small(wanted, (main, strong, free)) is None
    made = estimate(wanted, (main, strong, free), None)
    assert made.candidates == 33
    assert "that counts answers that cost something; what offline does for nothing comes on top" in made.warnings
    assert "large is not asked until its requests are known to cost less than 2.04 dollars" in made.warnings
    counted = estimate(spec(candidates=20), (main, free), None)
    assert any("counts as well, and will be most of it: bound dollars instead" in w for w in counted.warnings)
    bound, _ = too_small(wanted, (replace(strong, role="main"), free)) or ("", "")
    assert bound == "usd"


def test_a_backend_that_works_in_batches_is_said_to_be_slow() -> None:
    made = estimate(spec(usd_nano=3 * NANO), (replace(KNOWN, batch=True),), None)
    assert any("up to a day, and 4 are waited for at the same time" in warning for warning in made.warnings)
