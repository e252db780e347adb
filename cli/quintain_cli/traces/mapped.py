"""Tables of one's own, with a map of their columns in TOML:

[columns]
arrival_seconds = "started"                                # a column, as it is
duration_seconds = { column = "ms", scale = 0.001 }        # in another unit
cpu_scaling = { value = "linear3" }                        # the same for all rows
priority = { column = "class", values = { gold = "QUERY", silver = "BATCH_PIPELINE" } }

[time]
format = "iso8601"        # or "number" (the default): seconds, after `scale`
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from quintain.errors import InvalidArgument
from quintain.plugins.trace import Row, TraceColumn, Value
from quintain_cli.traces.files import read_table

ARRIVAL = "arrival_seconds"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnMap(_Strict):
    """Where one column comes from: exactly one of `column` and `value`."""

    column: str = ""
    value: str | float | None = None
    scale: float | None = None
    values: dict[str, str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        return {"column": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_source(self) -> ColumnMap:
        if bool(self.column) == (self.value is not None):
            raise ValueError("give exactly one of column and value")
        return self


class TimeMap(_Strict):
    format: Literal["number", "iso8601"] = "number"


class TableMap(_Strict):
    columns: dict[str, ColumnMap]
    time: TimeMap = Field(default_factory=TimeMap)


def load_map(path: Path, columns: Sequence[TraceColumn]) -> TableMap:
    """Raises InvalidArgument for a key or column that the simulator's format does not have."""
    try:
        found = TableMap.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidArgument.of("map", f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument.of("map", f"{path}: is no TOML: {error}") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidArgument.of("map", f"{path}: {problems}") from None
    known = {column.name for column in columns}
    if unknown := sorted(set(found.columns) - known):
        raise InvalidArgument.of(
            "map", f"{path}: columns.{unknown[0]}: no such column; there are {', '.join(sorted(known))}"
        )
    if missing := [c.name for c in columns if c.required and c.name not in found.columns]:
        raise InvalidArgument.of("map", f"{path}: columns.{missing[0]}: is needed, and not mapped")
    return found


def read(paths: Sequence[Path], table_map: TableMap) -> Iterator[Row]:
    for path in paths:
        for place, record in read_table(path):
            yield Row(place, _values(place, record, table_map))


def _values(place: str, record: Mapping[str, Any], table_map: TableMap) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, source in table_map.columns.items():
        value = source.value if source.value is not None else _of(place, record, source)
        if value is not None:
            values[name] = _seconds(place, source, str(value), table_map) if name == ARRIVAL else value
    return values


def _of(place: str, record: Mapping[str, Any], source: ColumnMap) -> Value | None:
    """The mapped value, or None for an empty field."""
    if source.column not in record:
        raise InvalidArgument.of(
            "file", f"{place}: there is no column {source.column!r}; there are {', '.join(record)}"
        )
    found = record[source.column]
    if found is None or found == "":
        return None
    text = str(found)
    if source.values is not None:
        if text not in source.values:
            raise InvalidArgument.of("file", f"{place}:{source.column}: {text!r} is not in the map's values")
        return source.values[text]
    if source.scale is not None:
        try:
            return float(text) * source.scale
        except ValueError:
            raise InvalidArgument.of("file", f"{place}:{source.column}: {text!r} is not a number") from None
    return found if isinstance(found, float | int) and not isinstance(found, bool) else text


def _seconds(place: str, source: ColumnMap, text: str, table_map: TableMap) -> float:
    try:
        if table_map.time.format == "iso8601":
            return datetime.fromisoformat(text).timestamp()
        return float(text)
    except ValueError:
        wanted = "a time such as 2026-01-31T12:00:00+00:00" if table_map.time.format == "iso8601" else "a number"
        raise InvalidArgument.of("file", f"{place}:{source.column}: {text!r} is not {wanted}") from None
