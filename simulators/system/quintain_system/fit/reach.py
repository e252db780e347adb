"""How far policies reach in a model, beside what was ever recorded: what no policy should get out of the real system.

A *step* is one record of a thing directly followed by an event of the same thing, with no decision in between: how long
it takes is the system's doing (a cold start, a service time). Three things can be too good to be true:

* a step is on average twice as fast as in any recording, by class;
* half again as many things are in a step at one time as ever were;
* more work is done than capacity x time: by Little's law, things finished x their recorded seconds cannot exceed the
  most that were ever in the step x the duration.

And the package's metrics can be too good to be true, or (where no objective says what good is) too strange: below half
of the smallest or above twice the largest value that a recording has, and farther off than recordings are apart.
Counts, rates and totals depend on the load; they are looked at only if they are an objective.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quintain.plugins.recorder import Exceeded
from quintain_system.engine.metrics import Metrics
from quintain_system.fit.episode import Kinds, Step
from quintain_system.form.spec import Metric, SystemSpec

FEWEST = 5  # samples of a step, below which nothing is said of it
FASTER, MORE, WORK = 0.5, 1.5, 1.05  # how far beyond what was recorded is too far
METRIC = "metric"  # what is exceeded begins with it, if it is one

Pair = tuple[str, str]  # a kind, and the kind of the event that follows it


@dataclass
class Reach:
    """What one run shows: seconds of each step by class (None: all), the most things in it at once, the duration, and
    the package's metrics, those that grow with time (counts, totals) per second."""

    duration: float
    seconds: Mapping[tuple[Pair, Any], Sequence[float]]
    most: Mapping[Pair, int]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Limit:
    """What recordings say of a step: the shortest mean by class, the longest for work, the most at once."""

    fastest: dict[Any, float] = field(default_factory=dict)
    most: int = 0


@dataclass(frozen=True)
class Range:
    """The smallest and the largest value of a metric in recordings, and how far it may be from them (None: any way)."""

    low: float
    high: float
    least: float | None
    greatest: float | None


@dataclass(frozen=True)
class Limits:
    """What recordings say of steps and of metrics."""

    steps: Mapping[Pair, Limit]
    metrics: Mapping[str, Range]


NO_LIMITS = Limits({}, {})


def reach_of(
    spec: SystemSpec, kinds: Kinds, history: Iterable[Step], config: Mapping[str, Any], duration: float
) -> Reach:
    seconds: dict[tuple[Pair, Any], list[float]] = defaultdict(list)
    changes: dict[Pair, list[tuple[float, int]]] = defaultdict(list)
    last: dict[tuple[str, Any], tuple[float, str]] = {}
    classes: dict[tuple[str, Any], Any] = {}
    of_class = spec.classes
    metrics = Metrics(spec, config, duration)
    hear = [metrics.ear(name) for name in kinds.names]
    for time, record in history:
        number = record[0]
        hear[number](time, record)
        place, thing_kind = kinds.key[number], kinds.thing[number]
        if place is None or thing_kind is None:
            continue
        name, thing = kinds.names[number], (thing_kind, record[place])
        if of_class is not None and name == of_class.of:
            classes[thing] = record[kinds.place(number, of_class.field)]
        before = last.get(thing)
        if before is not None and kinds.is_event(number):
            pair = (before[1], name)
            seconds[pair, None].append(time - before[0])
            if thing in classes:
                seconds[pair, classes[thing]].append(time - before[0])
            changes[pair] += [(before[0], 1), (time, -1)]
        last[thing] = (time, name)
    most = {pair: _most(each) for pair, each in changes.items()}
    values = {n: v / duration if _is_total(spec.metrics[n]) else v for n, v in metrics.values().items()}
    return Reach(duration, seconds, most, values)


def _is_total(metric: Metric) -> bool:
    """Whether it is the larger the longer a run is."""
    return metric.type in ("count", "sum") or getattr(metric, "statistic", "") == "total"


