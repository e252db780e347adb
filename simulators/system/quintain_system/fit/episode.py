"""A recording made ready for rollouts: kinds by number, the script that a model is given, and who each record is about.

Kinds are numbered through: inputs, then events, then decisions. A record is ``[kind's number, field, ...]``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from quintain_system.form.names import id_field
from quintain_system.form.spec import KindSpec, SystemSpec
from quintain_system.guest.rollout import MadeIds
from quintain_system.recordings.form import Entry, Recording

Record = list[Any]
Step = tuple[float, Record]


@dataclass(frozen=True)
class Kinds:
    """The declared kinds of a package by number. `thing` and `key`: what a record of this kind is about, and the place
    of its id in a record; None for a kind that is about nothing (a node is free again)."""

    names: tuple[str, ...]
    specs: tuple[KindSpec, ...]
    inputs: int
    events: int
    thing: tuple[str | None, ...]
    key: tuple[int | None, ...]

    @property
    def decisions_from(self) -> int:
        return self.inputs + self.events

    def is_event(self, number: int) -> bool:
        return self.inputs <= number < self.decisions_from

    def place(self, number: int, field: str) -> int:
        return list(self.specs[number].fields).index(field) + 1

    def number(self, name: str) -> int:
        return self.names.index(name)

    @cached_property
    def told_of_made(self) -> list[list[int] | None]:
        """By kind of event that introduces a thing: the place of its id, then those of the fields that say what it is,
        in a recording as in a model of it. None for the others."""
        found: list[list[int] | None] = []
        for spec in self.specs[self.inputs : self.decisions_from]:
            own = id_field(spec)
            if own is None:
                found.append(None)
                continue
            says = [
                place
                for place, of in enumerate(spec.fields.values(), start=1)
                if of.type in ("index", "string", "bool") or (of.type == "ref" and of.of not in self._events)
            ]
            found.append([list(spec.fields).index(own) + 1, *says])
        return found

    @cached_property
    def refers_to_made(self) -> list[list[int]]:
        """By kind of decision: the places of ids that only events introduce."""
        made = {name for name in self._events if id_field(self.specs[self.number(name)])}
        return [
            [place for place, of in enumerate(spec.fields.values(), start=1) if of.type == "ref" and of.of in made]
            for spec in self.specs[self.decisions_from :]
        ]

    @property
    def _events(self) -> tuple[str, ...]:
        return self.names[self.inputs : self.decisions_from]


def kinds_by_number(spec: SystemSpec) -> Kinds:
    together = {**spec.inputs, **spec.events, **spec.decisions}
    ranks = thing_ranks(spec)
    about = [_about(name, kind, ranks) for name, kind in together.items()]
    return Kinds(
        names=tuple(together),
        specs=tuple(together.values()),
        inputs=len(spec.inputs),
        events=len(spec.events),
        thing=tuple(thing for thing, _ in about),
        key=tuple(key for _, key in about),
    )


def thing_ranks(spec: SystemSpec) -> dict[str, tuple[int, int]]:
    """Kinds with an id, the most particular highest: a request that names its function is above the function. Of two
    that do not name each other, what comes from outside is above what the system makes (a request, its container)."""
    depth: dict[str, int] = {}
    kinds = {**spec.inputs, **spec.events}
    introduced = [name for name, kind in kinds.items() if id_field(kind)]

    def deep(name: str, seen: tuple[str, ...]) -> int:
        if name not in depth:
            named = [f.of for f in kinds[name].fields.values() if f.type == "ref" and f.of in introduced]
            depth[name] = 1 + max(
                (deep(of, (*seen, name)) for of in named if of and of not in (*seen, name)), default=0
            )
        return depth[name]

    return {name: (int(name in spec.inputs and _is_worked_on(spec, name)), deep(name, ())) for name in introduced}


def _is_worked_on(spec: SystemSpec, name: str) -> bool:
    """Whether some event tells of this input: then it is work that comes, and not something that is declared."""
    return any(f.type == "ref" and f.of == name for kind in spec.events.values() for f in kind.fields.values())


def _about(name: str, kind: KindSpec, ranks: Mapping[str, tuple[int, int]]) -> tuple[str | None, int | None]:
    if own := id_field(kind):
        return name, list(kind.fields).index(own) + 1
    places = {f.of: place for place, f in enumerate(kind.fields.values(), start=1) if f.type == "ref" and f.of in ranks}
    if not places:
        return None, None
    thing = max(places, key=lambda of: ranks[of or ""])
    return thing, places[thing]


@dataclass(frozen=True)
class Episode:
    """A recording as records. `script` is what a model's process is sent: ``[time, role, kind's number within its role,
    field, ...]``; `history` everything that happened, decisions included.

    The ids of what a system makes are each model's own, so a decision in the script names such a thing by what it is
    (`guest.rollout.MadeIds`): ``[event's number, [what the event said of it], how many like it were made since]``."""

    recording: Recording
    script: tuple[list[Any], ...]
    history: tuple[Step, ...]
    digest: str

    @property
    def events(self) -> int:
        return len(self.history) - len(self.script)


def episode_of(recording: Recording, kinds: Kinds) -> Episode:
    history: list[Step] = []
    script: list[list[Any]] = []
    sha = hashlib.sha256()
    meaning = [recording.config, recording.duration, recording.windows]
    sha.update(json.dumps(meaning, sort_keys=True).encode())
    numbers = {name: number for number, name in enumerate(kinds.names)}
    made = MadeIds(kinds.told_of_made)
    same_call = False
    for entry in recording.entries:
        number = numbers[entry.kind]
        record = [number, *[entry.fields.get(field) for field in kinds.specs[number].fields]]
        history.append((entry.time, record))
        sha.update(json.dumps([entry.time, record]).encode())
        if entry.role == "event":
            same_call = False
            made.note([number - kinds.inputs, *record[1:]])
            continue
        role = 0
        if entry.role == "decision":
            role = 2 if same_call and script[-1][0] == entry.time else 1
        same_call = entry.role == "decision"
        fields = record[1:]
        if role:
            number -= kinds.decisions_from
            for place in kinds.refers_to_made[number]:
                fields[place - 1] = made.described(fields[place - 1])
        script.append([entry.time, role, number, *fields])
    return Episode(recording, tuple(script), tuple(history), sha.hexdigest())


def beginning(recording: Recording, most: int) -> Recording:
    """The recording, or as much of its beginning as has `most` entries."""
    if len(recording.entries) <= most:
        return recording
    end = recording.entries[most].time
    windows = tuple((low, min(high, end)) for low, high in recording.windows if low < end) or ((0.0, end),)
    kept: tuple[Entry, ...] = recording.entries[:most]
    return replace(recording, entries=kept, duration=max(end, 1e-9), windows=windows)


def digest_of(episodes: Sequence[Episode]) -> str:
    return hashlib.sha256("\n".join(e.digest for e in episodes).encode()).hexdigest()
