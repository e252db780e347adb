"""What always holds: each record of a run goes through these, and the first that breaks one ends the run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from quintain_system.form.formula import Formula
from quintain_system.form.names import config_numbers, key_field
from quintain_system.form.spec import Capacity, Conservation, Invariant, Once, Order, SystemSpec

Record = list[Any]
Watch = Callable[[Record], str]  # what is wrong, empty if nothing is
_TOLERANCE = 1e-9  # relative, of sums of amounts that are not whole


class Invariants:
    """`problem` by kind: (the invariant's name, what is wrong) or None."""

    def __init__(self, spec: SystemSpec, config: Mapping[str, Any], duration: float) -> None:
        self._watches: dict[str, list[tuple[str, Watch]]] = defaultdict(list)
        self._spec, self._config, self._duration = spec, config, duration
        for name, invariant in spec.invariants.items():
            self._add(name, invariant)

    def of(self, kind: str) -> Sequence[tuple[str, Watch]]:
        """The names of a kind's invariants, and what each record of it goes through."""
        return self._watches.get(kind, ())

    def problem(self, kind: str, record: Record) -> tuple[str, str] | None:
        for name, watch in self.of(kind):
            message = watch(record)
            if message:
                return name, message
        return None

    def _add(self, name: str, invariant: Invariant) -> None:
        match invariant:
            case Conservation(enter=enter, leave=leave, by=by):
                self._paired(name, enter, leave, by, "leaves without having entered, or twice")
            case Order(first=first, then=then, by=by):
                self._paired(name, (first,), (then,), by, f"comes without a {first} before it")
            case Once(of=of, by=by):
                self._once(name, of, by)
            case Capacity():
                self._capacity(name, invariant)

    def _key(self, kind: str, by: str) -> int:
        field = key_field(self._spec, kind, by)
        kinds = {**self._spec.inputs, **self._spec.events}
        return list(kinds[kind].fields).index(field or "") + 1

    def _paired(self, name: str, first: Sequence[str], then: Sequence[str], by: str, wrong: str) -> None:
        counts: Counter[Any] = Counter()
        for kind in first:
            self._watches[kind].append((name, _counting(counts, self._key(kind, by))))
        for kind in then:
            self._watches[kind].append((name, _taking(counts, self._key(kind, by), f"{kind}: {by}", wrong)))

    def _once(self, name: str, of: Sequence[str], by: str) -> None:
        seen: set[Any] = set()
        for kind in of:
            self._watches[kind].append((name, _first_only(seen, self._key(kind, by), f"{kind}: {by}")))

    def _capacity(self, name: str, invariant: Capacity) -> None:
        kinds = {**self._spec.inputs, **self._spec.events}
        fields = list(kinds[invariant.acquire].fields)
        place = fields.index(invariant.amount) + 1 if isinstance(invariant.amount, str) else None
        fixed = invariant.amount if isinstance(invariant.amount, float) else 0.0
        per = fields.index(invariant.per) + 1 if invariant.per is not None else None
        item = self._key(invariant.acquire, invariant.item)
        limit = self._limit(invariant)
        held: dict[Any, tuple[Any, float]] = {}
        used: dict[Any, float] = defaultdict(float)

        def acquire(record: Record) -> str:
            key, where = record[item], record[per] if per is not None else None
            if key in held:
                return f"{invariant.acquire}: {invariant.item} {key!r} holds already"
            amount = record[place] if place is not None else fixed
            held[key] = (where, amount)
            used[where] += amount
            most = limit(where)
            if used[where] > most * (1 + _TOLERANCE):
                at = f" of {invariant.per} {where!r}" if per is not None else ""
                return f"{invariant.acquire}: {used[where]:g} held{at}, and the limit is {most:g}"
            return ""

        def release(place: int) -> Watch:
            def released(record: Record) -> str:
                where, amount = held.pop(record[place], (None, 0.0))
                if amount:
                    used[where] -= amount
                return ""

            return released

        self._watches[invariant.acquire].append((name, acquire))
        for kind in invariant.release:
            self._watches[kind].append((name, release(self._key(kind, invariant.item))))

    def _limit(self, invariant: Capacity) -> Callable[[Any], float]:
        listed = self._config.get(invariant.limit) if isinstance(invariant.limit, str) else None
        if isinstance(listed, tuple | list):
            return lambda where: listed[where]
        names = config_numbers(self._config) | {"duration": self._duration}
        value = Formula(invariant.limit).value(names)
        most = 0.0 if value is None else value
        return lambda where: most


def _counting(counts: Counter[Any], place: int) -> Watch:
    def count(record: Record) -> str:
        counts[record[place]] += 1
        return ""

    return count


def _taking(counts: Counter[Any], place: int, what: str, wrong: str) -> Watch:
    def take(record: Record) -> str:
        key = record[place]
        if counts[key] <= 0:
            return f"{what} {key!r} {wrong}"
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
        return ""

    return take


def _first_only(seen: set[Any], place: int, what: str) -> Watch:
    def first(record: Record) -> str:
        if record[place] in seen:
            return f"{what} {record[place]!r} comes a second time"
        seen.add(record[place])
        return ""

    return first
