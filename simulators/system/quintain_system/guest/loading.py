"""Loading of source: what the three guests share."""

import sys
from collections.abc import Callable
from operator import itemgetter
from types import ModuleType
from typing import Any

from quintain_system.interface import Record

SOURCE_FILENAME = "policy.py"  # what the sandbox looks for in a traceback, whatever the file's real name is

_new_record = Record.__new__


def load_module(source: str, name: str) -> ModuleType:
    module = ModuleType(f"quintain_system_{name}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source, SOURCE_FILENAME, "exec"), module.__dict__)
    return module


class Kinds:
    """Declared kinds of one sort (inputs, decisions, events), by number. `plain`: [[name, [field, ...]], ...]."""

    def __init__(self, what: str, plain: Any) -> None:
        self._what = what
        self.names = [name for name, _ in plain]
        self.fields = [tuple(fields) for _, fields in plain]
        self._names = [("kind", *fields) for fields in self.fields]
        self._timed_names = [("time", "kind", *fields) for fields in self.fields]
        self._number = {name: number for number, name in enumerate(self.names)}
        self._encoders = [_encoder(number, fields) for number, fields in enumerate(self.fields)]

    def decode(self, values: Any) -> Record:
        """`values`: [kind's number, field, ...]"""
        number = values[0]
        return self._record(number, dict(zip(self._names[number], values, strict=True)))

    def decode_timed(self, values: Any) -> Record:
        """`values`: [time, kind's number, field, ...]"""
        number = values[1]
        return self._record(number, dict(zip(self._timed_names[number], values, strict=True)))

    def _record(self, number: int, inside: dict[str, Any]) -> Record:
        inside["kind"] = self.names[number]
        record = _new_record(Record)
        record.__dict__ = inside
        return record

    def encode(self, record: Any) -> list[Any]:
        """[kind's number, field, ...]. Raises Wrong, which says what would be right."""
        if isinstance(record, Record):
            inside: dict[str, Any] = record.__dict__
        elif isinstance(record, dict):
            inside = record
        else:
            raise Wrong(None, f"expected {self._what}, got {record!r:.200}")
        kind = inside.get("kind")
        number = self._number.get(kind) if isinstance(kind, str) else None
        if number is None:
            raise Wrong(
                line_of(record), f"{kind!r:.100} is not declared as {self._what}; declared are: {', '.join(self.names)}"
            )
        fields = self.fields[number]
        try:
            values = self._encoders[number](inside)
        except KeyError as error:
            message = f"{self._what} {kind!r} lacks the field {error}; its fields are: {_listed(fields)}"
            raise Wrong(line_of(record), message) from None
        if len(inside) != len(fields) + 2 or "_line" not in inside:  # kind and _line are all else that it has
            extra = [name for name in inside if name not in (*fields, "kind", "time", "_line")]
            if extra:
                raise Wrong(
                    line_of(record),
                    f"{self._what} {kind!r} has no field {extra[0]!r}; its fields are: {_listed(fields)}",
                )
        return values


def _encoder(number: int, fields: tuple[str, ...]) -> Callable[[dict[str, Any]], list[Any]]:
    """Raises KeyError with the field that is not there."""
    if len(fields) > 1:
        get = itemgetter(*fields)
        return lambda inside: [number, *get(inside)]
    if fields:
        only = fields[0]
        return lambda inside: [number, inside[only]]
    return lambda inside: [number]


class Wrong(Exception):
    """A record that is none of the declared kinds; `line` is where it was made, if that is known."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def line_of(record: Any) -> int | None:
    line = getattr(record, "__dict__", {}).get("_line")
    return line if isinstance(line, int) else None


def _listed(fields: tuple[str, ...]) -> str:
    return ", ".join(fields) or "none"
