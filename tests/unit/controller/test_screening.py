"""A look at one scenario of each kind before a candidate is run on all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.controller.machine import verification

from quintain_controller.domain.model import PartScore, Screen, VerdictStatus, Verification
from quintain_controller.domain.screening import behavior, refusal, screen_for, screen_scenarios

TRAIN = ("a_1", "a_2", "b_1", "b_2", "c_1", "c_2")
LOOK = ("a_1", "b_1", "c_1")


def part(**values: float) -> PartScore:
    mean = sum(values.values()) / len(values)
    return PartScore(mean, 0.1, 1.0, mean, values)


def seen(value: float, status: VerdictStatus = VerdictStatus.OK) -> Verification:
    return replace(verification(5, status=status), train=part(a_1=value, b_1=value, c_1=value))


PARENT = part(a_1=0.5, a_2=0.9, b_1=0.6, b_2=0.9, c_1=0.7, c_2=0.9)
SCREEN = Screen(LOOK, pytest.approx(0.6))


def test_the_first_of_each_kind_is_looked_at_where_that_spares_something() -> None:
    assert screen_scenarios(TRAIN) == LOOK
    assert screen_scenarios(("steady", "burst", "storm")) == ()  # it would be all of them
    assert screen_scenarios(("a_1", "a_2", "b_1", "b_2")) == ()  # two kinds say too little
    assert screen_for(TRAIN, PARENT) == SCREEN
    assert screen_for(("s1", "s2"), PARENT) is None


@pytest.mark.parametrize(
    ("verdict", "twin", "said"),
    [
        (seen(0.61), None, ""),
        (seen(0.60), None, ""),  # as good: the others decide
        (seen(0.59), None, "worse than candidate 3 on one scenario of each kind (0.5900, it has 0.6000)"),
        (seen(0.60), 3, "the same decisions as candidate 3 on one scenario of each kind"),
        (seen(0.10, VerdictStatus.STOPPED_EARLY), None, "worse than candidate 3 on one scenario of each kind"),
        (seen(0.10, VerdictStatus.POLICY_FAILED), None, ""),  # the whole run says how it fails
    ],
)
def test_what_is_worse_or_decides_the_same_is_not_run_on_the_others(
    verdict: Verification, twin: int | None, said: str
) -> None:
    assert refusal(Screen(LOOK, 0.6), verdict, 3, twin) == said


def test_behaviour_is_that_of_the_scenarios_that_are_looked_at_and_whole_or_unknown() -> None:
    whole = {name: f"digest {name}" for name in TRAIN}
    assert behavior(TRAIN, whole) == behavior(TRAIN, {name: whole[name] for name in LOOK})
    assert behavior(TRAIN, whole | {"a_2": "other"}) == behavior(TRAIN, whole)
    assert behavior(TRAIN, whole | {"b_1": "other"}) != behavior(TRAIN, whole)
    assert behavior(TRAIN, {"a_1": "x", "b_1": "y"}) == ""
    assert behavior(("s1",), {"s1": "x"}) == ""
