"""What a person writes for the end of a search."""

from __future__ import annotations

import pytest

from quintain.clients.stop_rules import make_stop_rules
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain.wording import stop_text


@pytest.mark.parametrize(
    ("given", "rules", "said"),
    [
        (("99%", None), pb.StopRules(near_bound=0.99), "99 % of the bound"),
        (("99.5 %", 10), pb.StopRules(near_bound=0.995, candidates_without_improvement=10),
         "99.5 % of the bound or 10 candidates without a better one"),
        (("2.35", None), pb.StopRules(score=2.35), "score 2.35"),
        ((-3, None), pb.StopRules(score=-3), "score -3"),
        (("", None), None, ""),
    ],
)  # fmt: skip
def test_a_share_has_a_percent_sign_and_a_score_has_none(
    given: tuple[str, int | None], rules: pb.StopRules | None, said: str
) -> None:
    made = make_stop_rules(*given)
    assert made == rules
    assert stop_text(made or pb.StopRules()) == said


@pytest.mark.parametrize("wrong", ["nearly", "0%", "101%", "nan", "x%", "inf"])
def test_what_is_neither_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidArgument, match="stop_at"):
        make_stop_rules(wrong)
