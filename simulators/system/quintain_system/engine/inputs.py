"""The inputs of a scenario: read from a trace, or drawn from declared distributions."""

from __future__ import annotations

import bisect
import csv
import gzip
import io
import itertools
import math
import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from quintain.plugins.simulator import InvalidInput
from quintain_system.engine.records import Kind
from quintain_system.form.spec import ArrivalSpec, Distribution, FieldSpec, KindSpec, ScenarioSpec

MAX_INPUTS = 2_000_000  # in one scenario
MAX_TRACE_BYTES = 512 << 20  # unpacked

Input = list[Any]  # [time, kind's number, field, ...]


# ------------------------------------------------------------------------------------------------------------- drawn


def draw_inputs(scenario: ScenarioSpec, specs: Mapping[str, KindSpec]) -> list[Input]:
    """All arrivals in order of time. The same on every machine and Python version."""
    numbers = {name: number for number, name in enumerate(specs)}
    ids = itertools.count()
    drawn: list[tuple[float, int, Input]] = []
    for number, arrival in enumerate(scenario.arrivals):
        source = random.Random(f"{scenario.seed}:{number}:{arrival.kind}")
        for time, values in _arrivals(arrival, scenario.duration, specs[arrival.kind].fields, source):
            drawn.append((time, len(drawn), [time, numbers[arrival.kind], *values]))
            if len(drawn) > MAX_INPUTS:
                raise InvalidInput(f"{scenario.name}:arrivals", f"there are more than {MAX_INPUTS} inputs")
    drawn.sort(key=lambda entry: entry[:2])
    inputs = [entry[2] for entry in drawn]
    id_places = {numbers[n]: 2 + i for n, s in specs.items() for i, f in enumerate(s.fields.values()) if f.type == "id"}
    for values in inputs:
        place = id_places.get(values[1])
        if place is not None:
            values[place] = next(ids)
    return inputs


def _arrivals(
    arrival: ArrivalSpec, duration: float, fields: Mapping[str, FieldSpec], source: random.Random
) -> Iterator[tuple[float, list[Any]]]:
    end = duration if arrival.end is None else min(arrival.end, duration)
    draws = [_draw(arrival.fields.get(name), field, source) for name, field in fields.items()]
    burst = arrival.burst
    peak = arrival.rate * max(1.0, burst.factor if burst else 1.0)
    time = arrival.start
    while True:
        # A process of the peak's rate, thinned where the rate is lower.
        time += -math.log(1.0 - source.random()) / peak if arrival.process == "poisson" else 1.0 / peak
        if time >= end:
            return
        rate = arrival.rate
        if burst is not None and (time - arrival.start) % burst.every < burst.length:
            rate *= burst.factor
        if rate < peak and source.random() * peak >= rate:
            continue
        yield time, [draw() for draw in draws]


def _draw(distribution: Distribution | None, field: FieldSpec, source: random.Random) -> Callable[[], Any]:
    if distribution is None:
        return lambda: None
    value = _plain_draw(distribution, source)
    most = distribution.max
    if field.type == "int":
        return lambda: round(value() if most is None else min(value(), most))
    if most is not None:
        return lambda: min(value(), most)
    return value


def _plain_draw(distribution: Distribution, source: random.Random) -> Callable[[], Any]:
    uniform = source.random
    if distribution.uniform is not None:
        low, high = distribution.uniform
        return lambda: low + (high - low) * uniform()
    if distribution.exponential is not None:
        mean = distribution.exponential
        return lambda: -mean * math.log(1.0 - uniform())
    if distribution.lognormal is not None:
        median, sigma = distribution.lognormal
        return lambda: median * math.exp(source.gauss(0.0, sigma))
    if distribution.pareto is not None:
        smallest, exponent = distribution.pareto
        return lambda: smallest / (1.0 - uniform()) ** (1.0 / exponent)
    if distribution.choice is not None:
        return _weighted(list(distribution.choice), list(distribution.choice.values()), source)
    if distribution.zipf is not None:
        count, exponent = distribution.zipf
        return _weighted(list(range(count)), [(rank + 1) ** -exponent for rank in range(count)], source)
    constant = distribution.constant
    return lambda: constant


def _weighted(values: list[Any], weights: list[float], source: random.Random) -> Callable[[], Any]:
    sums = list(itertools.accumulate(weights))
    return lambda: values[min(bisect.bisect_right(sums, source.random() * sums[-1]), len(values) - 1)]


# ------------------------------------------------------------------------------------------------------------- traces


