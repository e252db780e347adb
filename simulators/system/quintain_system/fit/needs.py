"""Outcomes that depend on how much a thing was given: it fails with less than it needs, and nobody knows how much that
is before. What each thing needs is between the most with which it failed and the least with which it did not.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FEWEST = 10  # attempts of either outcome; fewer say nothing
FEWEST_THINGS = 5  # of a group
MOST_GROUPS = 200
SIGMAS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4)
SCALES = 40  # medians that are tried, evenly on a logarithmic scale
REFINED = 20  # more of them between two of these
AS_LIKELY = 0.1  # logarithms of likelihoods that differ by less tell nothing apart
SURE = 1e-9  # likelihood of what a law rules out

Interval = tuple[float, float]  # a thing needs more than the first and at most the second


@dataclass(frozen=True)
class Attempt:
    """A thing was given so much of each amount (by expression), and failed or not. `known`: what else it was."""

    thing: Any
    given: Mapping[str, float]
    failed: bool
    known: Mapping[str, Any]


@dataclass(frozen=True)
class Need:
    """What things need of the amount `given` (an expression): lognormal around `median`, or exactly that where `sigma`
    is 0; `groups`: expression -> value -> the median of those that have it."""

    given: str
    median: float
    sigma: float
    groups: Mapping[str, Mapping[Any, float]] = field(default_factory=dict)


def need_of(attempts: Sequence[Attempt], grouping: frozenset[str]) -> Need | None:
    """The amount that tells best who fails; None if none tells more than chance does, by the Bayesian information
    criterion."""
    failures = sum(a.failed for a in attempts)
    if not FEWEST <= failures <= len(attempts) - FEWEST:
        return None
    share = failures / len(attempts)
    chance = failures * math.log(share) + (len(attempts) - failures) * math.log(1 - share)
    price = math.log(len(attempts)) / 2  # of each number that is fitted
    best, most = None, chance - price
    for expression in attempts[0].given:
        found = _fitted(attempts, expression, grouping, price)
        if found is not None and found[0] > most:
            most, best = found
    return best


def _fitted(
    attempts: Sequence[Attempt], expression: str, grouping: frozenset[str], price: float
) -> tuple[float, Need] | None:
    """The law of one amount, alike for all or by the group that explains most, with its penalised likelihood."""
    intervals: dict[Any, Interval] = {}
    known: dict[Any, Mapping[str, Any]] = {}
    for attempt in attempts:
        low, high = intervals.get(attempt.thing, (0.0, math.inf))
        amount = attempt.given[expression]
        intervals[attempt.thing] = (max(low, amount), high) if attempt.failed else (low, min(high, amount))
        known[attempt.thing] = attempt.known
    amounts = [a.given[expression] for a in attempts]
    if min(amounts) <= 0:
        return None
    span = min(amounts) / 4, max(amounts) * 4
    likelihood, median, sigma = _law(Counter(intervals.values()), SIGMAS, span)
    best = (likelihood - 2 * price, Need(expression, median, sigma))
    for attribute in sorted(e for e in next(iter(known.values())) if e.rpartition(".")[2] in grouping):
        of: dict[Any, list[Interval]] = defaultdict(list)
        for thing, interval in intervals.items():
            value = known[thing].get(attribute)
            of[value if isinstance(value, (str, int, bool)) else None].append(interval)
        groups = {v: Counter(own) for v, own in of.items() if v is not None and len(own) >= FEWEST_THINGS}
        if not 2 <= len(groups) <= MOST_GROUPS or sum(c.total() for c in groups.values()) < len(intervals):
            continue
        for spread in SIGMAS:
            by_value = {v: _law(own, (spread,), span) for v, own in groups.items()}
            total = sum(found[0] for found in by_value.values()) - (1 + len(groups)) * price
            if total > best[0]:
                medians = {value: found[1] for value, found in by_value.items()}
                middle = sorted(medians.values())[len(medians) // 2]
                best = (total, Need(expression, middle, spread, {attribute: medians}))
    return best


def _law(own: Mapping[Interval, int], sigmas: Sequence[float], span: Interval) -> tuple[float, float, float]:
    """The likeliest law of things with these intervals, tried on a scale and then on a finer one around its best."""
    constant = _constant(own) if 0.0 in sigmas else None
    spread = [sigma for sigma in sigmas if sigma]
    if constant is not None or not spread:
        return (0.0, constant, 0.0) if constant is not None else (len(own) * math.log(SURE), span[1], 0.0)
    coarse = _careful(_likelihood(own, m, s) for s in spread for m in _scale(*span, SCALES))
    step = (span[1] / span[0]) ** (1 / (SCALES - 1))
    around = _scale(coarse[1] / step, coarse[1] * step, 2 * REFINED + 1)
    return _careful(_likelihood(own, m, s) for s in spread for m in around)


def _constant(intervals: Collection[Interval]) -> float | None:
    """An amount that is in all intervals, the largest: what was enough for each. None if there is none."""
    low, high = max(i[0] for i in intervals), min(i[1] for i in intervals)
    return high if low < high < math.inf else None


def _careful(laws: Iterable[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Of the likeliest laws the one that needs most: what was never tried is not said to be enough."""
    found = list(laws)
    most = max(found)[0]
    return max((law for law in found if law[0] >= most - AS_LIKELY), key=lambda law: (law[1], -law[2]))


def _scale(low: float, high: float, places: int) -> list[float]:
    return [low * (high / low) ** (number / (places - 1)) for number in range(places)]


def _likelihood(intervals: Mapping[Interval, int], median: float, sigma: float) -> tuple[float, float, float]:
    """Of things that need a lognormal amount, its logarithm; with the law."""
    total = 0.0
    for (low, high), count in intervals.items():
        total += count * math.log(max(SURE, _below(high, median, sigma) - _below(low, median, sigma)))
    return total, median, sigma


def _below(amount: float, median: float, sigma: float) -> float:
    """The share of things that need no more."""
    if amount <= 0:
        return 0.0
    if math.isinf(amount):
        return 1.0
    return 0.5 * (1 + math.erf(math.log(amount / median) / (sigma * math.sqrt(2))))
