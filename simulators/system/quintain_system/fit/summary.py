"""What a history shows of what happened: steps and their times, counts, values, and what was held."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quintain_system.fit.episode import Episode, Kinds, Step
from quintain_system.form.names import key_field
from quintain_system.form.spec import Capacity, Level, SystemSpec

CURVE_POINTS = 60  # of a window, for what is held


@dataclass
class Times:
    """The times of one step: who, when it began, how long it took."""

    things: list[tuple[Any, int]] = field(default_factory=list)  # id, how many times it took this step before
    begun: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    places: list[Any] = field(default_factory=list)  # where: the field that counts through the configuration


@dataclass
class Summary:
    """What one history shows: by step (kind before, kind of event), by kind of event, and by what holds."""

    steps: dict[tuple[int, int], Times]
    order: dict[tuple[Any, int, int], int]  # (thing, kind, its how-manieth): the kind of event that came next
    counts: dict[int, list[float]]  # kind -> times
    values: dict[tuple[int, int], Counter[Any]]  # (kind, place) -> values
    levels: dict[str, np.ndarray[Any, Any]]
    classes: dict[Any, Any]  # thing -> class


class Summaries:
    """Reads histories of one recording's inputs and decisions: the recorded one, and what models say."""

    def __init__(self, spec: SystemSpec, kinds: Kinds, episode: Episode) -> None:
        self._spec, self._kinds, self._episode = spec, kinds, episode
        self._holders = _holders(spec)
        self._few = _fields_of_few_values(kinds)
        self._place = _places(kinds)

    def of(self, history: Sequence[Step]) -> Summary:
        kinds, counts_at = self._kinds, self._episode.recording.counts
        thing_of, key_of, inputs, decisions_from = kinds.thing, kinds.key, kinds.inputs, kinds.decisions_from
        steps: dict[tuple[int, int], Times] = defaultdict(Times)
        counts: dict[int, list[float]] = defaultdict(list)
        values: dict[tuple[int, int], Counter[Any]] = defaultdict(Counter)
        order: dict[tuple[Any, int, int], int] = {}
        last: dict[Any, tuple[float, int, int]] = {}  # thing -> time, kind, how-manieth of the record before
        seen: Counter[Any] = Counter()
        classes: dict[Any, Any] = {}
        at: dict[Any, Any] = {}  # thing -> place
        class_kind, class_place = self._class_place()
        for time, record in history:
            number = record[0]
            place = key_of[number]
            thing = None if place is None else (thing_of[number], record[place])
            if number == class_kind and thing is not None:
                classes[thing] = record[class_place]
            is_event = inputs <= number < decisions_from
            if is_event and counts_at(time):
                counts[number].append(time)
                for few in self._few.get(number, ()):
                    values[number, few][_hashable(record[few])] += 1
            if thing is None:
                continue
            before = last.get(thing)
            where = self._place.get(number, 0)
            if before is not None and is_event and counts_at(before[0]):
                step = steps[before[1], number]
                step.things.append((thing, before[2]))
                step.begun.append(before[0])
                step.seconds.append(time - before[0])
                step.places.append(record[where] if where else at.get(thing))
                order[thing, before[1], before[2]] = number
            if where:
                at[thing] = record[where]
            seen[thing, number] += 1
            last[thing] = (time, number, seen[thing, number])
        return Summary(dict(steps), order, dict(counts), dict(values), self._levels(history), classes)

    def _class_place(self) -> tuple[int, int]:
        classes = self._spec.classes
        if classes is None:
            return -1, 0
        number = self._kinds.number(classes.of)
        return number, self._kinds.place(number, classes.field)

    @property
    def grid(self) -> np.ndarray[Any, Any]:
        """The times at which a summary says what is held."""
        return np.concatenate(
            [np.linspace(a, b, CURVE_POINTS, endpoint=False) for a, b in self._episode.recording.windows]
        )

    def _levels(self, history: Sequence[Step]) -> dict[str, np.ndarray[Any, Any]]:
        grid = self.grid
        found = {}
        for name, holder in self._holders.items():
            times, changes = holder.changes(history, self._kinds)
            order = np.argsort(times, kind="stable")
            held = np.concatenate([[0.0], np.cumsum(np.asarray(changes, dtype=float)[order])])
            found[name] = held[np.searchsorted(np.asarray(times, dtype=float)[order], grid, side="right")]
        return found


@dataclass(frozen=True)
class _Holder:
    """What is held from one kind of event to others."""

    acquire: str
    release: tuple[str, ...]
    item: dict[str, int]  # kind -> place of the id
    amount: int | float  # a place in `acquire`'s record, or a number
    amount_is_place: bool

    def changes(self, history: Sequence[Step], kinds: Kinds) -> tuple[list[float], list[float]]:
        times, changes = [], []
        held: dict[Any, float] = {}
        acquire = kinds.number(self.acquire)
        release = {kinds.number(kind): self.item[kind] for kind in self.release}
        item = self.item[self.acquire]
        for time, record in history:
            if record[0] == acquire:
                amount = float(record[int(self.amount)] or 0) if self.amount_is_place else float(self.amount)
                held[record[item]] = held.get(record[item], 0.0) + amount
                times.append(time)
                changes.append(amount)
            elif record[0] in release:
                amount = held.pop(record[release[record[0]]], 0.0)
                if amount:
                    times.append(time)
                    changes.append(-amount)
        return times, changes


def _holders(spec: SystemSpec) -> dict[str, _Holder]:
    """The capacity invariants, and level metrics that hold something else."""
    found: dict[str, _Holder] = {}
    kinds = {**spec.inputs, **spec.events}

    def add(name: str, acquire: str, release: Sequence[str], by: str, amount: str | float) -> None:
        if acquire not in kinds or any(kind not in kinds for kind in release):
            return
        places = {}
        for kind in (acquire, *release):
            key = key_field(spec, kind, by)
            if key is None:
                return
            places[kind] = list(kinds[kind].fields).index(key) + 1
        fields = list(kinds[acquire].fields)
        is_place = isinstance(amount, str) and amount in fields
        value = fields.index(str(amount)) + 1 if is_place else float(amount) if not isinstance(amount, str) else 1.0
        holder = _Holder(acquire, tuple(release), places, value, is_place)
        if holder not in found.values():
            found[name] = holder

    for name, invariant in spec.invariants.items():
        if isinstance(invariant, Capacity):
            add(name, invariant.acquire, invariant.release, invariant.item, invariant.amount)
    for name, metric in spec.metrics.items():
        if isinstance(metric, Level):
            add(name, metric.start, metric.end, metric.by, metric.amount)
    return found


def _fields_of_few_values(kinds: Kinds) -> dict[int, list[int]]:
    """Fields of events that say what kind of thing it was: truths and texts, but no ids."""
    return {
        number: [place for place, f in enumerate(kind.fields.values(), start=1) if f.type == "bool" or f.values]
        for number, kind in enumerate(kinds.specs)
        if kinds.is_event(number)
    }


def _places(kinds: Kinds) -> dict[int, int]:
    """By kind: the place in its records of the first field that counts through the configuration."""
    found: dict[int, int] = {}
    for number, kind in enumerate(kinds.specs):
        for place, of in enumerate(kind.fields.values(), start=1):
            if of.type == "index":
                found.setdefault(number, place)
    return found


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
