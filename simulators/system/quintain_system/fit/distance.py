"""How far what a model says is from what was recorded: components, each 0 (the same) to 1, and their weighted mean.

Only what begins within the recording's windows counts. The groups:

* ``step``: thing by thing, given the same inputs and decisions: does the same event come next, and after how long;
* ``times``: the distributions of these times, by class: median, 99th percentile, Wasserstein-1;
* ``counts``: how many events of each kind, when, and with which values of fields that have few (cold or not);
* ``levels``: what is held over time, from the capacity invariants and the metrics of type ``level``.

Two numbers differ by ``|a - b| / (max(a, b) + tiny)``, tiny being a twentieth of the mean recorded time of a step.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from quintain_system.fit.episode import Episode, Kinds, Step
from quintain_system.form.names import key_field
from quintain_system.form.spec import Capacity, Level, SystemSpec

WEIGHTS = {"step": 0.15, "times": 0.5, "counts": 0.2, "levels": 0.15}
FEW_TIMES = 5  # fewer say nothing of a distribution
FEW_OF_CLASS = 10
MOST_CLASSES, MOST_PLACES = 5, 8
BUCKETS = 10  # of a window, for counts over time
CURVE_POINTS = 60  # of a window, for what is held
QUANTILES = np.linspace(0.01, 0.99, 51)  # the median is in the middle
TINY = 0.05  # of the mean recorded time: a difference of so little says little
HIGH_LOAD = 0.8  # quantile of the things in progress
IMMEDIATE_WEIGHT = 0.25  # of a step that takes no time in the recording
WORST = 1.0


@dataclass(frozen=True)
class Component:
    """One thing that was compared. `recorded` and `said` are its most telling numbers in `unit`, None where there is
    none; `words` name what is wrong, empty if little is; `weight` is within its group."""

    group: str
    name: str
    value: float
    recorded: float | None = None
    said: float | None = None
    unit: str = ""
    words: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Distance:
    """All components, the means of the groups, and the distance itself."""

    components: tuple[Component, ...]

    @property
    def groups(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for group in WEIGHTS:
            members = [c for c in self.components if c.group == group]
            if members:
                weight = sum(c.weight for c in members)
                found[group] = sum(c.weight * c.value for c in members) / weight
        return found

    @property
    def value(self) -> float:
        groups = self.groups
        if not groups:
            return WORST
        return sum(WEIGHTS[g] * v for g, v in groups.items()) / sum(WEIGHTS[g] for g in groups)

    def worst(self, most: int = 8) -> list[Component]:
        """Components with words, those that matter most first; of several recordings that say the same, one."""
        said = [c for c in self.components if c.words]
        found: dict[str, Component] = {}
        for component in sorted(said, key=lambda c: (-WEIGHTS[c.group] * c.weight * c.value, c.name)):
            found.setdefault(component.name.partition(" in ")[0], component)
        return list(found.values())[:most]


def together(by_recording: Mapping[str, Distance]) -> Distance:
    """Over several recordings, each of which counts alike."""
    return Distance(
        tuple(
            replace(c, name=f"{c.name} in {recording}", words=f"{c.words} (in {recording})" if c.words else "")
            for recording, distance in by_recording.items()
            for c in distance.components
        )
    )


@dataclass
class _Times:
    """The times of one step: who, when it began, how long it took."""

    things: list[tuple[Any, int]] = field(default_factory=list)  # id, how many times it took this step before
    begun: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    places: list[Any] = field(default_factory=list)  # where: the field that counts through the configuration


@dataclass
class Summary:
    """What one history shows: by step (kind before, kind of event), by kind of event, and by what holds."""

    steps: dict[tuple[int, int], _Times]
    order: dict[tuple[Any, int, int], int]  # (thing, kind, its how-manieth): the kind of event that came next
    counts: dict[int, list[float]]  # kind -> times
    values: dict[tuple[int, int], Counter[Any]]  # (kind, place) -> values
    levels: dict[str, np.ndarray[Any, Any]]
    classes: dict[Any, Any]  # thing -> class


class Comparison:
    """One recording, ready to be compared with what models say."""

    def __init__(self, spec: SystemSpec, kinds: Kinds, episode: Episode) -> None:
        self._spec, self._kinds, self._episode = spec, kinds, episode
        self._holders = _holders(spec)
        self._worded = True
        self._few = _fields_of_few_values(kinds)
        self._place = _places(kinds)
        self._inputs_things = {kinds.thing[n] for n in range(kinds.inputs)}
        self._recorded = self.summary(episode.history)
        self._tiny = self._tiny_seconds()
        self._busy = self._busy_from()

    def distance(self, said: Sequence[Sequence[Step]], *, worded: bool = True) -> Distance:
        """Of one or more rollouts that differ by chance alone. Of each component it is an energy distance: the mean
        over the rollouts, less half of what they are apart from one another. So a model with the right spread is
        nearest, and not one with none. Without `worded` nothing is said of times, which takes longer than the rest."""
        self._worded = worded
        found = [self.summary(history) for history in said]
        compared = [self._compared(self._recorded, summary) for summary in found]
        if len(found) == 1:
            return Distance(tuple(compared[0]))
        between = [self._compared(a, b) for a, b in itertools.pairwise(found)]
        apart: dict[tuple[str, str], list[float]] = defaultdict(list)
        own: dict[tuple[str, str], list[Component]] = defaultdict(list)
        for component in itertools.chain(*between):
            apart[component.group, component.name].append(component.value)
        for component in itertools.chain(*compared):
            own[component.group, component.name].append(component)
        return Distance(tuple(_mean(members, apart.get(key, ()), len(said)) for key, members in own.items()))

    def _compared(self, recorded: Summary, said: Summary) -> list[Component]:
        return [
            *self._of_steps(recorded, said),
            *self._of_times(recorded, said),
            *self._of_counts(recorded, said),
            *self._of_levels(recorded, said),
        ]

    # ------------------------------------------------------------------------------------------------------ summary

    def summary(self, history: Sequence[Step]) -> Summary:
        kinds, counts_at = self._kinds, self._episode.recording.counts
        thing_of, key_of, inputs, decisions_from = kinds.thing, kinds.key, kinds.inputs, kinds.decisions_from
        steps: dict[tuple[int, int], _Times] = defaultdict(_Times)
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

    def _tiny_seconds(self) -> float:
        seconds = [s for times in self._recorded.steps.values() for s in times.seconds]
        return TINY * float(np.mean(seconds)) + 1e-9 if seconds else 1e-9

    def _busy_from(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], float]:
        """How many things are in progress over time in the recording, and from how many on it is busy."""
        kinds = self._kinds
        first: dict[Any, float] = {}
        final: dict[Any, float] = {}
        for time, record in self._episode.history:
            place = kinds.key[record[0]]
            if place is not None and kinds.thing[record[0]] in self._inputs_things:
                thing = (kinds.thing[record[0]], record[place])
                first.setdefault(thing, time)
                if kinds.is_event(record[0]):
                    final[thing] = time
        edges = sorted([(first[t], 1) for t in final] + [(final[t], -1) for t in final])
        times = np.array([t for t, _ in edges])
        level = np.cumsum([c for _, c in edges]) if edges else np.array([])
        return times, level, float(np.quantile(level, HIGH_LOAD)) if len(level) else 0.0

    def _load_at(self, begun: Sequence[float]) -> np.ndarray[Any, Any]:
        times, level, _ = self._busy
        if not len(level):
            return np.zeros(len(begun))
        return np.concatenate([[0.0], level])[np.searchsorted(times, np.asarray(begun), side="right")]

    # --------------------------------------------------------------------------------------------------- components

    def _difference(self, a: float, b: float) -> float:
        return abs(a - b) / (max(a, b) + self._tiny)

    def _of_steps(self, of: Summary, said: Summary) -> list[Component]:
        """Only of things from outside: the ids of what a model makes are its own."""
        found = []
        kinds = self._kinds
        for (before, number), times in sorted(of.steps.items()):
            if kinds.thing[number] not in self._inputs_things or len(times.seconds) < FEW_TIMES:
                continue
            theirs = said.steps.get((before, number), _Times())
            own = dict(zip(theirs.things, theirs.seconds, strict=True))
            other = wrong = 0
            errors = []
            for thing, seconds in zip(times.things, times.seconds, strict=True):
                if thing in own:
                    errors.append(self._difference(own[thing], seconds))
                else:
                    errors.append(WORST)
                    other += (thing[0], before, thing[1]) in said.order
                    wrong += 1
            words = ""
            if wrong > 0.02 * len(errors):
                instead = f", for {other} of them another event comes" if other else ""
                names = f"`{kinds.names[number]}` follows `{kinds.names[before]}`"
                words = f"{wrong} of {len(errors)} times no {names}{instead}"
            name = f"{kinds.names[number]} after {kinds.names[before]}"
            weight = self._weight(times)
            found.append(Component("step", name, float(np.mean(errors)), None, None, "", words, weight))
        return found

    def _weight(self, times: _Times) -> float:
        return IMMEDIATE_WEIGHT if float(np.mean(times.seconds)) <= self._tiny else 1.0

    def _of_times(self, of: Summary, said: Summary) -> list[Component]:
        found = []
        for step, times in sorted(of.steps.items()):
            if len(times.seconds) < FEW_TIMES:
                continue
            theirs = said.steps.get(step, _Times())
            name = f"{self._kinds.names[step[1]]} after {self._kinds.names[step[0]]}"
            whole = self._of_distribution(name, times, theirs)
            groups = self._groups(times, theirs, of, said)
            by_class = [self._of_distribution(f"{name}, {c}", a, b) for c, a, b in groups]
            weight = self._weight(times)
            parts = [(whole, weight if not by_class else weight / 2)]
            parts += [(component, weight / 2 / len(by_class)) for component in by_class]
            for component, share in parts:
                found.append(replace(component, weight=share))
        return found

    def _groups(
        self, times: _Times, theirs: _Times, recorded: Summary, said: Summary
    ) -> list[tuple[str, _Times, _Times]]:
        """The times of each common class, and at each common place."""
        found = []
        mine = [recorded.classes.get(thing) for thing, _ in times.things]
        for labels, own, what, most in (
            (mine, [said.classes.get(thing) for thing, _ in theirs.things], "", MOST_CLASSES),
            (times.places, theirs.places, "at ", MOST_PLACES),
        ):
            counted = Counter(labels)
            if len(counted) > 1:
                common = [c for c, n in counted.most_common(most) if n >= FEW_OF_CLASS and c is not None]
                found += [
                    (f"{what}{c}", _only(times, labels, c), _only(theirs, own, c)) for c in sorted(common, key=str)
                ]
        return found

    def _of_distribution(self, name: str, times: _Times, theirs: _Times) -> Component:
        b = _quantiles(times.seconds)
        mean_recorded = math.fsum(times.seconds) / len(times.seconds)
        if not theirs.seconds:
            return Component("times", name, WORST, mean_recorded, None, "s", f"`{name}` never comes")
        a = _quantiles(theirs.seconds)
        wasserstein = float(np.abs(a - b).mean() / (a.mean() + b.mean() + self._tiny))
        middle = len(QUANTILES) // 2
        median = self._difference(float(a[middle]), float(b[middle]))
        tail = self._difference(float(a[-1]), float(b[-1]))
        value = (median + tail + wasserstein) / 3
        mean_said = math.fsum(theirs.seconds) / len(theirs.seconds)
        words = self._said_of_times(name, times, theirs) if self._worded and value > 0.1 else ""
        return Component("times", name, value, mean_recorded, mean_said, "s", words)

    def _said_of_times(self, name: str, times: _Times, theirs: _Times) -> str:
        recorded, said = np.asarray(times.seconds), np.asarray(theirs.seconds)
        text = f"`{name}` comes {_compared(float(np.mean(said)), float(np.mean(recorded)))}"
        busy, busy_said = self._load_at(times.begun) >= self._busy[2], self._load_at(theirs.begun) >= self._busy[2]
        if FEW_TIMES <= busy.sum() < len(busy) and FEW_TIMES <= busy_said.sum() < len(busy_said):
            high = _ratio(float(np.mean(said[busy_said])), float(np.mean(recorded[busy])))
            low = _ratio(float(np.mean(said[~busy_said])), float(np.mean(recorded[~busy])))
            if max(high, 1 / high) > 1.3 * max(low, 1 / low):
                text += f"; above {HIGH_LOAD:.0%} load it is {_times_as(high)}, below {_times_as(low)}"
            elif max(low, 1 / low) > 1.3 * max(high, 1 / high):
                text += f"; below {HIGH_LOAD:.0%} load it is {_times_as(low)}, above {_times_as(high)}"
        return text

    def _of_counts(self, of: Summary, said: Summary) -> list[Component]:
        found = []
        kinds = self._kinds
        for number in sorted({*of.counts, *said.counts}):
            recorded, own = of.counts.get(number, []), said.counts.get(number, [])
            a, b = len(own), len(recorded)
            value = abs(a - b) / max(a, b)
            if b >= 2 * BUCKETS:
                value = (value + self._of_buckets(own, recorded)) / 2
            words = (
                f"`{kinds.names[number]}` happens {a} times, recorded are {b}" if abs(a - b) > 0.05 * max(a, b) else ""
            )
            found.append(Component("counts", kinds.names[number], value, b, a, "", words))
        for (number, place), recorded_values in sorted(of.values.items()):
            if (
                len(recorded_values) > 1
                or said.values.get((number, place), recorded_values).keys() != recorded_values.keys()
            ):
                found.append(
                    self._of_values(number, place, recorded_values, said.values.get((number, place), Counter()))
                )
        return found

    def _of_buckets(self, own: Sequence[float], recorded: Sequence[float]) -> float:
        difference = total = 0.0
        for low, high in self._episode.recording.windows:
            edges = np.linspace(low, high, BUCKETS + 1)
            a, b = np.histogram(own, edges)[0], np.histogram(recorded, edges)[0]
            difference += float(np.abs(a - b).sum())
            total += float((a + b).sum())
        return difference / total if total else 0.0

    def _of_values(self, number: int, place: int, recorded: Counter[Any], own: Counter[Any]) -> Component:
        name = f"{self._kinds.names[number]}.{list(self._kinds.specs[number].fields)[place - 1]}"
        total, total_own = sum(recorded.values()), sum(own.values())
        if not total_own:
            return Component("counts", name, WORST)
        shares = {v: (own[v] / total_own, recorded[v] / total) for v in {*recorded, *own}}
        value = sum(abs(a - b) for a, b in shares.values()) / 2
        worst = max(shares, key=lambda v: (abs(shares[v][0] - shares[v][1]), str(v)))
        said, was = shares[worst]
        words = f"{said:.0%} of `{name}` are {worst!r}, recorded are {was:.0%}" if value > 0.02 else ""
        return Component("counts", name, value, was, said, "", words)

    def _of_levels(self, of: Summary, said: Summary) -> list[Component]:
        found = []
        for name, recorded in of.levels.items():
            own = said.levels[name]
            total = float(np.sum(recorded) + np.sum(own))
            if total <= 0:
                continue
            value = float(np.sum(np.abs(recorded - own))) / total
            a, b = float(np.mean(own)), float(np.mean(recorded))
            words = f"`{name}`: {a:.3g} is held on average, recorded is {b:.3g}" if abs(a - b) > 0.1 * max(a, b) else ""
            found.append(Component("levels", name, min(1.0, value), b, a, "", words))
        return found


# ------------------------------------------------------------------------------------------------------------ helpers


def _mean(members: Sequence[Component], apart: Sequence[float], rollouts: int) -> Component:
    """One component over all rollouts; where it is in some of them only, the rest counts as equal."""
    value = sum(c.value for c in members) / rollouts
    spread = sum(apart) / (rollouts - 1)
    first = members[0]
    said = [c.said for c in members if c.said is not None]
    middle = sum(said) / len(said) if said else None
    worded = next((c.words for c in sorted(members, key=lambda c: c.value) if c.words), "")
    words = worded if sum(bool(c.words) for c in members) > rollouts / 2 else ""
    return replace(first, value=max(0.0, value - spread / 2), said=middle, words=words)


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


def _quantiles(values: Sequence[float]) -> np.ndarray[Any, Any]:
    ordered = np.sort(np.asarray(values))
    found: np.ndarray[Any, Any] = np.interp(QUANTILES * (len(ordered) - 1), np.arange(len(ordered)), ordered)
    return found


def _only(times: _Times, labels: Sequence[Any], label: Any) -> _Times:
    rows = [number for number, found in enumerate(labels) if found == label]
    return _Times(
        [times.things[n] for n in rows],
        [times.begun[n] for n in rows],
        [times.seconds[n] for n in rows],
        [times.places[n] for n in rows],
    )


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


def _ratio(said: float, recorded: float) -> float:
    return (said + 1e-9) / (recorded + 1e-9)


def _times_as(ratio: float) -> str:
    """How a time is off: 0.5 -> '2.0 times too short'."""
    if 0.95 < ratio < 1.05:
        return "right"
    times = ratio if ratio > 1 else 1 / ratio
    shown = f"{times:.1f}" if times < 100 else "over 100"
    return f"{shown} times too {'long' if ratio > 1 else 'short'}"


def _compared(said: float, recorded: float) -> str:
    ratio = _ratio(said, recorded)
    if 0.8 < ratio < 1.25:
        return f"after {said:.3g} s on average (recorded {recorded:.3g} s), but with another spread"
    early = "too soon" if ratio < 1 else "too late"
    times = ratio if ratio > 1 else 1 / ratio
    shown = f"{times:.1f}" if times < 100 else "over 100"
    return f"{shown} times {early}: after {said:.3g} s on average, recorded are {recorded:.3g} s"
