"""What counts, computed from the records of a run alone: a model can be wrong, it cannot award points."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from quintain_system.form.formula import Formula
from quintain_system.form.names import config_numbers, key_field, kinds_of
from quintain_system.form.spec import Across, Count, Late, Level, Metric, Sum, SystemSpec, Time
from quintain_system.form.spec import Formula as FormulaMetric

Record = list[Any]
Handler = Callable[[float, Record, Any], None]  # time, record, class
ALL = None  # the class of everything


class Meter(Protocol):
    """One metric's state. `of_class` ALL: over everything."""

    def value(self, duration: float, of_class: Any) -> float | None: ...


Hear = Callable[[float, Record], Any]  # time, record -> class


class Metrics:
    """Hears every record in order of time; `values` at the end (or when the run failed)."""

    def __init__(self, spec: SystemSpec, config: Mapping[str, Any], duration: float) -> None:
        self._spec, self._duration = spec, duration
        self._config = config
        self._names = config_numbers(config) | {"duration": duration}
        self._handlers: dict[str, list[Handler]] = defaultdict(list)
        self._meters: dict[str, Meter] = {}
        self._paired: dict[Hashable, Paired] = {}
        self._classes = _Classes(spec)
        for name, metric in spec.metrics.items():
            if not isinstance(metric, Across | FormulaMetric):
                self._meters[name] = self._meter(metric)

    @property
    def classes(self) -> list[Any]:
        """In order, those that came."""
        return sorted(self._classes.seen, key=lambda c: (str(type(c)), c))

    def hear(self, kind: str, time: float, record: Record) -> Any:
        """Returns the record's class."""
        return self.ear(kind)(time, record)

    def ear(self, kind: str) -> Hear:
        """What hears records of a kind, and gives their class."""
        class_of = self._classes.of(kind)
        handlers = tuple(self._handlers.get(kind, ()))

        def hear(time: float, record: Record) -> Any:
            of_class = class_of(record)
            for handler in handlers:
                handler(time, record, of_class)
            return of_class

        return hear

    def values(self) -> dict[str, float]:
        """In the order of the package; what does not exist is left out."""
        return self._values(ALL)

    def class_values(self, of_class: Any) -> dict[str, float]:
        return self._values(of_class)

    def _values(self, of_class: Any) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, metric in self._spec.metrics.items():
            value: float | None
            if isinstance(metric, FormulaMetric):
                value = Formula(metric.value).value(self._names | values)
            elif isinstance(metric, Across):
                value = self._across(metric) if of_class is ALL else None
            elif of_class is ALL or self._has_classes(metric):
                value = self._meters[name].value(self._duration, of_class)
            else:
                value = None
            if value is not None and math.isfinite(value):
                values[name] = float(value)
        return values

    def _has_classes(self, metric: Count | Sum | Time | Late | Level) -> bool:
        """Whether anything that it looks at belongs to a class."""
        match metric:
            case Count():
                kinds = metric.of
            case Sum():
                kinds = (metric.of,)
            case _:
                kinds = (metric.start,)
        return any(map(self._classes.knows, kinds))

    def _across(self, metric: Across) -> float | None:
        each = [values.get(metric.metric) for values in map(self._values, self.classes)]
        found = [value for value in each if value is not None]
        return _ACROSS[metric.statistic](found) if found else None

    # ---------------------------------------------------------------------------------------------------- meters

    def _meter(self, metric: Metric) -> Meter:
        match metric:
            case Count():
                counter = _Sum(1.0 / self._duration if metric.type == "rate" else 1.0)
                for kind in metric.of:
                    self._on(kind, metric.where, counter.counting())
                return counter
            case Sum():
                total = _Sum(1.0)
                self._on(metric.of, metric.where, total.adding(self._place(metric.of, metric.field)))
                return total
            case Time():
                times = self._pairs(metric, "", _Times)
                return _Time(times, metric)
            case Late():
                within = self._number(metric.start, metric.within)
                weight = self._number(metric.start, metric.weight)
                return self._pairs(metric, f"{metric.within} {metric.weight}", lambda: _Lateness(within, weight))
            case Level():
                amount = self._number(metric.start, metric.amount)
                levels = self._pairs(metric, str(metric.amount), lambda: _Levels(amount))
                capacity = None if metric.capacity is None else Formula(metric.capacity).value(self._names)
                return _Level(levels, metric.statistic, 1.0 if capacity is None else capacity)
        raise AssertionError(metric)

    def _pairs(self, metric: Time | Late | Level, measure: str, make: Callable[[], P]) -> P:
        """One for all metrics that `measure` the same between the same events."""
        key = (type(metric), metric.start, metric.end, metric.by, tuple(sorted(metric.where.items())), measure)
        if key not in self._paired:
            made = self._paired[key] = make()
            self._on(metric.start, metric.where, made.beginning(self._key(metric.start, metric.by)))
            for kind in metric.end:
                self._on(kind, {}, made.ending(self._key(kind, metric.by)))
        return cast(P, self._paired[key])

    def _on(self, kind: str, where: Mapping[str, Any], handler: Handler) -> None:
        if not where:
            self._handlers[kind].append(handler)
            return
        wanted = [(self._place(kind, f), v if isinstance(v, tuple) else (v,)) for f, v in where.items()]

        def filtered(time: float, record: Record, of_class: Any) -> None:
            if all(record[place] in values for place, values in wanted):
                handler(time, record, of_class)

        self._handlers[kind].append(filtered)

    def _number(self, kind: str, text: str | float) -> Callable[[Record], float]:
        """A number, a key of the configuration, or a field of the record."""
        if not isinstance(text, str):
            return lambda record: text
        if text in self._names:
            number = self._names[text]
            return lambda record: number
        place = self._place(kind, text)
        return lambda record: record[place]

    def _place(self, kind: str, field: str) -> int:
        return list(kinds_of(self._spec)[kind].fields).index(field) + 1

    def _key(self, kind: str, by: str) -> int:
        return self._place(kind, key_field(self._spec, kind, by) or "")