def read_trace(
    file: str, data: bytes, kinds: list[Kind], specs: Mapping[str, KindSpec], duration: float
) -> list[Input]:
    """CSV with the columns ``time`` (seconds), ``kind`` (not needed if there is one kind of input) and the fields.
    Raises InvalidInput with file, row and column."""
    text = _unpacked(file, data)
    if '"' not in text and text.count("\n") > MAX_INPUTS + 1:  # said before millions of rows are read
        raise _too_many(file, MAX_INPUTS + 2)
    rows = csv.reader(io.StringIO(text, newline=""))
    header = next(rows, None)
    if not header:
        raise InvalidInput(f"{file}:1", "is empty; the first row must name the columns: time and the fields")
    if "time" not in header:
        raise InvalidInput(f"{file}:1", f"needs a column 'time'; the first row is {header}")
    known = {"time", "kind", *(field for spec in specs.values() for field in spec.fields)}
    if unknown := [name for name in header if name not in known]:
        raise InvalidInput(f"{file}:1:{unknown[0]}", f"is an unknown column; known are: {', '.join(sorted(known))}")
    if "kind" not in header and len(specs) > 1:
        raise InvalidInput(f"{file}:1", f"needs a column 'kind': one of {', '.join(specs)}")
    reader = _Rows(file, header, kinds, specs)
    inputs: list[Input] = []
    try:
        for row in rows:
            if not row:
                continue
            values = reader.read(row, rows.line_num)
            if values[0] > duration:
                raise InvalidInput(
                    f"{file}:{rows.line_num}:time", f"{values[0]} is after the scenario's end, {duration:g} s"
                )
            inputs.append(values)
            if len(inputs) > MAX_INPUTS:
                raise _too_many(file, rows.line_num)
    except csv.Error as error:
        raise InvalidInput(f"{file}:{rows.line_num}", f"is not CSV: {error}") from None
    return inputs


def _too_many(file: str, line: int) -> InvalidInput:
    return InvalidInput(f"{file}:{line}", f"has more than {MAX_INPUTS} rows; split it by time")


class _Rows:
    def __init__(self, file: str, header: list[str], kinds: list[Kind], specs: Mapping[str, KindSpec]) -> None:
        self._file, self._header, self._kinds = file, header, kinds
        self._column = {name: number for number, name in enumerate(header)}
        self._numbers = {kind.name: number for number, kind in enumerate(kinds)}
        self._fields = [list(specs[kind.name].fields.items()) for kind in kinds]
        self._last = 0.0

    def read(self, row: list[str], line: int) -> Input:
        if len(row) != len(self._header):
            raise InvalidInput(f"{self._file}:{line}", f"has {len(row)} cells, the first row has {len(self._header)}")
        name = row[self._column["kind"]] if "kind" in self._column else self._kinds[0].name
        if name not in self._numbers:
            raise InvalidInput(f"{self._file}:{line}:kind", f"{name!r} is none of {', '.join(self._numbers)}")
        number = self._numbers[name]
        record: Input = [number]
        for field, spec in self._fields[number]:
            record.append(self._value(row, field, spec, line))
        problem = self._kinds[number].problem(record)
        if problem is not None:
            raise InvalidInput(f"{self._file}:{line}", problem[1])
        return [self._time(row, line), *record]

    def _time(self, row: list[str], line: int) -> float:
        text = row[self._column["time"]]
        try:
            time = float(text)
        except ValueError:
            time = math.nan
        if not math.isfinite(time) or time < 0:
            raise InvalidInput(f"{self._file}:{line}:time", f"{text!r}; must be seconds from the beginning")
        if time < self._last:
            raise InvalidInput(
                f"{self._file}:{line}:time", f"{time} is before the row above, {self._last}; sort by time"
            )
        self._last = time
        return time

    def _value(self, row: list[str], field: str, spec: FieldSpec, line: int) -> Any:
        text = row[self._column[field]].strip() if field in self._column else ""
        if not text:
            if spec.optional:
                return None
            raise InvalidInput(f"{self._file}:{line}:{field}", "is empty")
        try:
            match spec.type:
                case "int" | "index":
                    return int(text)
                case "float":
                    return float(text)
                case "bool":
                    return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
                case "id" | "ref":
                    return int(text) if text.isascii() and text.isdigit() and str(int(text)) == text else text
        except (ValueError, KeyError):
            raise InvalidInput(f"{self._file}:{line}:{field}", f"{text!r} is no {spec.type}") from None
        return text


def _unpacked(file: str, data: bytes) -> str:
    if file.endswith(".gz"):
        try:
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(MAX_TRACE_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidInput(file, f"cannot be unpacked: {error}") from None
        if len(data) > MAX_TRACE_BYTES:
            raise InvalidInput(file, f"has more than {MAX_TRACE_BYTES >> 20} MiB unpacked; split it by time")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(file, f"is not UTF-8 text at byte {error.start}") from None
