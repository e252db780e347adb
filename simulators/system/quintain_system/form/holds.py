"""Invariants that can never hold, whatever a model says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from quintain_system.form.formula import Formula
from quintain_system.form.names import config_numbers, kinds_of
from quintain_system.form.spec import Capacity, Conservation, Order, SystemSpec


def limit_problem(spec: SystemSpec, invariant: Capacity, config: Mapping[str, object]) -> str:
    """What is wrong with a capacity under this configuration; empty if something fits into it."""
    if isinstance(config.get(str(invariant.limit)), tuple | list):
        return ""
    least = invariant.amount
    if isinstance(least, str):
        least = kinds_of(spec)[invariant.acquire].fields[least].min or 0.0
    limit = Formula(invariant.limit).value(config_numbers(config))
    return "" if limit is None or limit >= least else f"can never hold: the limit is {limit:g} and one takes {least:g}"


def impossible_order(spec: SystemSpec) -> tuple[str, str] | None:
    """(an invariant's name, what is wrong) if kinds would have to come before one another, each for the same thing."""
    before: dict[tuple[str, str], set[str]] = {}  # (by, kind) -> what must have come
    for name, by, first, then in _orders(spec):
        before.setdefault((by, then), set()).add(first)
        if then in _all_before(before, by, first):
            return name, f"can never hold: {first} comes before {then}, and {then} before {first}"
    return None


def _orders(spec: SystemSpec) -> Iterator[tuple[str, str, str, str]]:
    for name, invariant in spec.invariants.items():
        match invariant:
            case Order(first=first, then=then, by=by):
                yield name, by, first, then
            case Conservation(enter=(enter,), leave=leave, by=by):
                for then in leave:
                    yield name, by, enter, then


def _all_before(before: Mapping[tuple[str, str], set[str]], by: str, kind: str) -> set[str]:
    found: set[str] = set()
    ahead = [kind]
    while ahead:
        new = before.get((by, ahead.pop()), set()) - found
        found |= new
        ahead += new
    return found
