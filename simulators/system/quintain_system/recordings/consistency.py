"""What contradicts itself in a recording, and what it does not show. Everything is said, nothing is mended.

A contradiction is what cannot have happened in the system that `system.toml` describes: an id that does not exist or is
there twice, a broken invariant. A note is what may well be and limits what can be learned: a long gap, decisions that
nothing followed, kinds that never occurred.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from quintain_system.engine.invariants import Invariants
from quintain_system.engine.records import Ids, Kind, kinds
from quintain_system.form.spec import SystemSpec
from quintain_system.recordings.form import Entry, Recording, declared

SHOWN = 3  # places of each rule
GAP_SHARE = 0.1  # of the duration
GAP_FACTOR = 10.0  # times the longest other pause


@dataclass
class Consistency:
    """`contradictions` by rule: how many, and the first places with what is wrong there."""

    entries: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    occurred: Counter[str] = field(default_factory=Counter)  # kind -> entries

    def words(self) -> Iterator[str]:
        """The contradictions, a line for each place that is shown."""
        for rule, places in self.first.items():
            yield from places
            left = self.counts[rule] - len(places)
            if left:
                yield f"{rule}: {left} more of this kind"

    def add(self, rule: str, place: str, message: str) -> None:
        self.counts[rule] += 1
        shown = self.first.setdefault(rule, [])
        if len(shown) < SHOWN:
            shown.append(f"{place}: {rule}: {message}")


def consistency(header: Recording, entries: Iterable[tuple[str, Entry]], spec: SystemSpec) -> Consistency:
    """`entries` with their places (``file:line``), in order of time, each checked by itself before."""
    found = Consistency()
    watch = _Watch(header, spec, found)
    for place, entry in entries:
        watch.take(place, entry)
    watch.end()
    return found


def placed(file: str, entries: Iterable[Entry]) -> Iterator[tuple[str, Entry]]:
    """The entries of a file as it was read, with their lines."""
    return ((f"{file}:{line}", entry) for line, entry in enumerate(entries, start=2))


def never_occurred(spec: SystemSpec, occurred: Counter[str]) -> list[str]:
    """A line for inputs, decisions and events, of those that have kinds which never occurred."""
    never = {role: [name for name in kinds_of if not occurred[name]] for role, kinds_of in declared(spec).items()}
    return [f"never occurred: {role} {', '.join(names)}" for role, names in never.items() if names]


class _Watch:
    def __init__(self, header: Recording, spec: SystemSpec, found: Consistency) -> None:
        ids: Ids = {}
        self._kinds = {
            role: {kind.name: kind for kind in kinds(specs, header.config, ids)}
            for role, specs in declared(spec).items()
        }
        self._invariants = Invariants(spec, header.config, header.duration)
        self._header, self._found = header, found
        self._occurred: Counter[str] = Counter()
        self._last, self._longest, self._other = 0.0, (0.0, 0.0), 0.0  # longest pause (length, from), the second one
        self._waiting: dict[tuple[str, Any], list[str]] = {}  # thing -> kinds of decisions that nothing followed yet
        self._decided: Counter[str] = Counter()
        self._refs = {
            kind: [(f.of, name) for name, f in of.fields.items() if f.type in ("ref", "id")]
            for specs in declared(spec).values()
            for kind, of in specs.items()
        }

    def take(self, place: str, entry: Entry) -> None:
        self._found.entries += 1
        self._occurred[entry.kind] += 1
        self._pause(entry.time)
        kind: Kind = self._kinds[entry.role][entry.kind]
        record = [0, *[entry.fields.get(name) for name in kind.fields]]
        problem = kind.problem(record)
        if problem is not None:
            self._found.add(problem[0], place, problem[1])
        elif entry.role != "decision":
            broken = self._invariants.problem(entry.kind, record)
            if broken is not None:
                self._found.add(f"invariant {broken[0]}", place, broken[1])
        self._effect(entry)

    def _pause(self, time: float) -> None:
        pause = time - self._last
        if pause > self._longest[0]:
            self._longest, self._other = (pause, self._last), self._longest[0]
        else:
            self._other = max(self._other, pause)
        self._last = time

    def _effect(self, entry: Entry) -> None:
        """An event about any of the things that a decision names is an effect of it."""
        things = [(of or entry.kind, entry.fields.get(name)) for of, name in self._refs[entry.kind]]
        if entry.role == "decision" and things:
            self._decided[entry.kind] += 1
            self._waiting.setdefault(things[0], []).append(entry.kind)
        elif entry.role == "event":
            for thing in things:
                self._waiting.pop(thing, None)

    def end(self) -> None:
        notes = self._found.notes
        self._pause(self._header.duration)
        length, begun = self._longest
        if length > GAP_SHARE * self._header.duration and length > GAP_FACTOR * self._other:
            notes.append(f"a gap: nothing from {begun:g} s to {begun + length:g} s")
        idle = Counter(kind for kinds_of in self._waiting.values() for kind in kinds_of)
        for kind, count in sorted(idle.items()):
            notes.append(f"{count} of {self._decided[kind]} decisions {kind} were followed by no event of their thing")
        self._found.occurred.update(self._occurred)
