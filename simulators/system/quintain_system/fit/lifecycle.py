"""What recordings show of how things go through a system: which event follows what, after how long, with which fields.

From the declarations come the kinds, who each record is about, and what is held (capacity invariants); from the train
recordings the order of events, where their fields come from, and first estimates of how long steps take.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from quintain_system.fit.episode import Episode, Kinds
from quintain_system.fit.laws import INSTANT, Fields, Law, Sample, law_of
from quintain_system.fit.needs import Attempt, Need, need_of
from quintain_system.form.names import id_field
from quintain_system.form.spec import Capacity, SystemSpec

RARE = 0.02  # share of a step, below which it is left to chance
SAME = 0.9  # share of the cases in which a field must have another's value to be taken from it
IMMEDIATE_SHARE = 0.95  # of the times of a step that takes none
MOST_SAMPLES = 4_000  # of a step
FEW_JOINS = 5
# Of a thing that the system made: the first one for the same, at the same place (its image is new there).
IS_FIRST = "is_first"


@dataclass
class Next:
    """One event that may come next. `immediate`: at once, as far as recorded."""

    event: str
    share: float
    immediate: bool
    law: Law
    samples: Sequence[Sample] = field(repr=False, default=())


@dataclass(frozen=True)
class Room:
    """A capacity invariant: `acquire` takes `amount` of `limit` (expressions), at the `place` if there are several."""

    name: str
    acquire: str
    release: tuple[str, ...]
    item: str
    amount: str
    place: str
    limit: str


@dataclass(frozen=True)
class Join:
    """A thing is done when all its parts are: `part` (an input) names it in its `field`, `event` tells of a part."""

    part: str
    field: str
    event: str


@dataclass
class Lifecycle:
    """`next` by kind of record, empty where a decision or nothing follows; `fields` of each event as expressions over
    ``it`` (the thing), and `before` each decision the kinds after which it was taken. `needs`: by kind of record the
    one event of `next` that comes when too little was given. `joins`: by event what it waits for."""

    spec: SystemSpec
    kinds: Kinds
    next: Mapping[str, Sequence[Next]]
    fields: Mapping[str, Mapping[str, str]]
    before: Mapping[str, Sequence[str]]
    needs: Mapping[str, tuple[str, Need]]
    joins: Mapping[str, Join]
    made_by: Mapping[str, Sequence[str]]  # event that introduces a thing -> the decisions that make one
    most_users: Mapping[str, int]  # thing that the system makes -> by how many others it was used at once
    idle_seconds: Mapping[tuple[str, str], float]  # (such a thing, event) -> how long it was idle before, the median
    rooms: Sequence[Room]
    companions: Mapping[str, Sequence[str]]  # event about nothing -> the kinds that it comes with
    classes: Sequence[Any]

    def thing(self, kind: str) -> str | None:
        return self.kinds.thing[self.kinds.number(kind)]


def lifecycle_of(spec: SystemSpec, kinds: Kinds, train: Sequence[Episode]) -> Lifecycle:
    seen = _Seen(spec, kinds)
    for episode in train:
        seen.add(episode)
    return seen.lifecycle()


class _Seen:
    def __init__(self, spec: SystemSpec, kinds: Kinds) -> None:
        self._spec, self._kinds = spec, kinds
        self._steps: dict[tuple[str, str], list[Sample]] = defaultdict(list)
        self._after: dict[str, Counter[str]] = defaultdict(Counter)  # kind -> the next record's kind of the same thing
        self._before: dict[str, Counter[str]] = defaultdict(Counter)
        self._firsts: dict[str, Counter[str]] = defaultdict(
            Counter
        )  # event that makes a thing -> what came just before
        self._with: dict[str, Counter[str]] = defaultdict(Counter)
        self._records: dict[str, list[Sample]] = defaultdict(list)
        self._classes: Counter[Any] = Counter()
        fields = {f: of.type for kind in kinds.specs for f, of in kind.fields.items()}
        self._names = frozenset(f for f, kind in fields.items() if kind in ("id", "ref", "index"))
        self._given = frozenset(
            f for kind in spec.decisions.values() for f, of in kind.fields.items() if of.type in ("int", "float")
        )
        self._users: dict[tuple[str, Any], set[Any]] = defaultdict(set)
        self._most_users: Counter[tuple[str, Any]] = Counter()
        self._idle_since: dict[tuple[str, Any], float] = {}
        self._last_idle: dict[tuple[str, str], list[float]] = {}  # (thing's kind, event) -> idle seconds before it
        # A decision about what no event tells of (how long a function's instances stay) is no state of that thing.
        self._told_of = {thing for n, thing in enumerate(kinds.thing) if kinds.is_event(n)}
        self._episodes = 0
        self._came: Counter[tuple[str, bool]] = Counter()  # (input, whether before the first event)
        self._joins: dict[str, Counter[Join]] = defaultdict(Counter)
        self._happened: Counter[str] = Counter()
        self._groups: frozenset[str] = frozenset()
        self._declared: dict[str, dict[Any, set[tuple[Any, ...]]]] = defaultdict(lambda: defaultdict(set))
        self._used_again = {of.of for n, kind in enumerate(kinds.specs) if kinds.is_event(n)
                            for of in kind.fields.values() if of.type == "ref" and of.of != kinds.thing[n]}  # fmt: skip

    def add(self, episode: Episode) -> None:
        kinds = self._kinds
        things: dict[tuple[str, Any], dict[str, Any]] = {}
        self._users.clear()
        self._idle_since.clear()
        last: dict[tuple[str, Any], tuple[float, str]] = {}
        decided: list[tuple[str, dict[str, Any]]] = []  # now, and what came of it is not yet seen
        now: list[str] = []
        moment, begun = -1.0, False
        self._episodes += 1
        parts = _Parts(self._spec)
        met: set[tuple[Any, ...]] = set()  # what things that the system made were for, and where
        for time, record in episode.history:
            number = record[0]
            name, place, thing_kind = kinds.names[number], kinds.key[number], kinds.thing[number]
            values = dict(zip(kinds.specs[number].fields, record[1:], strict=True))
            is_event = kinds.is_event(number)
            begun = begun or is_event
            if number < kinds.inputs:
                self._came[name, not begun] += 1
                if place is not None:
                    self._declared[name][record[place]].add(tuple(record[1:]))
            if time > moment:
                moment, now, decided = time, [], []
            self._happened[name] += 1
            self._joins[name].update(parts.told(name, values, time))
            if place is None or thing_kind is None:
                if is_event:
                    self._with[name].update(set(now))
                    self._record(name, Sample(0.0, {}, time, record))
                elif number >= kinds.decisions_from:
                    decided.append((name, values))
                now.append(name)
                continue
            thing = (thing_kind, record[place])
            known = things.get(thing)
            if known is None:
                known = things[thing] = {}
                if is_event:
                    by = _maker(decided, values)
                    if by is not None:
                        self._firsts[name][by[0]] += 1
                        known.update(by[1])
                        if name in self._used_again:
                            own = id_field(self._spec.events[name])
                            what = (name, *(v for f, v in values.items() if f in self._names and f != own))
                            known[IS_FIRST] = what not in met
                            met.add(what)
                    self._record(name, Sample(0.0, self._whole(known, things), time, record))
                    for lost in known.keys() - values.keys() - {IS_FIRST}:
                        del known[lost]  # of what made it (the request for which an instance was started)
            before = last.get(thing)
            if before is not None:
                self._after[before[1]][name] += 1
                self._before[name][before[1]] += 1
                if is_event:
                    sample = Sample(
                        time - before[0], self._whole(known, things), time, record, (self._episodes, *thing)
                    )
                    if len(self._steps[before[1], name]) < MOST_SAMPLES:
                        self._steps[before[1], name].append(sample)
                    self._record(name, sample)
            if number < kinds.inputs and self._spec.classes and self._spec.classes.of == name:
                self._classes[_plain(values[self._spec.classes.field])] += 1
            # The thing's id has a name of its own.
            key = "" if name == thing_kind else list(kinds.specs[number].fields)[place - 1]
            if number < kinds.decisions_from or thing_kind in self._told_of:
                known.update({k: v for k, v in values.items() if k != key})
            last[thing] = (time, name)
            now.append(name)
            if number >= kinds.decisions_from:
                decided.append((name, {**known, **values}))
            self._note_use(name, values, thing, time, decided)

    def _note_use(
        self, name: str, values: Mapping[str, Any], thing: tuple[str, Any], time: float, decided: Sequence[Any]
    ) -> None:
        """Of things that the system makes: who uses them, how many at once, and how long they stay idle."""
        for field_name, of in self._kinds.specs[self._kinds.number(name)].fields.items():
            if of.type == "ref" and of.of in self._spec.events and name in self._spec.events:
                used = (of.of or "", values[field_name])
                if used == thing:
                    if used in self._idle_since and not any(_names(d, used[1]) for d in decided):
                        self._last_idle.setdefault((used[0], name), []).append(time - self._idle_since[used])
                    self._idle_since[used] = time
                    continue
                users = self._users[used]
                if thing in users:
                    users.discard(thing)
                    self._idle_since[used] = time
                else:
                    users.add(thing)
                    self._idle_since.pop(used, None)
                self._most_users[used] = max(self._most_users[used], len(users))

    def _record(self, name: str, sample: Sample) -> None:
        if len(self._records[name]) < MOST_SAMPLES:
            self._records[name].append(sample)

    def _whole(self, known: Mapping[str, Any], things: Mapping[tuple[str, Any], Mapping[str, Any]]) -> dict[str, Any]:
        """As expressions over `it`: what is known of a thing, and of the things that it names."""
        found: dict[str, Any] = {}
        for attribute, value in known.items():
            found[f"it.{attribute}"] = value
            of = self._named(attribute)
            if of is not None and (of, value) in things:
                for other, theirs in things[of, value].items():
                    found[f'self.things["{of}"][it.{attribute}].{other}'] = theirs
        return found

    def _named(self, attribute: str) -> str | None:
        for kind in self._kinds.specs:
            of = kind.fields.get(attribute)
            if of is not None and of.type == "ref":
                return of.of
        return None

    # ---------------------------------------------------------------------------------------------------- results

    def lifecycle(self) -> Lifecycle:
        spec, kinds = self._spec, self._kinds
        self._groups = self._telling()
        joins = {name: join for name in spec.events if (join := self._join(name)) is not None}
        events = set(spec.events) - joins.keys()
        following = {name: found for name in kinds.names if (found := self._next(name, events))}
        return Lifecycle(
            spec=spec,
            kinds=kinds,
            next=following,
            fields={name: self._fields(name) for name in spec.events},
            before={name: [k for k, n in self._before[name].most_common()] for name in spec.decisions},
            needs={name: need for name, found in following.items() if (need := self._need(found)) is not None},
            joins=joins,
            made_by={n: [d for d, k in c.most_common() if k > RARE * c.total()] for n, c in self._firsts.items()},
            most_users=self._most_used(),
            idle_seconds={k: float(np.median(v)) for k, v in self._last_idle.items()},
            rooms=tuple(self._rooms()),
            companions={n: self._comes_with(n) for n in spec.events if kinds.key[kinds.number(n)] is None},
            classes=[c for c, _ in self._classes.most_common(20)],
        )

    def _telling(self) -> frozenset[str]:
        """Fields by whose values things may differ: not what comes and goes, whose ids mean another thing each time."""
        found = {IS_FIRST}
        declared = {n for n in self._spec.inputs if self._came[n, False] <= RARE * self._came[n, True]}
        for kind in self._kinds.specs:
            for name, of in kind.fields.items():
                if of.type == "ref" and of.of in declared:
                    found.add(self._identity(of.of) or name)
                elif of.type in ("index", "bool") or of.values:
                    found.add(name)
        return frozenset(found)

    def _identity(self, kind: str) -> str | None:
        """A field that tells things of this kind apart, if their ids mean another one in each recording; else None."""
        things = self._declared[kind]
        if all(len(told) == 1 for told in things.values()):
            return None
        told = set().union(*things.values())
        numbers = {
            name: len({fields[place] for fields in told})
            for place, (name, of) in enumerate(self._spec.inputs[kind].fields.items())
            if of.type in ("float", "int", "string")
        }
        return max(numbers, key=lambda name: (numbers[name], name), default=None)

    def _next(self, name: str, events: set[str]) -> list[Next]:
        after = self._after.get(name)
        if not after:
            return []
        total = sum(after.values())
        found = []
        fields = Fields(self._names, self._groups, self._given)
        for event, count in after.most_common():
            samples = self._steps.get((name, event), [])
            if event in events and count > RARE * total and samples:
                instant = sum(s.seconds <= INSTANT for s in samples) >= IMMEDIATE_SHARE * len(samples)
                found.append(Next(event, count / total, instant, law_of(samples, fields), samples))
        automatic = sum(n.share for n in found)
        if automatic < 0.5:  # mostly a decision or an input comes next
            return []
        return [Next(n.event, n.share / automatic, n.immediate, n.law, n.samples) for n in found]

    def _join(self, event: str) -> Join | None:
        """What happens whenever a thing's last part is done does not take a time of its own."""
        counted = self._joins[event]
        often = max(FEW_JOINS, SAME * self._happened[event])
        return next((join for join, n in counted.most_common(1) if n >= often), None)

    def _need(self, following: Sequence[Next]) -> tuple[str, Need] | None:
        """Of two events that may follow, the one that comes when what a decision gave was too little."""
        if len(following) != 2:
            return None
        given = {f"it.{name}" for name in self._given}
        for failure in reversed(following):  # the rarer one first
            attempts = [
                Attempt(
                    s.thing, {e: float(s.known[e]) for e in sorted(given & s.known.keys())}, one is failure, s.known
                )
                for one in following
                for s in one.samples
            ]
            amounts = set.intersection(*(set(a.given) for a in attempts))
            attempts = [replace(a, given={e: a.given[e] for e in sorted(amounts)}) for a in attempts]
            if (need := need_of(attempts, self._groups)) is not None:
                return failure.event, need
        return None

    def _fields(self, event: str) -> dict[str, str]:
        """An expression for each field but the thing's own id."""
        number = self._kinds.number(event)
        records = self._records.get(event, [])
        found: dict[str, str] = {}
        for place, name in enumerate(self._kinds.specs[number].fields, start=1):
            if place == self._kinds.key[number]:
                continue
            found[name] = _source(name, [(s.known, s.record[place]) for s in records[:500]])
        return found

    def _most_used(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for (kind, _), most in self._most_users.items():
            found[kind] = max(found.get(kind, 0), most)
        return found

    def _comes_with(self, event: str) -> list[str]:
        total = len(self._records.get(event, ()))
        return [kind for kind, n in self._with[event].most_common() if n > 0.05 * max(1, total) and kind != event]

    def _rooms(self) -> list[Room]:
        found = []
        for name, invariant in self._spec.invariants.items():
            if not isinstance(invariant, Capacity) or invariant.acquire not in self._spec.events:
                continue
            fields = self._fields(invariant.acquire)
            place = fields.get(invariant.per, "None") if invariant.per else "None"
            amount = str(invariant.amount)
            if isinstance(invariant.amount, str):
                amount = fields.get(invariant.amount, "1.0")
            limit = _limit(str(invariant.limit), self._spec)
            release = tuple(k for k in invariant.release if k in self._spec.events)
            found.append(Room(name, invariant.acquire, release, invariant.item, amount, place, limit))
        return found


# ------------------------------------------------------------------------------------------------------------ helpers


class _Parts:
    """Of one recording: the parts of each thing from outside (inputs that name it), and what was told of them."""

    def __init__(self, spec: SystemSpec) -> None:
        self._whole: dict[str, list[tuple[str, str]]] = defaultdict(list)  # part -> what it belongs to, its field
        for name, kind in spec.inputs.items():
            for field_name, of in kind.fields.items():
                if of.type == "ref" and of.of in spec.inputs and id_field(kind):
                    self._whole[name].append((of.of or "", field_name))
        self._identity = {n: f for n, kind in {**spec.inputs, **spec.events}.items() if (f := id_field(kind))}
        self._spec = spec
        self._parts: dict[tuple[str, str, str, Any], set[Any]] = defaultdict(set)  # part, its field, whole
        self._belongs: dict[tuple[str, str, Any], Any] = {}  # part's kind, its field, its id -> the whole's id
        self._told: dict[tuple[str, str, str, Any], set[Any]] = defaultdict(set)  # event, part, its field, whole
        self._latest: dict[tuple[str, str, str, Any], float] = {}

    def told(self, name: str, values: Mapping[str, Any], time: float) -> list[Join]:
        """The joins that would say why this event comes now."""
        for whole, field_name in self._whole.get(name, ()):
            own = values[self._identity[name]]
            self._parts[name, field_name, whole, values[field_name]].add(own)
            self._belongs[name, field_name, own] = values[field_name]
        if name not in self._spec.events:
            return []
        found = []
        for field_name, of in self._spec.events[name].fields.items():
            if of.type != "ref" or of.of is None:
                continue
            for _, part_field in self._whole.get(of.of, ()):
                whole_id = self._belongs.get((of.of, part_field, values[field_name]))
                self._told[name, of.of, part_field, whole_id].add(values[field_name])
                self._latest[name, of.of, part_field, whole_id] = time
            for (event, part, part_field, whole_id), told in self._told.items():
                if whole_id != values[field_name] or self._latest[event, part, part_field, whole_id] != time:
                    continue
                if told == self._parts[part, part_field, of.of, whole_id] and event != name:
                    found.append(Join(part, part_field, event))
        return found


def _maker(decided: list[tuple[str, dict[str, Any]]], values: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The decision of this moment that made a thing with these values, the one that says most of them; it makes no
    other."""
    said = [0] * len(decided)
    for number, (_, known) in enumerate(decided):
        shared = [k for k in values if k in known]
        said[number] = len(shared) if all(known[k] == values[k] for k in shared) else 0
    return decided.pop(said.index(max(said))) if decided else None


def _names(decision: tuple[str, Mapping[str, Any]], value: Any) -> bool:
    return value in decision[1].values()


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _source(name: str, cases: Sequence[tuple[Mapping[str, Any], Any]]) -> str:
    """Where a field's value comes from: an attribute of the thing, or else the most frequent value."""
    if not cases:
        return "None"
    equal: Counter[str] = Counter()
    for known, value in cases:
        equal.update(e for e, v in known.items() if type(v) is type(value) and v == value)
    for expression in (f"it.{name}",):
        if equal[expression] >= SAME * len(cases):
            return expression
    if equal:
        best = max(equal, key=lambda e: (equal[e], -len(e), e))
        if equal[best] >= SAME * len(cases):
            return best
    values = Counter(_plain(value) for _, value in cases)
    return repr(values.most_common(1)[0][0])


def _limit(text: str, spec: SystemSpec) -> str:
    """A limit as Python over ``self.config``."""
    import ast

    if text in spec.config and isinstance(spec.config[text].default, (list, tuple)):
        return f"self.config.{text}[place]"

    class Names(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            if node.id not in spec.config:
                return node
            found = ast.parse(f"self.config.{node.id}", mode="eval").body
            if isinstance(spec.config[node.id].default, (list, tuple)):
                return ast.parse(f"len(self.config.{node.id})", mode="eval").body
            return found

    return ast.unparse(Names().visit(ast.parse(text, mode="eval")))
