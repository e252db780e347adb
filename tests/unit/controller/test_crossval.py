"""How far a search's lead can be trusted, by leaving out one kind of scenario after the other."""

from __future__ import annotations

import random
from statistics import fmean

from hypothesis import given
from hypothesis import strategies as st

from quintain_controller.domain.crossval import kinds, trusted_best

NAMES = ("a_1", "a_2", "b_1", "b_2", "c_1", "c_2", "d_1", "d_2")


def values(*by_kind: float) -> dict[str, float]:
    return {name: by_kind[index // 2] for index, name in enumerate(NAMES)}


def test_scenarios_that_differ_in_the_number_at_the_end_are_of_one_kind() -> None:
    assert kinds(["T1_ref_101", "T1_ref_202", "T2_mixed_101"]) == [("T1_ref_101", "T1_ref_202"), ("T2_mixed_101",)]
    assert kinds(["week-1", "week-2", "week-3"]) == [("week-1",), ("week-2",), ("week-3",)]
    assert kinds(["steady", "burst"]) == [("steady",), ("burst",)]


def test_a_lead_that_rests_on_one_kind_is_not_followed() -> None:
    steady, lucky = values(0.5, 0.5, 0.5, 0.5), values(0.99, 0.45, 0.45, 0.45)
    assert fmean(lucky.values()) > fmean(steady.values())
    assert trusted_best({1: values(0.4, 0.4, 0.4, 0.4), 2: steady, 3: lucky}) == 2


def test_a_lead_on_every_kind_is_followed_to_the_end() -> None:
    assert trusted_best({n: values(*[0.1 * n] * 4) for n in range(1, 6)}) == 5


def test_of_equal_stages_the_earliest_counts_and_too_few_kinds_say_nothing() -> None:
    assert trusted_best({3: values(0.5, 0.5, 0.5, 0.5), 7: values(0.5, 0.5, 0.5, 0.5)}) == 3
    assert trusted_best({3: {"a_1": 0.5, "b_1": 0.2}}) is None
    assert trusted_best({}) is None


@given(st.dictionaries(st.integers(0, 50), st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1))
def test_it_is_always_one_that_was_the_best_when_it_came(by_kind: dict[int, list[float]]) -> None:
    found = trusted_best({number: values(*v) for number, v in by_kind.items()})
    assert found is not None
    assert all(sum(by_kind[found]) >= sum(v) - 1e-6 for number, v in by_kind.items() if number <= found)


def test_where_many_are_tried_for_noise_it_takes_better_ones_than_the_best_of_train() -> None:
    """Candidates that get better for a while and then trade one kind for another: what train sees is partly noise."""
    gains = []
    for seed in range(200):
        rng = random.Random(seed)
        true, seen = {}, {}
        for number in range(1, 40):
            quality = min(number, 10) / 20
            true[number] = quality - 0.01 * max(0, number - 10)
            spread = 0.02 if number <= 10 else 0.12  # late ones fit some kind, at another's cost
            seen[number] = values(*(quality + rng.gauss(0.0, spread) for _ in range(4)))
        best = max(seen, key=lambda n: fmean(seen[n].values()))
        trusted = trusted_best(seen)
        assert trusted is not None
        gains.append(true[trusted] - true[best])
    assert fmean(gains) > 0.0
    assert sum(g > 0 for g in gains) > sum(g < 0 for g in gains)