class _Classes:
    """The class of each record: its thing's, remembered by id."""

    def __init__(self, spec: SystemSpec) -> None:
        self.seen: set[Any] = set()
        self._of: dict[Any, Any] = {}
        self._keys: dict[str, int] = {}
        self._introduces = ""
        if spec.classes is None:
            return
        self._introduces = spec.classes.of
        self._field = list(spec.inputs[spec.classes.of].fields).index(spec.classes.field) + 1
        for name, kind in kinds_of(spec).items():
            field = key_field(spec, name, spec.classes.of)
            if field is not None:
                self._keys[name] = list(kind.fields).index(field) + 1

    def knows(self, kind: str) -> bool:
        """Whether records of this kind belong to a class."""
        return kind in self._keys

    def of(self, kind: str) -> Callable[[Record], Any]:
        """What gives the class of a record of this kind."""
        place = self._keys.get(kind)
        if place is None:
            return lambda record: ALL
        known, seen = self._of, self.seen
        if kind != self._introduces:
            return lambda record: known.get(record[place], ALL)
        field = self._field

        def introduce(record: Record) -> Any:
            of_class = known[record[place]] = record[field]
            seen.add(of_class)
            return of_class

        return introduce


class _Sum:
    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._sums: dict[Any, float] = defaultdict(float)

    def counting(self) -> Handler:
        sums = self._sums

        def count(time: float, record: Record, of_class: Any) -> None:
            sums[ALL] += 1.0
            if of_class is not ALL:
                sums[of_class] += 1.0

        return count

    def adding(self, place: int) -> Handler:
        sums = self._sums

        def add(time: float, record: Record, of_class: Any) -> None:
            sums[ALL] += record[place]
            if of_class is not ALL:
                sums[of_class] += record[place]

        return add

    def value(self, duration: float, of_class: Any) -> float:
        return self._sums.get(of_class, 0.0) * self._scale


class Paired(Protocol):
    """What is kept between two events of a thing, whose id is at a `place` of their records."""

    def beginning(self, place: int) -> Handler: ...

    def ending(self, place: int) -> Handler: ...


P = TypeVar("P", bound=Paired)


class _Times:
    def __init__(self) -> None:
        self.open: dict[Any, tuple[float, Any]] = {}  # since when, class
        self.done: dict[Any, list[float]] = defaultdict(list)

    def beginning(self, place: int) -> Handler:
        open_ = self.open

        def begin(time: float, record: Record, of_class: Any) -> None:
            open_[record[place]] = (time, of_class)

        return begin

    def ending(self, place: int) -> Handler:
        take, done = self.open.pop, self.done

        def end(time: float, record: Record, of_class: Any) -> None:
            begun = take(record[place], None)
            if begun is not None:
                done[begun[1]].append(time - begun[0])

        return end


class _Time:
    """A metric of `_Times`."""

    def __init__(self, times: _Times, metric: Time) -> None:
        self._times, self._metric = times, metric

    def value(self, duration: float, of_class: Any) -> float | None:
        unfinished, chosen = self._metric.unfinished, []
        for found, times in self._times.done.items():
            if of_class is ALL or found == of_class:
                chosen += times
        if unfinished != "ignored":
            for begun, found in self._times.open.values():
                if of_class is ALL or found == of_class:
                    if unfinished == "elapsed":
                        chosen.append(duration - begun)
                    else:
                        chosen.append(duration if unfinished == "duration" else float(unfinished))
        return _STATISTICS[self._metric.statistic](chosen) if chosen else None


