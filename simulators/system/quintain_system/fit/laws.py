"""How long a step takes, estimated from recorded times: what its features and groups explain, and how it spreads."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
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
NOISE = 0.01  # of a time: what is less apart is rounding, and nothing is read into it
MOST_TRIED = 8  # features, before one is chosen
SAME_COLUMN = 1e-9
MOST_FITTED = 600  # samples, evenly over all
MOST_CASES = 3
FEWEST_IN_CASE = 5
SAMPLES_FOR_ONE = 4  # feature
LARGEST_CASING = 8  # values of an attribute by which the law itself may differ
CASE_GAIN = 0.4  # of what is unexplained, that laws of their own must explain
MOST_QUOTIENTS = 60
REFINED = 40  # of them once one is known to help
MOST_LIMITS = 6  # above which more of a divisor does not help, that are tried


Numbers = np.ndarray[Any, Any]
Table = Mapping[str, Numbers]  # by expression
Linear = tuple[dict[str, float], float, float]  # expression -> coefficient, the base, and the explained variance


@dataclass(frozen=True)
class Fields:
    """What attributes mean, by the names of the fields that they come from: `names` are numbers that mean none (ids,
    places), by `grouping` things may differ, `given` are amounts that decisions give."""

    names: frozenset[str]
    grouping: frozenset[str]
    given: frozenset[str]


@dataclass
class Sample:
    """One time that a step was taken: how long, what was known of the thing by then, when, and by which thing."""

    seconds: float
    known: Mapping[str, Any]
    time: float
    record: list[Any]
    thing: tuple[Any, ...] = ()  # recording, kind and id


@dataclass(frozen=True)
class Case:
    """Things for which `attribute` (an expression) is `value` take their own `base` plus what each feature adds."""

    attribute: str
    value: Any
    base: float
    features: Mapping[str, float]


@dataclass
class Law:
    """How long a step takes: `base` plus what each feature adds, from a fit to the recorded times, unless one of the
    `cases` (the first that fits) has a law of its own; or, where nothing explains them, a lognormal around `median`.
    `explained` is the share of the variance that this explains, `spread` the standard deviation of the logarithms of
    what it leaves, `groups` by what else times differ: expression ->
    value -> how many times as long as usual. `plain_median` and `plain_sigma` are of all times as recorded."""

    base: float
    features: Mapping[str, float]  # expression -> seconds for each unit
    explained: float
    spread: float
    median: float
    sigma: float
    plain_median: float
    plain_sigma: float
    quantiles: Sequence[float]
    groups: Mapping[str, Mapping[Any, float]] = field(default_factory=dict)
    cases: Sequence[Case] = ()


def law_of(samples: Sequence[Sample], fields: Fields) -> Law:
    seconds = np.array([s.seconds for s in samples])
    table = _table(samples, fields)
    found = _fitted(samples, table, seconds, fields, 0)
    if found.left > NOISE**2:
        by_case = _fitted(samples, table, seconds, fields, MOST_CASES)
        if by_case.left < (1 - CASE_GAIN) * found.left:  # else what differs is told by factors
            found = by_case
    (features, base, explained), own = found.usual, seconds / _scale(samples, found.groups)
    median, sigma = _lognormal(own)
    plain_median, plain_sigma = _lognormal(seconds)
    quantiles = [float(q) for q in np.quantile(own, np.linspace(0, 1, 21))]
    return Law(
        base,
        features,
        explained,
        math.sqrt(found.left),
        median,
        sigma,
        plain_median,
        plain_sigma,
        quantiles,
        found.groups,
        found.cases,
    )


@dataclass(frozen=True)
class _Fitted:
    """`left`: the variance of the logarithms of what was recorded by what is predicted."""

    cases: tuple[Case, ...]
    usual: Linear
    groups: Mapping[str, Mapping[Any, float]]
    left: float


def _fitted(samples: Sequence[Sample], table: Table, seconds: Numbers, fields: Fields, most_cases: int) -> _Fitted:
    cases, usual = _by_case(samples, table, seconds, fields, most_cases)
    groups: dict[str, Mapping[Any, float]] = {}
    for _ in range(2):  # what a group does to the times is not to be read into the features, nor the other way
        predicted = _predicted(samples, table, cases, usual)
        groups = _groups(samples, seconds / np.maximum(predicted, INSTANT), fields.grouping)
        if not groups:
            break
        cases, usual = _by_case(samples, table, seconds / _scale(samples, groups), fields, most_cases)
    predicted = _predicted(samples, table, cases, usual) * _scale(samples, groups)
    logs = np.log(np.maximum(seconds, INSTANT) / np.maximum(predicted, INSTANT))
    return _Fitted(cases, usual, groups, float(np.var(logs)))


def _table(samples: Sequence[Sample], fields: Fields) -> Table:
    """The numbers that are known of things before a step, by expression; of two that are always equal the shorter."""
    first = samples[0].known
    plain = [e for e, v in first.items() if type(v) in (int, float) and e.rpartition(".")[2] not in fields.names]
    found: dict[bytes, tuple[str, Numbers]] = {}
    for expression in sorted(plain, key=lambda e: (len(e), e)):
        numbers = np.array([_number(s.known, expression) for s in samples])
        found.setdefault(numbers.tobytes(), (expression, numbers))
    return dict(found.values())


def _predicted(samples: Sequence[Sample], table: Table, cases: Sequence[Case], usual: Linear) -> Numbers:
    def said(base: float, features: Mapping[str, float]) -> Numbers:
        return base + sum((c * _column(table, e, len(samples)) for e, c in features.items()), np.zeros(len(samples)))

    with np.errstate(divide="ignore", invalid="ignore"):  # of samples that have another law
        found = said(usual[1], usual[0])
        for case in reversed(cases):  # the first that fits counts
            own = np.array([sample.known.get(case.attribute) == case.value for sample in samples])
            found = np.where(own, said(case.base, case.features), found)
    return found


def _by_case(
    samples: Sequence[Sample], table: Table, seconds: Numbers, fields: Fields, most_cases: int
) -> tuple[tuple[Case, ...], Linear]:
    """A law for all, or laws of their own for values of what tells most apart: one class grows with what it is given,
    another does not. The explained variance is that of all together."""
    cases: list[Case] = []
    rest = np.arange(len(samples))
    splits = _splits(samples, fields.grouping)
    whole = _linear(table, rest, seconds, fields)
    total, left_by_cases = float(np.var(seconds)) * len(samples), 0.0
    while len(cases) < most_cases and total > 0:
        before = _left(whole, seconds[rest])
        if before <= (NOISE * float(np.mean(seconds[rest]))) ** 2 * len(rest):
            break
        best: tuple[float, Case, Numbers, Linear, float] | None = None
        for (attribute, value), has_it in splits.items():
            own, others = rest[has_it[rest]], rest[~has_it[rest]]
            if min(len(own), len(others)) < FEWEST_IN_CASE:
                continue
            laws = [_linear(table, part, seconds, fields) for part in (own, others)]
            own_left, others_left = (_left(law, seconds[part]) for law, part in zip(laws, (own, others), strict=True))
            if best is None or own_left + others_left < best[0]:
                case = Case(attribute, value, laws[0][1], laws[0][0])
                best = (own_left + others_left, case, others, laws[1], own_left)
        if best is None or best[0] > (1 - CASE_GAIN) * before:
            break
        cases.append(best[1])
        rest, whole = best[2], best[3]
        left_by_cases += best[4]
    left = left_by_cases + _left(whole, seconds[rest])
    return tuple(cases), (whole[0], whole[1], 1 - left / total if total > 0 else 0.0)


def _left(law: Linear, seconds: Numbers) -> float:
    """The squares that a law leaves, each of its numbers taking a degree of freedom."""
    count = len(seconds)
    return (1 - law[2]) * float(np.var(seconds)) * count * (count - 1) / max(1, count - 1 - len(law[0]))


def _splits(samples: Sequence[Sample], grouping: frozenset[str]) -> dict[tuple[str, Any], Numbers]:
    """Attributes of few values, with each of these: which samples have it."""
    found = {}
    for expression in samples[0].known:
        if expression.rpartition(".")[2] in grouping:
            values = Counter(v for s in samples if isinstance(v := s.known.get(expression), (str, int, bool)))
            if 2 <= len(values) <= LARGEST_CASING:
                for value in sorted(values, key=lambda v: (values[v], str(v))):  # the rarer is the exception
                    found[expression, value] = np.array([s.known.get(expression) == value for s in samples])
    return found


def _lognormal(seconds: Numbers) -> tuple[float, float]:
    positive = seconds[seconds > INSTANT]
    if not len(positive):
        return 0.0, 0.0
    logs = np.log(positive)
    return float(np.exp(np.median(logs))), float(np.std(logs))


def _scale(samples: Sequence[Sample], groups: Mapping[str, Mapping[Any, float]]) -> Numbers:
    scale = np.ones(len(samples))
    for expression, factors in groups.items():
        scale *= np.array([factors.get(s.known.get(expression), 1.0) for s in samples])
    return scale


def _groups(samples: Sequence[Sample], ratios: Numbers, grouping: frozenset[str]) -> dict[str, Mapping[Any, float]]:
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
        if best is None or before <= NOISE**2 or best[0] > (1 - GAIN) * before:
            break
        usual = float(np.median(list(best[2].values())))
        found[best[1]] = {value: float(np.exp(mean - usual)) for value, mean in best[2].items()}
        logs = logs - np.array([best[2].get(s.known.get(best[1]), 0.0) for s in samples])
    return found


def _means(samples: Sequence[Sample], logs: Numbers, expression: str) -> dict[Any, float]:
    """The mean by value; empty if the values are too many or too rare to tell."""
    rows: dict[Any, list[int]] = defaultdict(list)
    for number, sample in enumerate(samples):
        value = sample.known.get(expression)
        if not isinstance(value, (str, int, float, bool)):
            return {}
        rows[value].append(number)
    if len(rows) > LARGEST_GROUPING:
        return {}
    return {value: float(np.mean(logs[own])) for value, own in rows.items() if len(own) >= FEWEST_IN_GROUP}


def _number(known: Mapping[str, Any], expression: str) -> float:
    value = known.get(expression)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _column(values: Table, expression: str, count: int) -> Numbers:
    if " / " in expression:
        above, below = expression.split(" / ")
        divisor = _column(values, below, count)
        column: Numbers = (np.ones(count) if above == "1" else values[above]) / divisor
        return column
    if expression.startswith("min("):
        of, most = expression[4:-1].split(", ")
        return np.minimum(values[of], float(most))
    return values[expression]


def _candidates(values: Table, fields: Fields) -> list[str]:
    """Numbers that differ, and quotients: work by cores, size by bandwidth, 1 by cores where all work is alike; of an
    amount that is given, more than some limit may be as good as the limit."""
    plain = [e for e, v in values.items() if np.ptp(v) > 0]
    positive = [e for e in plain if values[e].min() > 0]
    given = [e for e in positive if e.removeprefix("it.") in fields.given]
    limited = [f"min({e}, {limit!r})" for e in given for limit in _limits(values[e])]
    return [
        *plain,
        *(f"1 / {b}" for b in positive + limited),
        *[f"{a} / {b}" for a in plain for b in positive if a != b][:MOST_QUOTIENTS],
        *[f"{a} / {b}" for a in plain for b in limited if a not in b][:MOST_QUOTIENTS],
    ]


def _limits(amounts: Numbers) -> list[float]:
    inner = sorted(set(amounts.tolist()))[1:-1]
    places = np.linspace(0, len(inner) - 1, MOST_LIMITS) if inner else ()
    return [inner[n] for n in sorted({int(n) for n in places})]


def _linear(table: Table, rows: Numbers, seconds: Numbers, fields: Fields) -> Linear:
    """Forward selection of non-negative features, over some of the samples."""
    rows = rows[:: -(-len(rows) // MOST_FITTED) or 1]
    y = seconds[rows]
    variance = float(np.var(y))
    if len(rows) < FEWEST_IN_CASE or variance <= (NOISE * float(np.mean(y))) ** 2:
        return {}, float(np.mean(y)), 0.0
    values = {e: v[rows] for e, v in table.items()}
    squares = _Squares(values, _candidates(values, fields), y)
    chosen: list[str] = []
    best: Linear = ({}, float(np.mean(y)), 0.0)
    while len(chosen) < min(MOST_FEATURES, len(rows) // SAMPLES_FOR_ONE):
        tried = [squares.fit([*chosen, name]) for name in squares.promising(chosen)]
        # Of those that explain as much, the simplest.
        found = min(tried, key=lambda law: (-round(law[2], 3), len("".join(law[0])), sorted(law[0])), default=None)
        if found is None or found[2] < best[2] + 0.02:
            break
        best = found
        if len(best[0]) <= len(chosen):  # one of them was worth nothing beside the others
            break
        chosen = list(best[0])
    limited = [name for name in best[0] if "min(" in name]
    return _refined(limited[0], best, values, y) if limited else best


def _refined(name: str, law: Linear, values: Table, y: Numbers) -> Linear:
    """The law with the limit in `name` where it explains most: over all amounts, then near the best of these."""
    head = name.partition(", ")[0]
    others = [e for e in law[0] if e != name]
    given = values[head.rpartition("min(")[2]]
    low, high, best = float(given.min()), float(given.max()), law
    for _ in range(2):
        step = (high / low) ** (1 / REFINED)
        tried = [f"{head}, {low * step**number:.4g})" for number in range(1, REFINED)]
        squares = _Squares(values, [*others, *tried], y)
        laws = [best, *(squares.fit([*others, limited]) for limited in tried)]
        best = max(laws, key=lambda one: round(one[2], 6))
        limits = [float(e[:-1].partition(", ")[2]) for e in best[0] if e.startswith(head)]
        if limits:
            low, high = limits[0] / step, limits[0] * step
    return best


class _Squares:
    """Least squares over any of the columns `names`, each of them scaled to one length."""

    def __init__(self, values: Table, names: Sequence[str], y: Numbers) -> None:
        columns = [np.ones(len(y)), *(_column(values, name, len(y)) for name in names)]
        self._names = list(names)
        self._place = {name: place for place, name in enumerate(["", *names])}
        self._length = np.array([float(np.sqrt(np.mean(c * c))) for c in columns])
        matrix = np.stack(columns, axis=1) / self._length
        self._products = matrix.T @ matrix / len(y)
        self._with_y = matrix.T @ y / len(y)
        self._y, self._variance = float(np.mean(y * y)), float(np.var(y))

    def promising(self, chosen: Sequence[str]) -> list[str]:
        """Those that explain most of what `chosen` leave, by the part of each that these do not explain."""
        places = [self._place[n] for n in ("", *chosen)]
        among, others = self._products[np.ix_(places, places)], self._products[places]
        both = np.column_stack([self._with_y[places], others])
        solved = np.linalg.lstsq(among, both, rcond=None)[0]
        left = self._with_y - others.T @ solved[:, 0]
        own = np.diag(self._products) - np.sum(others * solved[:, 1:], axis=0)
        gains = np.where((own > SAME_COLUMN) & (left > 0), left**2 / np.maximum(own, SAME_COLUMN), 0.0) / self._variance
        gain = dict(zip(self._names, gains[1:].tolist(), strict=True))
        return sorted((n for n in gain if n not in chosen), key=lambda n: (-round(gain[n], 3), len(n), n))[:MOST_TRIED]

    def fit(self, names: Sequence[str]) -> Linear:
        """Without negative coefficients: those that would be are dropped, the most negative first."""
        kept = [*names, ""]
        while kept:
            places = [self._place[n] for n in kept]
            products, with_y = self._products[np.ix_(places, places)], self._with_y[places]
            found = np.linalg.lstsq(products, with_y, rcond=None)[0]
            if found.min() >= 0:
                left = self._y - 2 * float(found @ with_y) + float(found @ products @ found)
                by_name = dict(zip(kept, (found / self._length[places]).tolist(), strict=True))
                base = by_name.pop("", 0.0)
                return {n: c for n, c in by_name.items() if c > 0}, base, 1 - left / self._variance
            kept.pop(int(np.argmin(found)))
        return {}, 0.0, 1 - self._y / self._variance
