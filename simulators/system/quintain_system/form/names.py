"""Kinds, ids and numbers of a system by name."""

from __future__ import annotations

from collections.abc import Mapping

from quintain_system.form.spec import KindSpec, SystemSpec


def kinds_of(spec: SystemSpec) -> dict[str, KindSpec]:
    """Inputs, events and decisions by name."""
    return {**spec.inputs, **spec.events, **spec.decisions}


def id_field(kind: KindSpec) -> str | None:
    return next((name for name, field in kind.fields.items() if field.type == "id"), None)


def key_field(spec: SystemSpec, kind: str, by: str) -> str | None:
    """The field of `kind` that says which `by` it is about: its own id, or a reference."""
    fields = kinds_of(spec)[kind].fields
    if kind == by:
        return id_field(kinds_of(spec)[kind])
    return next((name for name, field in fields.items() if field.type == "ref" and field.of == by), None)


def config_numbers(config: Mapping[str, object]) -> dict[str, float]:
    """The configuration as formulas see it: a list counts with its length."""
    numbers: dict[str, float] = {}
    for name, value in config.items():
        if isinstance(value, tuple | list):
            numbers[name] = float(len(value))
        elif isinstance(value, int | float):
            numbers[name] = float(value)
    return numbers