def _most(changes: Sequence[tuple[float, int]]) -> int:
    """At one time; what ends where another begins is not together with it."""
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def limits_of(spec: SystemSpec, recorded: Sequence[Reach]) -> Limits:
    """Of all recordings together; a step that was hardly ever seen has none."""
    found: dict[Pair, Limit] = {}
    for reach in recorded:
        for (pair, of_class), seconds in reach.seconds.items():
            if len(seconds) < FEWEST:
                continue
            limit = found.setdefault(pair, Limit())
            mean = sum(seconds) / len(seconds)
            limit.fastest[of_class] = min(mean, limit.fastest.get(of_class, mean))
    most = {pair: max(reach.most.get(pair, 0) for reach in recorded) for pair in found}
    return Limits({pair: Limit(limit.fastest, most[pair]) for pair, limit in found.items()}, _ranges(spec, recorded))


def _ranges(spec: SystemSpec, recorded: Sequence[Reach]) -> dict[str, Range]:
    better = {(objective.metric, objective.direction) for objective in spec.objectives.values()}
    found = {}
    for name, metric in spec.metrics.items():
        ways = {way for of, way in better if of == name}
        values = [reach.metrics[name] for reach in recorded if name in reach.metrics]
        if not values or (not ways and (metric.type == "rate" or _is_total(metric))):
            continue
        low, high = min(values), max(values)
        least = None if ways == {"maximize"} else low - max(high - low, abs(low) / 2)
        greatest = None if ways == {"minimize"} else high + max(high - low, abs(high))
        found[name] = Range(low, high, least, greatest)
    return found


def beyond(kinds: Kinds, limits: Limits, run: Reach) -> list[Exceeded]:
    """What the run reaches that no recording is near: steps, then metrics, the farthest first."""
    found: list[Exceeded] = []
    for pair, limit in limits.steps.items():
        step = f"from {pair[0]} to {pair[1]}"
        # Where there are classes, only these: a mean over all depends on which of them a policy prefers.
        classes = [c for c in limit.fastest if c is not None] or [None]
        work = 0.0
        for of_class in classes:
            fastest, seconds = limit.fastest[of_class], run.seconds.get((pair, of_class), ())
            work += len(seconds) * fastest / run.duration
            if len(seconds) >= FEWEST and (mean := sum(seconds) / len(seconds)) < FASTER * fastest:
                named = "" if of_class is None else f", {of_class}"
                found.append(Exceeded(f"mean seconds {step}{named}", mean, fastest, FASTER * fastest))
        most = run.most.get(pair, 0)
        if most > MORE * limit.most:
            invariant = _capacity(kinds, pair, limit)
            found.append(Exceeded(f"most at once {step}", most, limit.most, MORE * limit.most, invariant))
        if work > WORK * limit.most:
            found.append(Exceeded(f"work done {step}, in servers", work, limit.most, WORK * limit.most))
    return [*_farthest_first(found), *_farthest_first(_metrics_beyond(limits.metrics, run))]


def _farthest_first(found: Iterable[Exceeded]) -> list[Exceeded]:
    return sorted(found, key=lambda one: -one.factor)


def _metrics_beyond(ranges: Mapping[str, Range], run: Reach) -> Iterator[Exceeded]:
    if all(len(seconds) < FEWEST for seconds in run.seconds.values()):
        return
    for name, of in ranges.items():
        value = run.metrics.get(name)
        if value is None:
            continue
        if of.least is not None and value < of.least:
            yield Exceeded(f"{METRIC} {name}", value, of.low, of.least, sure=False)
        if of.greatest is not None and value > of.greatest:
            yield Exceeded(f"{METRIC} {name}", value, of.high, of.greatest, sure=False)


def _capacity(kinds: Kinds, pair: Pair, limit: Limit) -> str:
    first, then = pair
    if not kinds.is_event(kinds.number(first)):
        return ""
    item = kinds.thing[kinds.number(first)]
    return (
        f'{first}_to_{then} = {{ type = "capacity", acquire = "{first}", release = ["{then}"], item = "{item}", '
        f"limit = {limit.most} }}"
    )
