"""A log of one's own as a recording, by a map (TOML) of its rows to kinds and of its columns to fields::

    policy = "fifo"                     # in force while this was logged, or "unknown"

    [config]
    servers = 4

    [time]
    format = "iso8601"                  # or "seconds", "milliseconds"; else the first row tells

    [[rows]]                            # a row may become several entries: one table for each
    input = "request"                   # or decision, event
    time = "arrived_at"                 # the column with its time; where it is empty there is no such entry
    when = { column = "what", is = ["arrive"] }     # optional: of which rows
    fields.id = "request_id"
    fields.size = { column = "class", values = { S = "small", L = "large" } }
    fields.work = { column = "ms", scale = 0.001 }

Rows are read one by one and sorted on disk, so that a log may be longer than the memory. Nothing is mended: what cannot
be carried over is counted and said, what contradicts itself is reported with the log's lines.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import pickle
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from quintain.plugins.simulator import InvalidInput
from quintain_system.form.checks import config_problem
from quintain_system.form.package import Placed, decoded, read_toml
from quintain_system.form.spec import ConfigValue, FieldSpec, Name, Strict, SystemSpec
from quintain_system.recordings.consistency import Consistency, consistency
from quintain_system.recordings.form import MAX_ENTRIES, Entry, EntryChecks, Recording, declared, finite, lines_of

MAP_FILE = "map.toml"
SORTED_AT_ONCE = 250_000  # entries in memory
MILLISECONDS_FROM = 1e11  # numbers of the epoch from here on are no seconds
PLACES_SHOWN = 3

LogRow = tuple[str, Mapping[str, Any]]  # file:line, columns
Sorted = tuple[float, int, int, str, Entry]  # time, row's number, table's number, place


class ColumnSpec(Strict):
    """Where a field comes from: a column (scaled, or with its values renamed), or a value for all rows."""

    column: str | None = None
    value: bool | int | float | str | None = None
    scale: float | None = None
    values: Mapping[str, str] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ColumnSpec:
        if (self.column is None) == (self.value is None):
            raise ValueError("give exactly one of column and value")
        return self


def _column_alone(given: Any) -> Any:
    return {"column": given} if isinstance(given, str) else given


class WhenSpec(Strict):
    column: str
    is_: tuple[str, ...] = Field(alias="is", min_length=1)


class RowsSpec(Strict):
    """Rows that become entries of one kind."""

    input: Name | None = None
    decision: Name | None = None
    event: Name | None = None
    time: str
    when: WhenSpec | None = None
    fields: Mapping[Name, Annotated[ColumnSpec, BeforeValidator(_column_alone)]] = {}

    @model_validator(mode="after")
    def _one_role(self) -> RowsSpec:
        if sum(kind is not None for kind in (self.input, self.decision, self.event)) != 1:
            raise ValueError("give exactly one of input, decision and event")
        return self

    @property
    def entry(self) -> tuple[Literal["input", "decision", "event"], str]:
        if self.input is not None:
            return "input", self.input
        return ("decision", self.decision) if self.decision is not None else ("event", self.event or "")


class TimeSpec(Strict):
    format: Literal["iso8601", "seconds", "milliseconds"] | None = None


class MapSpec(Strict):
    """`map.toml`"""

    policy: str = Field(min_length=1)
    about: str = ""
    config: Mapping[Name, ConfigValue] = {}
    time: TimeSpec = TimeSpec()
    rows: tuple[RowsSpec, ...] = Field(min_length=1)


@dataclass
class Imported:
    """`left_out` says what of the log is not in the recording, `consistency` what contradicts itself in it."""

    entries: int
    duration: float
    left_out: list[str]
    consistency: Consistency


def read_map(data: bytes, spec: SystemSpec) -> MapSpec:
    """Raises InvalidInput with line and key."""
    found = read_toml(MAP_FILE, data, MapSpec)
    place = Placed(MAP_FILE, decoded(MAP_FILE, data))
    for key, value in found.config.items():
        if key not in spec.config:
            raise place.error(("config", key), f"is unknown; known are: {', '.join(spec.config) or 'none'}")
        if problem := config_problem(spec.config[key], value):
            raise place.error(("config", key), problem)
    for number, rows in enumerate(found.rows):
        role, kind = rows.entry
        known = declared(spec)[role]
        if kind not in known:
            raise place.error(("rows", number, role), f"{kind!r} is unknown; known are: {', '.join(known)}")
        fields = known[kind].fields
        for name in rows.fields:
            if name not in fields:
                raise place.error(("rows", number, "fields", name), f"is unknown; known are: {', '.join(fields)}")
        for name, of in fields.items():
            if not of.optional and name not in rows.fields:
                raise place.error(("rows", number, "fields"), f"says nothing about the field {name!r} of {kind}")
    return found


def import_log(
    name: str, spec: SystemSpec, column_map: MapSpec, rows: Iterable[LogRow], out: IO[bytes], *,
    start: float = 0.0, seconds: float = math.inf,
) -> Imported:  # fmt: skip
    """Write a recording of the rows from `start` on, for so many `seconds` after the log's first entry. Raises
    InvalidInput with the log's line and column."""
    config = {key: of.default for key, of in spec.config.items()}
    for key, value in column_map.config.items():
        config[key] = float(value) if type(config[key]) is float and type(value) is int else value
    reader = _Reader(spec, column_map, config)
    with tempfile.TemporaryFile() as spill:
        runs = _sorted_runs(reader.entries(rows), spill)
        merged = heapq.merge(*runs, key=lambda item: item[:3])
        first = next(merged, None)
        if first is None:
            there_is = "; ".join(reader.left_out()) or "it has no rows"
            raise InvalidInput(name, f"no row of the log is of a kind that the map names: {there_is}")
        zero = first[0] + start
        last = min(reader.last - zero, seconds)
        if last < 0:
            raise InvalidInput(
                name, f"the log ends {reader.last - first[0]:g} s after its first entry, before {start:g} s"
            )
        header = Recording(name, spec.name, column_map.policy, config, max(last, 1e-9), (), zero, column_map.about)
        cut = _Cut(spec, zero, last, closed=start > 0.0)
        chosen = cut.entries(itertools.chain((first,), merged))
        found = consistency(header, _writing(header, chosen, out), spec)
    left_out = [*reader.left_out(), *cut.left_out()]
    if found.entries > MAX_ENTRIES:
        left_out.append(
            f"{found.entries} entries: a model is fitted to at most {MAX_ENTRIES} of one recording; import a part"
        )
    return Imported(found.entries, header.duration, left_out, found)