class _Lateness:
    def __init__(self, within: Callable[[Record], float], weight: Callable[[Record], float]) -> None:
        self._within, self._weight = within, weight
        self._due: dict[Any, tuple[float, float, Any]] = {}  # time, weight, class
        self._begun: dict[Any, float] = defaultdict(float)
        self._in_time: dict[Any, float] = defaultdict(float)

    def beginning(self, place: int) -> Handler:
        due, begun, within_of, weight_of = self._due, self._begun, self._within, self._weight

        def begin(time: float, record: Record, of_class: Any) -> None:
            weight = weight_of(record)
            due[record[place]] = (time + within_of(record), weight, of_class)
            begun[of_class] += weight

        return begin

    def ending(self, place: int) -> Handler:
        take, in_time = self._due.pop, self._in_time

        def end(time: float, record: Record, of_class: Any) -> None:
            due = take(record[place], None)
            if due is not None and time <= due[0]:
                in_time[due[2]] += due[1]

        return end

    def value(self, duration: float, of_class: Any) -> float | None:
        begun = math.fsum(self._begun.values()) if of_class is ALL else self._begun.get(of_class, 0.0)
        in_time = math.fsum(self._in_time.values()) if of_class is ALL else self._in_time.get(of_class, 0.0)
        return 1.0 - in_time / begun if begun else None


class _Levels:
    def __init__(self, amount: Callable[[Record], float]) -> None:
        self._amount = amount
        self.held: dict[Any, tuple[float, float, Any]] = {}  # amount, since, class
        self.integral: dict[Any, float] = defaultdict(float)
        self.now: dict[Any, float] = defaultdict(float)
        self.most: dict[Any, float] = defaultdict(float)

    def beginning(self, place: int) -> Handler:
        end, held, now, most, amount_of = self.ending(place), self.held, self.now, self.most, self._amount

        def begin(time: float, record: Record, of_class: Any) -> None:
            end(time, record, of_class)
            amount = amount_of(record)
            held[record[place]] = (amount, time, of_class)
            for group in (ALL,) if of_class is ALL else (ALL, of_class):
                now[group] = level = now[group] + amount
                if level > most[group]:
                    most[group] = level

        return begin

    def ending(self, place: int) -> Handler:
        take, now, integral = self.held.pop, self.now, self.integral

        def end(time: float, record: Record, of_class: Any) -> None:
            begun = take(record[place], None)
            if begun is not None:
                amount, since, of_class = begun
                share = amount * (time - since)
                now[ALL] -= amount
                integral[ALL] += share
                if of_class is not ALL:
                    now[of_class] -= amount
                    integral[of_class] += share

        return end


class _Level:
    """A metric of `_Levels`."""

    def __init__(self, levels: _Levels, statistic: str, capacity: float) -> None:
        self._levels, self._statistic, self._capacity = levels, statistic, capacity

    def value(self, duration: float, of_class: Any) -> float | None:
        levels = self._levels
        if self._capacity <= 0:
            return None
        if self._statistic == "max":
            return levels.most.get(of_class, 0.0) / self._capacity
        total = levels.integral.get(of_class, 0.0) + math.fsum(
            amount * (duration - since)
            for amount, since, found in levels.held.values()
            if of_class is ALL or found == of_class
        )
        return total / self._capacity / (duration if self._statistic == "mean" else 1.0)


def _quantile(share: float) -> Callable[[list[float]], float]:
    """The smallest value that at least this share of the values does not exceed."""
    return lambda values: sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


_STATISTICS: Mapping[str, Callable[[list[float]], float]] = {
    "mean": lambda values: math.fsum(values) / len(values),
    "p50": _quantile(0.50),
    "p90": _quantile(0.90),
    "p95": _quantile(0.95),
    "p99": _quantile(0.99),
    "max": max,
    "total": math.fsum,
}


def _jain(values: Sequence[float]) -> float:
    squares = math.fsum(v * v for v in values)
    return 1.0 if squares == 0 else math.fsum(values) ** 2 / (len(values) * squares)


_ACROSS: Mapping[str, Callable[[list[float]], float]] = {
    "jain": _jain,
    "min": min,
    "max": max,
    "mean": lambda values: math.fsum(values) / len(values),
}


def input_statistics(inputs: Iterable[Record], spec: SystemSpec) -> dict[str, float]:
    """What bounds may use of a scenario's inputs: see `quintain_system.form.checks.bound_names`."""
    by_kind: dict[int, list[Record]] = defaultdict(list)
    for record in inputs:
        by_kind[record[1]].append(record)
    names: dict[str, float] = {}
    for number, (kind, what) in enumerate(spec.inputs.items()):
        records = by_kind[number]
        names[f"{kind}_count"] = float(len(records))
        for place, (field, of) in enumerate(what.fields.items(), start=2):
            values = [r[place] for r in records if r[place] is not None] if of.type in ("int", "float") else []
            if values:
                total = math.fsum(values)
                found = {"sum": total, "mean": total / len(values), "max": max(values), "min": min(values)}
                names |= {f"{kind}_{field}_{statistic}": float(value) for statistic, value in found.items()}
    return names
