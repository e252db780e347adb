"""The engine against the oracle: every statistic and everything a policy sees, in every calling mode."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .cases import check, make_case


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.randoms(use_true_random=False))
def test_random_cases_agree_to_the_last_bit(random: Random) -> None:
    check(make_case(random))


@pytest.mark.parametrize("block", range(8))
def test_seeded_cases_agree_to_the_last_bit(block: int) -> None:
    totals: dict[str, int] = {}
    for seed in range(block * 25, block * 25 + 25):
        for name, count in check(make_case(Random(seed))).items():
            totals[name] = totals.get(name, 0) + count
    assert all(totals[name] > 0 for name in ("completed", "suspensions", "OOM", "timeout", "observations"))
    assert 0 < totals["failed"] < 12, "most cases must run to the end, and some must break a rule"
