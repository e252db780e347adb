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
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from quintain_system.fit.components import WORST, Component, Distance, mean_over
from quintain_system.fit.episode import Episode, Kinds, Step
from quintain_system.fit.summary import Summaries, Summary, Times
from quintain_system.form.spec import SystemSpec

FEW_TIMES = 5  # fewer say nothing of a distribution
FEW_OF_CLASS = 10
MOST_CLASSES, MOST_PLACES = 5, 8
BUCKETS = 10  # of a window, for counts over time
QUANTILES = np.linspace(0.01, 0.99, 51)  # the median is in the middle
TINY = 0.05  # of the mean recorded time: a difference of so little says little
HIGH_LOAD = 0.8  # quantile of the things in progress
IMMEDIATE_WEIGHT = 0.25  # of a step that takes no time in the recording


class Comparison:
    """One recording, ready to be compared with what models say."""

    def __init__(self, spec: SystemSpec, kinds: Kinds, episode: Episode) -> None:
        self._kinds, self._episode = kinds, episode
        self._summaries = Summaries(spec, kinds, episode)
        self._worded = True
        self._inputs_things = {kinds.thing[n] for n in range(kinds.inputs)}
        self._recorded = self._summaries.of(episode.history)
        self._tiny = self._tiny_seconds()
        self._busy = self._busy_from()

    def distance(self, said: Sequence[Sequence[Step]], *, worded: bool = True) -> Distance:
        """Of one or more rollouts that differ by chance alone. Of each component it is an energy distance: the mean
        over the rollouts, less half of what they are apart from one another. So a model with the right spread is
        nearest, and not one with none. Without `worded` nothing is said of times, which takes longer than the rest."""
        self._worded = worded
        found = [self._summaries.of(history) for history in said]
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
        return Distance(tuple(mean_over(members, apart.get(key, ()), len(said)) for key, members in own.items()))

    def _compared(self, recorded: Summary, said: Summary) -> list[Component]:
        return [
            *self._of_steps(recorded, said),
            *self._of_times(recorded, said),
            *self._of_counts(recorded, said),
            *self._of_levels(recorded, said),
        ]

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
            theirs = said.steps.get((before, number), Times())
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

    def _weight(self, times: Times) -> float:
        return IMMEDIATE_WEIGHT if float(np.mean(times.seconds)) <= self._tiny else 1.0

    def _of_times(self, of: Summary, said: Summary) -> list[Component]:
        found = []
        for step, times in sorted(of.steps.items()):
            if len(times.seconds) < FEW_TIMES:
                continue
            theirs = said.steps.get(step, Times())
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

    def _groups(self, times: Times, theirs: Times, recorded: Summary, said: Summary) -> list[tuple[str, Times, Times]]:
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

    def _of_distribution(self, name: str, times: Times, theirs: Times) -> Component:
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

    def _said_of_times(self, name: str, times: Times, theirs: Times) -> str:
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


def _quantiles(values: Sequence[float]) -> np.ndarray[Any, Any]:
    ordered = np.sort(np.asarray(values))
    found: np.ndarray[Any, Any] = np.interp(QUANTILES * (len(ordered) - 1), np.arange(len(ordered)), ordered)
    return found


def _only(times: Times, labels: Sequence[Any], label: Any) -> Times:
    rows = [number for number, found in enumerate(labels) if found == label]
    return Times(
        [times.things[n] for n in rows],
        [times.begun[n] for n in rows],
        [times.seconds[n] for n in rows],
        [times.places[n] for n in rows],
    )


# -------------------------------------------------------------------------------------------------------------- words


def _ratio(said: float, recorded: float) -> float:
    return (said + 1e-9) / (recorded + 1e-9)


def _times_as(ratio: float) -> str:
    """How a time is off: 0.5 -> '2.0 times too short'."""
    if 0.95 < ratio < 1.05:
        return "right"
    return f"{_factor(ratio)} too {'long' if ratio > 1 else 'short'}"


def _compared(said: float, recorded: float) -> str:
    ratio = _ratio(said, recorded)
    if 0.8 < ratio < 1.25:
        return f"after {said:.3g} s on average (recorded {recorded:.3g} s), but with another spread"
    early = "too soon" if ratio < 1 else "too late"
    return f"{_factor(ratio)} {early}: after {said:.3g} s on average, recorded are {recorded:.3g} s"


def _factor(ratio: float) -> str:
    """Beside a time of nearly nothing a factor says nothing."""
    times = max(ratio, 1 / ratio)
    return f"{times:.1f} times" if times < 100 else "far"