def _writing(header: Recording, entries: Iterator[tuple[str, Entry]], out: IO[bytes]) -> Iterator[tuple[str, Entry]]:
    """The same entries, each written as it goes by."""
    passing: list[tuple[str, Entry]] = []

    def one_by_one() -> Iterator[Entry]:
        for placed in entries:
            passing.append(placed)
            yield placed[1]

    lines = lines_of(header, one_by_one())
    out.write(next(lines))
    for line in lines:
        out.write(line)
        yield passing.pop()


def _sorted_runs(entries: Iterator[Sorted], spill: IO[bytes]) -> list[Iterator[Sorted]]:
    """Runs in order; all but the last are on disk."""
    offsets: list[int] = []
    while True:
        run = list(itertools.islice(entries, SORTED_AT_ONCE))
        run.sort(key=lambda item: item[:3])
        if len(run) < SORTED_AT_ONCE:
            return [*(_spilled(spill, offset) for offset in offsets), iter(run)]
        offsets.append(spill.seek(0, 2))
        for at in range(0, len(run), _CHUNK):
            pickle.dump(run[at : at + _CHUNK], spill)
        pickle.dump([], spill)


_CHUNK = 5_000


def _spilled(spill: IO[bytes], offset: int) -> Iterator[Sorted]:
    """A run that was written here before: our own file, which nobody else can name."""
    while True:
        spill.seek(offset)
        chunk: list[Sorted] = pickle.load(spill)
        if not chunk:
            return
        offset = spill.tell()
        yield from chunk


# -------------------------------------------------------------------------------------------------------------- rows


@dataclass
class _Table:
    """One ``[[rows]]``, ready to read with."""

    role: Literal["input", "decision", "event"]
    kind: str
    time: str
    when: WhenSpec | None
    fields: list[tuple[str, Callable[[str, Mapping[str, Any]], Any]]]


