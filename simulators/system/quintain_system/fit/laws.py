"""How long a step takes, estimated from recorded times: what its features and groups explain, and how it spreads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

INSTANT = 1e-6  # seconds
MOST_FEATURES = 6
MOST_GROUPS = 2
LARGEST_GROUPING = 200  # values of an attribute by which times may differ
FEWEST_IN_GROUP = 5
GAIN = 0.05  # of the variance of the logarithm, that a grouping must explain


@dataclass
class Sample:
    """One time that a step was taken: how long, what was known of the thing by then, when, and by which thing."""

    seconds: float
    known: Mapping[str, Any]
    time: float
    record: list[Any]
    thing: tuple[Any, ...] = ()  # recording, kind and id


@dataclass
class Law:
    """How long a step takes: `base` plus what each feature adds, from a fit to the recorded times; or, without
    features, a lognormal around `median`. `explained` is the share of the variance that the features explain, `groups`
    by what else times differ: expression -> value -> how many times as long as usual. `plain_median` and `plain_sigma`
    are of all times as they were recorded."""

    base: float
    features: Mapping[str, float]  # expression -> seconds for each unit
    explained: float
    median: float
    sigma: float
    plain_median: float
    plain_sigma: float
    quantiles: Sequence[float]
    groups: Mapping[str, Mapping[Any, float]] = field(default_factory=dict)


def law_of(samples: Sequence[Sample], names: frozenset[str], grouping: frozenset[str]) -> Law:
    """`names`: attributes that are numbers and mean none; `grouping`: those by whose values times may differ."""
    seconds = np.array([s.seconds for s in samples])
    features, base, explained = _linear(samples, seconds, names)
    groups: dict[str, Mapping[Any, float]] = {}
    for _ in range(2):  # what a group does to the times is not to be read into the features, nor the other way
        predicted = np.array([base + sum(c * _number(s.known, e) for e, c in features.items()) for s in samples])
        groups = _groups(samples, seconds / np.maximum(predicted, INSTANT), grouping)
        if not groups:
            break
        features, base, explained = _linear(samples, seconds / _scale(samples, groups), names)
    own = seconds / _scale(samples, groups)
    median, sigma = _lognormal(own)
    plain_median, plain_sigma = _lognormal(seconds)
    quantiles = [float(q) for q in np.quantile(own, np.linspace(0, 1, 21))]
    return Law(base, features, explained, median, sigma, plain_median, plain_sigma, quantiles, groups)


def _lognormal(seconds: np.ndarray[Any, Any]) -> tuple[float, float]:
    positive = seconds[seconds > INSTANT]
    if not len(positive):
        return 0.0, 0.0
    logs = np.log(positive)
    return float(np.exp(np.median(logs))), float(np.std(logs))


def _scale(samples: Sequence[Sample], groups: Mapping[str, Mapping[Any, float]]) -> np.ndarray[Any, Any]:
    scale = np.ones(len(samples))
    for expression, factors in groups.items():
        scale *= np.array([factors.get(s.known.get(expression), 1.0) for s in samples])
    return scale


def _groups(
    samples: Sequence[Sample], ratios: np.ndarray[Any, Any], grouping: frozenset[str]
) -> dict[str, Mapping[Any, float]]:
    """By what times differ from what is predicted, the most telling first."""
    found: dict[str, Mapping[Any, float]] = {}
    logs = np.log(np.maximum(ratios, INSTANT))
    expressions = [e for e in samples[0].known if e.rpartition(".")[2] in grouping]
    while len(found) < MOST_GROUPS:
        before = float(np.var(logs))
        best: tuple[float, str, Mapping[Any, float]] | None = None
        for expression in expressions:
            means = {} if expression in found else _means(samples, logs, expression)
            if len(means) < 2:
                continue
            rest = logs - np.array([means.get(s.known.get(expression), 0.0) for s in samples])
            # Many groups explain something by chance: each takes a degree of freedom.
            left = float(np.var(rest)) * (len(logs) - 1) / max(1, len(logs) - len(means))
            if best is None or left < best[0]:
                best = (left, expression, means)
        if best is None or before <= INSTANT or best[0] > (1 - GAIN) * before:
            break
        usual = float(np.median(list(best[2].values())))
        found[best[1]] = {value: float(np.exp(mean - usual)) for value, mean in best[2].items()}
        logs = logs - np.array([best[2].get(s.known.get(best[1]), 0.0) for s in samples])
    return found


def _means(samples: Sequence[Sample], logs: np.ndarray[Any, Any], expression: str) -> dict[Any, float]:
    """The mean by value; empty if the values are too many or too rare to tell."""
    rows: dict[Any, list[int]] = defaultdict(list)
    for number, sample in enumerate(samples):
        value = sample.known.get(expression)
        if not isinstance(value, (str, int, bool)):
            return {}
        rows[value].append(number)
    if len(rows) > LARGEST_GROUPING:
        return {}
    return {value: float(np.mean(logs[own])) for value, own in rows.items() if len(own) >= FEWEST_IN_GROUP}


def _number(known: Mapping[str, Any], expression: str) -> float:
    if " / " in expression:
        above, below = expression.split(" / ")
        divisor = _number(known, below)
        return (1.0 if above == "1" else _number(known, above)) / divisor if divisor else 0.0
    value = known.get(expression)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _candidates(samples: Sequence[Sample], names: frozenset[str]) -> list[str]:
    """Numbers that are known of a thing before a step, and quotients: work by cores, size by bandwidth, 1 by cores
    where all work is alike. `names`: attributes that are numbers and mean none (ids, places)."""
    first = samples[0].known
    plain = [e for e, v in first.items() if type(v) in (int, float) and e.rpartition(".")[2] not in names]
    plain = [e for e in plain if np.ptp([_number(s.known, e) for s in samples]) > 0]
    positive = [e for e in plain if min(_number(s.known, e) for s in samples) > 0]
    return plain + [f"1 / {b}" for b in positive] + [f"{a} / {b}" for a in plain for b in positive if a != b][:60]


def _linear(
    samples: Sequence[Sample], seconds: np.ndarray[Any, Any], names: frozenset[str]
) -> tuple[dict[str, float], float, float]:
    """Forward selection of non-negative features: expression -> coefficient, the base, and the explained variance."""
    total = float(np.var(seconds))
    if len(samples) < 20 or total <= 0:
        return {}, float(np.mean(seconds)), 0.0
    some = list(samples[:1500])
    y = seconds[: len(some)]
    columns = {e: np.array([_number(s.known, e) for s in some]) for e in _candidates(some, names)}
    chosen: list[str] = []
    best: tuple[dict[str, float], float, float] = ({}, float(np.mean(y)), 0.0)
    while len(chosen) < MOST_FEATURES:
        tried = []
        for name in columns:
            if name not in chosen:
                coefficients, base, left = _non_negative([*chosen, name], columns, y)
                tried.append((left, len(name), name, coefficients, base))
        if not tried:
            break
        left, _, name, coefficients, base = min(tried, key=lambda t: t[:3])
        explained = 1 - left / float(np.var(y)) if float(np.var(y)) > 0 else 0.0
        if explained < best[2] + 0.02:
            break
        chosen.append(name)
        best = ({e: c for e, c in coefficients.items() if c > 0}, base, explained)
    return best


def _non_negative(
    names: Sequence[str], columns: Mapping[str, np.ndarray[Any, Any]], y: np.ndarray[Any, Any]
) -> tuple[dict[str, float], float, float]:
    """Least squares without negative coefficients: those that would be are dropped, the most negative first."""
    kept = [*names, ""]
    while kept:
        matrix = np.stack([columns[n] if n else np.ones(len(y)) for n in kept], axis=1)
        found = np.linalg.lstsq(matrix, y, rcond=None)[0]
        if found.min() >= 0:
            values = dict(zip(kept, (float(v) for v in found), strict=True))
            left = float(np.mean((matrix @ found - y) ** 2))
            return {n: v for n, v in values.items() if n}, values.get("", 0.0), left
        kept.pop(int(np.argmin(found)))
    return {}, 0.0, float(np.mean(y**2))
