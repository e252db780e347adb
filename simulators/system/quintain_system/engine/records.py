"""Checks of inputs, events and decisions against their declared kinds. A record is ``[kind's number, field, ...]``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from quintain_system.form.spec import FieldSpec, KindSpec

Check = Callable[[Any], str]
Ids = dict[str, set[Any]]

MAX_ID_CHARACTERS = 200


class Kind:
    """One declared kind, ready to check records with. `id_index` and `refs` are positions in a record."""

    def __init__(self, name: str, spec: KindSpec, config: Mapping[str, Any], ids: Ids) -> None:
        self.name = name
        self.fields = tuple(spec.fields)
        self.index = {field: number for number, field in enumerate(self.fields, start=1)}
        self.hidden = spec.hidden
        self.visible = tuple(self.index[name] for name, field in spec.fields.items() if not field.hidden)
        self.shown_whole = not spec.hidden and len(self.visible) == len(self.fields)
        self.shown_fields = tuple(name for name, field in spec.fields.items() if not field.hidden)
        self.id_index = next((self.index[n] for n, f in spec.fields.items() if f.type == "id"), None)
        self._checks = [(self.index[n], n, _check(f, config, ids)) for n, f in spec.fields.items() if f.type != "any"]
        self._length = len(self.fields) + 1
        self._introduced = ids.setdefault(name, set()) if self.id_index is not None else set()

    def problem(self, record: Any) -> tuple[str, str] | None:
        """(rule, what is wrong) or None. An id that is introduced counts as known from then on."""
        if len(record) != self._length:
            return "fields", f"{self.name} has {len(record) - 1} fields, must have {len(self.fields)}"
        for index, name, check in self._checks:
            message = check(record[index])
            if message:
                rule = "unknown_id" if message.startswith("names") else "field"
                return rule, f"{self.name}.{name} {message}"
        if self.id_index is not None:
            value = record[self.id_index]
            if value in self._introduced:
                return "duplicate_id", f"{self.name} {value!r} is there already"
            self._introduced.add(value)
        return None

    def shown(self, record: Sequence[Any]) -> str:
        """``kind(field=value, ...)`` of the fields that a policy may see."""
        values = [record[i] for i in self.visible]
        shown = [f"{v:.4g}" if isinstance(v, float) else repr(v) for v in values]
        return f"{self.name}({', '.join(f'{f}={v}' for f, v in zip(self.shown_fields, shown, strict=True))})"

    def introduce(self, values: Sequence[Any]) -> None:
        """Note the id of a record that was checked before; `values` are its fields."""
        if self.id_index is not None:
            self._introduced.add(values[self.id_index - 1])


class Everything(set[Any]):
    """The ids of things that come about in a run, before it."""

    def __contains__(self, value: object) -> bool:
        return True


def kinds(specs: Mapping[str, KindSpec], config: Mapping[str, Any], ids: Ids) -> list[Kind]:
    return [Kind(name, spec, config, ids) for name, spec in specs.items()]


def number_of(record: Any, kinds: Sequence[Kind]) -> int | None:
    """The record's kind, None if this is no record of one of `kinds`."""
    if type(record) is list and record and type(record[0]) is int and 0 <= record[0] < len(kinds):
        return record[0]
    return None


def check_field(field: FieldSpec, config: Mapping[str, Any]) -> Check:
    """A check that says what is wrong with a value; empty if nothing is."""
    return _check(field, config, {})


def _check(field: FieldSpec, config: Mapping[str, Any], ids: Ids) -> Check:
    check = _plain_check(field, config, ids)
    if field.optional:
        return lambda value: "" if value is None else check(value)
    return check


def _plain_check(field: FieldSpec, config: Mapping[str, Any], ids: Ids) -> Check:
    match field.type:
        case "int":
            return _number(field, (int,), "a whole number")
        case "float":
            return _number(field, (int, float), "a number")
        case "bool":
            return lambda value: "" if type(value) is bool else f"is {value!r:.100}; must be true or false"
        case "string":
            return _string(field)
        case "id":
            return _id
        case "ref":
            assert field.of is not None
            known = ids.setdefault(field.of, set())
            of = field.of

            def reference(value: Any) -> str:
                if type(value) is not int and type(value) is not str:
                    return f"is {value!r:.100}; must be the id of a {of}"
                return "" if value in known else f"names {of} {value!r:.100}, which does not exist"

            return reference
        case "index":
            return _index(field, config)
        case "any":
            return lambda value: ""


def _number(field: FieldSpec, types: tuple[type, ...], what: str) -> Check:
    low = -math.inf if field.min is None else field.min
    high = math.inf if field.max is None else field.max

    def number(value: Any) -> str:
        if type(value) not in types or value != value:
            return f"is {value!r:.100}; must be {what}"
        return "" if low <= value <= high else f"is {value!r}; must be between {low:g} and {high:g}"

    return number


def _string(field: FieldSpec) -> Check:
    values = frozenset(field.values) if field.values is not None else None

    def string(value: Any) -> str:
        if type(value) is not str:
            return f"is {value!r:.100}; must be a text"
        if values is not None and value not in values:
            return f"is {value!r:.100}; must be one of {', '.join(sorted(values))}"
        return ""

    return string


def _id(value: Any) -> str:
    if type(value) is int or (type(value) is str and 0 < len(value) <= MAX_ID_CHARACTERS):
        return ""
    return f"is {value!r:.100}; must be a whole number or a text of at most {MAX_ID_CHARACTERS} characters"


def _index(field: FieldSpec, config: Mapping[str, Any]) -> Check:
    assert field.of is not None
    count = config[field.of]
    most = len(count) if isinstance(count, tuple | list) else count
    of = field.of

    def index(value: Any) -> str:
        if type(value) is int and 0 <= value < most:
            return ""
        return f"names {of} {value!r:.100}, which does not exist: there are 0 to {most - 1}"

    return index
