"""Stop rules from what a person writes."""

from __future__ import annotations

import math

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument


def make_stop_rules(stop_at: str | float = "", plateau: int | None = None) -> pb.StopRules | None:
    """The rules; None if there are none. `stop_at`: ``99%`` of the provable bound, or a score. `plateau`: so many
    candidates in a row that were not better. Raises InvalidArgument."""
    rules = pb.StopRules(candidates_without_improvement=plateau)
    text = str(stop_at).strip()
    if text.endswith("%"):
        share = _number(text.removesuffix("%")) / 100
        if not 0 < share <= 1:
            raise InvalidArgument.of("stop_at", f"{text!r} is no share of the bound; above 0 % and at most 100 %")
        rules.near_bound = share
    elif text:
        rules.score = _number(text)
    return rules if rules.ListFields() else None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidArgument.of("stop_at", f"{text!r} is neither a score (2.35) nor a share of the bound (99%)")
    return value