class _Reader:
    def __init__(self, spec: SystemSpec, column_map: MapSpec, config: Mapping[str, Any]) -> None:
        self._tables = []
        self.last = -math.inf
        self._columns: dict[str, None] = {}
        self._used: set[str] = set()
        self._unmatched: Counter[str] = Counter()
        self._unmatched_at: dict[str, str] = {}
        self._back: list[str] = []
        self._back_count = 0
        self._clock = _Clock(column_map.time.format)
        self._checks = {role: EntryChecks(kinds, config) for role, kinds in declared(spec).items()}
        for rows in column_map.rows:
            role, kind = rows.entry
            specs = declared(spec)[role][kind].fields
            fields = [(name, _reading(name, of, specs[name])) for name, of in rows.fields.items()]
            self._tables.append(_Table(role, kind, rows.time, rows.when, fields))
            columns = [of.column for of in rows.fields.values()]
            self._used |= {rows.time, *(c for c in columns if c), *([rows.when.column] if rows.when else [])}

    def entries(self, rows: Iterable[LogRow]) -> Iterator[Sorted]:
        latest = [-math.inf] * len(self._tables)
        for number, (place, row) in enumerate(rows):
            if number < 1000:
                self._columns.update(dict.fromkeys(row))
            matched = False
            for at, table in enumerate(self._tables):
                if table.when is not None and str(_column(place, row, table.when.column)) not in table.when.is_:
                    continue
                matched = True
                text = _column(place, row, table.time)
                if text is None or text == "":
                    continue
                time = self._clock.seconds(place, table.time, text)
                if time < latest[at]:
                    self._back_count += 1
                    if len(self._back) < PLACES_SHOWN:
                        self._back.append(place)
                latest[at] = max(latest[at], time)
                self.last = max(self.last, time)
                yield time, number, at, place, self._entry(place, row, table, time)
            if not matched:
                self._note_unmatched(place, row)

    def _entry(self, place: str, row: Mapping[str, Any], table: _Table, time: float) -> Entry:
        entry = Entry(time, table.role, table.kind, {name: read(place, row) for name, read in table.fields})
        if problem := self._checks[table.role].problem(entry):
            raise InvalidInput(f"{place}:{problem[0]}", problem[1])
        return entry

    def _note_unmatched(self, place: str, row: Mapping[str, Any]) -> None:
        columns = dict.fromkeys(table.when.column for table in self._tables if table.when is not None)
        what = ", ".join(f"{column} = {row.get(column)!r:.60}" for column in columns)
        if len(self._unmatched) < 1000 or what in self._unmatched:
            self._unmatched[what] += 1
            self._unmatched_at.setdefault(what, place)

    def left_out(self) -> list[str]:
        said = [
            f"{count} rows with {what}, which the map does not name (first: {self._unmatched_at[what]})"
            for what, count in self._unmatched.most_common(10)
        ]
        if unused := [column for column in self._columns if column not in self._used]:
            said.append(f"columns that are not in the map: {', '.join(unused)}")
        if self._back_count:
            said.append(
                f"the order of {self._back_count} rows, which came before the time of a row above them: entries are "
                f"sorted by time (first: {', '.join(self._back)})"
            )
        return said


def _column(place: str, row: Mapping[str, Any], column: str) -> Any:
    if column not in row:
        raise InvalidInput(f"{place}:{column}", f"there is no such column; there are: {', '.join(map(str, row))}")
    return row[column]


def _reading(name: str, of: ColumnSpec, spec: FieldSpec) -> Callable[[str, Mapping[str, Any]], Any]:
    """How a field is read from a row."""
    if of.column is None:
        return lambda place, row: of.value
    column, values, scale = of.column, of.values, of.scale

    def read(place: str, row: Mapping[str, Any]) -> Any:
        value = _column(place, row, column)
        if value is None or value == "":
            return None
        if values is not None:
            if str(value) not in values:
                known = ", ".join(values)
                raise InvalidInput(f"{place}:{column}", f"{value!r:.100} is not in the map's values: {known}")
            value = values[str(value)]
        found = _typed(place, column, value, spec)
        return found * scale if scale is not None and type(found) in (int, float) else found

    return read


