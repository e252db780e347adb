"""`compare` and `ablate`: what an interval lets one say."""

from __future__ import annotations

import pytest

from quintain.errors import InvalidArgument
from quintain.statistics import Interval
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli.commands.ablate import Arm, ArmOutcome, contrast, make_arms
from quintain_cli.commands.compare import conclusion, differences


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval(0.2, 0.1, 0.3, 8), "B is better"),
        (Interval(-0.2, -0.3, -0.1, 8), "A is better"),
        (Interval(0.1, -0.1, 0.3, 8), "no real difference"),
        (Interval(0.2, 0.1, 0.3, 4), "too few pairs (4) to conclude"),
        (Interval(0.0, 0.0, 0.0, 8), "A and B are equal everywhere"),
    ],
)
def test_a_difference_is_real_only_if_its_interval_excludes_zero(interval: Interval, expected: str) -> None:
    assert conclusion(interval, "A", "B") == expected


def verdict(values: list[float]) -> pb.Verdict:
    parts = [type_pb2.PART_TRAIN] * 6 + [type_pb2.PART_HELD_OUT] * 6
    return pb.Verdict(
        scenarios=[
            pb.ScenarioVerdict(scenario=f"s{i}", part=part, normalized=value, ran=True)
            for i, (part, value) in enumerate(zip(parts, values, strict=True))
        ]
    )


def test_an_overfitter_is_better_on_train_and_worse_on_held_out() -> None:
    honest = verdict([0.5] * 12)
    overfitter = verdict([0.7 + i / 100 for i in range(6)] + [0.3 + i / 100 for i in range(6)])
    found = {d.part: conclusion(d.interval, "A", "B") for d in differences(honest, overfitter, seed=1)}
    assert found == {"train": "B is better", "held-out": "A is better", "all": "no real difference"}


def test_arms_are_all_combinations_named_by_what_differs() -> None:
    assert make_arms(["chain", "tree"], ["offline"]) == [
        Arm("chain", "chain", "offline"),
        Arm("tree", "tree", "offline"),
    ]
    assert [arm.name for arm in make_arms(["chain", "tree"], ["a", "b"])] == [
        "chain / a", "chain / b", "tree / a", "tree / b",
    ]  # fmt: skip


def test_one_arm_alone_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="name at least two"):
        make_arms(["chain"], [])


def test_an_arm_named_twice_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="named twice"):
        make_arms(["chain", "tree", "chain"], [])


def test_arms_are_paired_by_seed_and_held_out_only_where_both_have_it() -> None:
    outcomes = [
        ArmOutcome(arm, seed, f"{arm}{seed}", train, held)
        for seed in range(6)
        for arm, train, held in (("slow", seed / 10, 0.1), ("fast", seed / 10 + 0.05, None if seed == 0 else 0.2))
    ]
    train, held_out = contrast(outcomes, ["slow", "fast"])
    assert train.conclusion == "fast is better"
    assert train.interval.low == pytest.approx(0.05)
    assert (held_out.measure, held_out.interval.count) == ("held_out", 5)
