"""How far to follow a search: cross-validated over kinds of train scenarios.

Every new best was chosen by all train scenarios, and the later it came the more were tried for it: its lead may be
luck, or rest on one kind of scenario. So each kind is left out in turn: whoever led on the others at a stage of the
search is looked at on the kind that had no say. The stage at which that is best on the average is as far as the lead
can be trusted. No held-out score is looked at. The policies themselves were made with all train scenarios in view, so
what comes out says which of them to take, not how good it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean

_SEED = re.compile(r"[_.-]?\d+$")
_CLOSE = 1e-9  # sums in another order may differ in the last bits


def kinds(scenarios: Sequence[str]) -> list[tuple[str, ...]]:
    """Scenarios of one kind together: those whose names differ in the number at their end only, which is a seed by
    custom. If all are of one kind, each is its own."""
    grouped: dict[str, list[str]] = {}
    for name in scenarios:
        grouped.setdefault(_SEED.sub("", name), []).append(name)
    if len(grouped) < 2:
        return [(name,) for name in scenarios]
    return [tuple(names) for names in grouped.values()]


def trusted_best(values: Mapping[int, Mapping[str, float]]) -> int | None:
    """The candidate that led at the stage of the search up to which leads carry over to kinds of scenarios that had no
    say in them. `values`: of each candidate, normalized and by train scenario, all with the same scenarios. Of stages
    that are equal the earliest. None with fewer than three kinds, or no candidate."""
    numbers = sorted(values)
    if not numbers:
        return None
    folds = kinds(list(values[numbers[0]]))
    if len(folds) < 3:
        return None
    means = {number: [fmean(values[number][name] for name in fold) for fold in folds] for number in numbers}
    leaders: list[int] = [numbers[0]] * len(folds)  # by all folds but this one, up to here
    leader, trusted, best = numbers[0], numbers[0], float("-inf")

    def without(number: int, fold: int) -> float:
        return sum(mean for index, mean in enumerate(means[number]) if index != fold)

    for number in numbers:
        for fold, held in enumerate(leaders):
            if without(number, fold) > without(held, fold) + _CLOSE:
                leaders[fold] = number
        if sum(means[number]) > sum(means[leader]) + _CLOSE:
            leader = number
        validated = fmean(means[chosen][fold] for fold, chosen in enumerate(leaders))
        if validated > best + _CLOSE:
            best, trusted = validated, leader
    return trusted