def _typed(place: str, column: str, value: Any, spec: FieldSpec) -> Any:
    """A text of a CSV as the field's type; other values are as they are."""
    if not isinstance(value, str):
        return value
    try:
        match spec.type:
            case "int" | "index":
                return int(value)
            case "float":
                return float(value)
            case "bool":
                return {"true": True, "false": False, "1": True, "0": False}[value.lower()]
            case "id" | "ref":
                return int(value) if value.isascii() and value.isdigit() and str(int(value)) == value else value
            case "any":
                return json.loads(value)
    except (ValueError, KeyError):
        raise InvalidInput(f"{place}:{column}", f"{value!r:.100} is no {spec.type}") from None
    return value


@dataclass
class _Clock:
    """Times of one format, in seconds. The first one settles the format if the map does not."""

    format: str | None
    settled: str = ""  # where
    zone: bool | None = None
    of_epoch: bool | None = None
    _told: bool = field(init=False)

    def __post_init__(self) -> None:
        self._told = self.format is not None

    def seconds(self, place: str, column: str, value: Any) -> float:
        found, seconds, zone = _parsed(value, self.format)
        if found is None:
            wanted = self.format or "a number or a time such as 2026-01-31T12:00:00+00:00"
            raise InvalidInput(f"{place}:{column}", f"{value!r:.100} is no time ({wanted})")
        if self.format is None:
            self.format, self.zone = found, zone
        if not self.settled:
            self.settled, self.zone = place, zone
        if found != self.format or zone != self.zone:
            how = "the map says" if self._told and found != self.format else f"{self.settled} has"
            other = f"{self.format}{_ZONES[self.zone]}"
            message = f"{value!r:.100} is {found}{_ZONES[zone]}, {how} {other}: two formats of time in one log"
            raise InvalidInput(f"{place}:{column}", message)
        return seconds


_ZONES = {None: "", True: " with a zone", False: " without a zone"}


def _parsed(value: Any, wanted: str | None) -> tuple[str | None, float, bool | None]:
    """(format, seconds, whether it names a zone); None if it is no time. A number that cannot be seconds of this age is
    milliseconds."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                time = datetime.fromisoformat(value.strip())
            except ValueError:
                return None, 0.0, None
            return "iso8601", time.timestamp() if time.tzinfo else _naive(time), time.tzinfo is not None
    if not finite(value):
        return None, 0.0, None
    large = abs(value) >= MILLISECONDS_FROM
    if large or (wanted == "milliseconds" and abs(value) < MILLISECONDS_FROM / 1000):
        return "milliseconds", value / 1000, None
    if wanted == "milliseconds":
        return "seconds", value, None
    return "seconds", float(value), None


def _naive(time: datetime) -> float:
    """Seconds of a time without a zone, on a clock of its own: the zone of this machine means nothing."""
    return (time - datetime(1970, 1, 1)).total_seconds()


# --------------------------------------------------------------------------------------------------------------- part


class _Cut:
    """The part of the log that is wanted, its times from zero on. What is about things that began before it is left
    out, if it does not begin where the log does (`closed`)."""

    def __init__(self, spec: SystemSpec, zero: float, length: float, *, closed: bool) -> None:
        self._zero, self._length, self._closed = zero, length, closed
        self._known: dict[str, set[Any]] = {}
        self._keys: dict[str, Sequence[tuple[str, str, str]]] = {
            kind: [(f.type, f.of or kind, name) for name, f in of.fields.items() if f.type in ("id", "ref")]
            for specs in declared(spec).values()
            for kind, of in specs.items()
        }
        self._older = 0
        self._outside = 0

    def entries(self, found: Iterator[Sorted]) -> Iterator[tuple[str, Entry]]:
        for time, _, _, place, entry in found:
            after = time - self._zero
            if not 0.0 <= after <= self._length:
                self._outside += 1
            elif self._closed and not self._begun_within(entry):
                self._older += 1
            else:
                yield place, Entry(after, entry.role, entry.kind, entry.fields)

    def _begun_within(self, entry: Entry) -> bool:
        keys = self._keys[entry.kind]
        for what, of, name in keys:
            value = entry.fields.get(name)
            if what == "ref" and value is not None and value not in self._known.get(of, ()):
                return False
        for what, of, name in keys:
            if what == "id":
                self._known.setdefault(of, set()).add(entry.fields.get(name))
        return True

    def left_out(self) -> list[str]:
        said = [f"{self._outside} entries outside the part that was asked for"] if self._outside else []
        if self._older:
            said.append(f"{self._older} entries about things that began before the part that was asked for")
        return said
