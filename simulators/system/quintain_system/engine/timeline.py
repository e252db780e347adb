"""What a run looked like: the slice around its worst moment for feedback, and the whole for pictures.

The worst moment is the failure, or else when most things were waiting: begun, by the first metric that goes from one
event to another (the objective's own, if it is one), and not yet at its end.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from quintain.plugins.simulator import TimelineEvent
from quintain_system.engine.records import Kind
from quintain_system.form.names import key_field, kinds_of
from quintain_system.form.spec import Late, Level, ObjectiveSpec, SystemSpec, Time

BEFORE, AFTER = 9, 5  # records of the slice
MOST_CHARACTERS = 180  # of one line
MOST_GROUPS = 6  # classes whose waiting is shown, the largest
MOST_POINTS = 2_000  # of one curve of a picture
MOST_SHOWN = 20_000  # records and decisions of a run that people and models may read; of a longer run evenly so many
MAX_RECORDED = 1_000_000  # entries of a run's recording; a longer run has none

T = TypeVar("T")

_compact = json.JSONEncoder(separators=(",", ":")).encode

Paired = Time | Late | Level
Role = Literal["input", "decision", "event"]
RecordedEntry = tuple[float, Role, str, dict[str, Any]]  # time, role, kind, fields


class Timeline:
    """Hears every record and decision of a run. `whole`: keep what a picture needs."""

    def __init__(self, spec: SystemSpec, config: Mapping[str, Any], *, whole: bool) -> None:
        self._spec = spec
        self._metric = _followed(spec)
        self._starts, self._ends = _keys(spec, self._metric)
        self._waiting: dict[Any, Any] = {}  # its class
        self._by_class: Counter[Any] = Counter()
        self._most = 0
        self._recent: deque[tuple[float, str, Kind, Sequence[Any]]] = deque(maxlen=BEFORE)
        self._slice: list[tuple[float, str, Kind, Sequence[Any]]] = []
        self._still_to_come = 0
        self._observation: Any = None
        self._at_worst: tuple[float, Any, dict[Any, int]] | None = None  # time, what was seen, how many wait by class
        self._whole = _Whole(spec, config) if whole else None

    def hear(self, kind: Kind, time: float, record: Sequence[Any], of_class: Any) -> None:
        if self._whole is not None:
            self._whole.hear(kind, time, record, of_class)
        entry = (time, "", kind, record)
        place = self._ends.get(kind.name)
        if place is not None and record[place] in self._waiting:
            self._by_class[self._waiting.pop(record[place])] -= 1
        place = self._starts.get(kind.name)
        if place is not None:
            if record[place] in self._waiting:
                self._by_class[self._waiting[record[place]]] -= 1
            self._waiting[record[place]] = of_class
            self._by_class[of_class] += 1
            if len(self._waiting) > self._most:
                self._most = len(self._waiting)
                self._slice = [*self._recent, entry]
                self._at_worst = (time, self._observation, dict(self._by_class))
                self._still_to_come = AFTER
                self._recent.append(entry)
                return
        self._recent.append(entry)
        if self._still_to_come:
            self._slice.append(entry)
            self._still_to_come -= 1

    def decided(self, kind: Kind, time: float, record: Sequence[Any]) -> None:
        if self._whole is not None:
            self._whole.note("decision", kind, time, record)
        self._note((time, "decided ", kind, record))

    def observed(self, observation: Any) -> None:
        self._observation = observation

    def _note(self, entry: tuple[float, str, Kind, Sequence[Any]]) -> None:
        self._recent.append(entry)
        if self._still_to_come:
            self._slice.append(entry)
            self._still_to_come -= 1

    def events(self, *, failed: bool) -> tuple[TimelineEvent, ...]:
        """The slice, in order of time."""
        chosen = list(self._recent) if failed else self._slice
        lines = [
            TimelineEvent(time, _cut(prefix + kind.shown(record)))
            for time, prefix, kind, record in chosen
            if not kind.hidden
        ]
        if failed or self._at_worst is None or self._metric is None:
            return tuple(lines)
        time, observation, waiting = self._at_worst
        state = f"{self._most} of {self._metric.by} without {' or '.join(self._metric.end)}"
        groups = sorted(((count, str(name)) for name, count in waiting.items() if count), key=lambda g: (-g[0], g[1]))
        if len(groups) > 1 and self._spec.classes is not None:
            shown = {name: count for count, name in groups[:MOST_GROUPS]}
            state += f", by {self._spec.classes.field} {_compact(shown)}"
        if observation:
            state += f"; last seen: {_compact(observation)}"
        at = next((n for n, line in enumerate(lines) if line.time_seconds > time), len(lines))
        return (*lines[:at], TimelineEvent(time, _cut(state)), *lines[at:])

    @property
    def recorded(self) -> list[RecordedEntry] | None:
        """What happened, in order, with what is hidden; None if it was not to be kept, or is too long."""
        return None if self._whole is None or self._whole.too_many else self._whole.entries

    def detail(self, name: str, duration: float, recording: str) -> str:
        return "" if self._whole is None else self._whole.json(name, duration, recording)


class _Whole:
    """Curves over time: what is between two events, by class, for each metric that says so; and how long it took. And
    the recording of the run, with what is hidden from policies."""

    def __init__(self, spec: SystemSpec, config: Mapping[str, Any]) -> None:
        self._spec, self._config = spec, config
        self._metrics = {name: m for name, m in spec.metrics.items() if isinstance(m, Paired)}
        unique = {(m.start, m.end, m.by): (name, m) for name, m in reversed(self._metrics.items())}
        self._curves = {name: (m, *_keys(spec, m)) for name, m in reversed(unique.values())}
        self._open: dict[str, dict[Any, tuple[float, str]]] = {name: {} for name in self._curves}
        self._levels: dict[str, dict[str, list[tuple[float, int]]]] = {name: {} for name in self._curves}
        self._now: dict[tuple[str, str], int] = {}
        self._times: dict[str, list[tuple[float, float, str]]] = {name: [] for name in self._curves}
        self.entries: list[RecordedEntry] = []
        self.too_many = False
        self._shown: list[tuple[float, Role, Kind, Sequence[Any]]] = []

    def note(self, role: Role, kind: Kind, time: float, record: Sequence[Any]) -> None:
        if not kind.hidden:
            self._shown.append((time, role, kind, record))
        if len(self.entries) < MAX_RECORDED:
            self.entries.append((time, role, kind.name, dict(zip(kind.fields, record[1:], strict=True))))
        else:
            self.too_many = True

    def hear(self, kind_of: Kind, time: float, record: Sequence[Any], of_class: Any) -> None:
        kind = kind_of.name
        self.note("input" if kind in self._spec.inputs else "event", kind_of, time, record)
        for name, (_, starts, ends) in self._curves.items():
            place = ends.get(kind)
            if place is not None and (begun := self._open[name].pop(record[place], None)) is not None:
                self._times[name].append((begun[0], time - begun[0], begun[1]))
                self._step(name, begun[1], time, -1)
            place = starts.get(kind)
            if place is not None:
                label = "all" if of_class is None else str(of_class)
                self._open[name][record[place]] = (time, label)
                self._step(name, label, time, 1)

    def _step(self, name: str, label: str, time: float, change: int) -> None:
        level = self._now[name, label] = self._now.get((name, label), 0) + change
        self._levels[name].setdefault(label, []).append((time, level))

    def _spans(self) -> dict[str, list[tuple[float, float, str]]]:
        """When each thing began and came to its end, and its class."""
        return {
            f"{metric.by}, {metric.start} to {' or '.join(metric.end)}": [
                (begun, begun + seconds, label) for begun, seconds, label in _evenly(self._times[name], MOST_SHOWN)
            ]
            for name, (metric, _, _) in self._curves.items()
        }

    def _happened(self) -> list[tuple[float, str]]:
        """What policies may see of it, in order."""
        return [
            (time, _cut(("decided " if role == "decision" else "") + kind.shown(record)))
            for time, role, kind, record in _evenly(self._shown, MOST_SHOWN)
        ]

    def json(self, scenario: str, duration: float, recording: str) -> str:
        document: dict[str, object] = {
            "scenario": scenario,
            "duration_seconds": duration,
            "recording": recording,
            "curves": [
                {
                    "name": name,
                    "what": f"{metric.by}: {metric.start} to {' or '.join(metric.end)}",
                    "levels": {c: _thinned_levels(points) for c, points in sorted(self._levels[name].items())},
                    "times": _evenly(self._times[name], MOST_POINTS),
                }
                for name, (metric, _, _) in self._curves.items()
            ],
            "events": _columns(("time_seconds", "what"), self._happened()),
            **{name: _columns(("start_seconds", "end_seconds", "class"), rows) for name, rows in self._spans().items()},
        }
        return json.dumps(document, separators=(",", ":"))


def _followed(spec: SystemSpec) -> Paired | None:
    names = [objective.metric for objective in spec.objectives.values() if isinstance(objective, ObjectiveSpec)]
    metrics = [spec.metrics[name] for name in (*names, *spec.metrics)]
    return next((m for m in metrics if isinstance(m, Paired)), None)


def _keys(spec: SystemSpec, metric: Paired | None) -> tuple[dict[str, int], dict[str, int]]:
    """Where the thing's id is in records of the kinds that begin, and that end it."""
    if metric is None:
        return {}, {}

    def place(kind: str) -> int:
        return list(kinds_of(spec)[kind].fields).index(key_field(spec, kind, metric.by) or "") + 1

    return {metric.start: place(metric.start)}, {kind: place(kind) for kind in metric.end}


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def _evenly(points: Sequence[T], most: int) -> Sequence[T]:
    return points[:: max(1, -(-len(points) // most))]


def _columns(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _thinned_levels(points: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """At most so many points, each the highest of its stretch: a thinned queue must not hide its peak."""
    step = -(-len(points) // MOST_POINTS)
    if step <= 1:
        return points
    return [max(points[i : i + step], key=lambda point: point[1]) for i in range(0, len(points), step)]
