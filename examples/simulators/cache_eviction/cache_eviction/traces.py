"""Request traces: made from a seed, or read from a caller's CSV file.

A trace is a mix of sources; each request notes its source, so that a verdict can say where hits were lost. Names of
objects are drawn at random: nothing about an object can be told from its name.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Trace:
    """Requested keys in order, and for each request the source that it comes from."""

    keys: tuple[str, ...] = field(repr=False)
    sources: tuple[str, ...] = field(repr=False)


def zipf(rng: random.Random, objects: int, skew: float) -> Iterator[int]:
    """Independent requests; the n-th most popular object is asked for in proportion to n ** -skew."""
    weights = list(itertools.accumulate((rank + 1) ** -skew for rank in range(objects)))
    while True:
        yield bisect.bisect_left(weights, rng.random() * weights[-1])


def scan(objects: int) -> Iterator[int]:
    """Every object once, one after the other, and then again from the start."""
    return itertools.cycle(range(objects))


def _mix(rng: random.Random, count: int, parts: list[tuple[str, float, Iterator[int]]]) -> Iterator[tuple[str, int]]:
    """`count` requests, each from a part with the given probability."""
    thresholds = list(itertools.accumulate(share for _, share, _ in parts))
    for _ in range(count):
        name, _, source = parts[bisect.bisect_left(thresholds, rng.random() * thresholds[-1])]
        yield name, next(source)


def _popular(rng: random.Random, count: int) -> Iterator[tuple[str, int]]:
    return _mix(rng, count, [("zipf", 1.0, zipf(rng, 2000, 0.8))])


def _scan_mix(rng: random.Random, count: int) -> Iterator[tuple[str, int]]:
    return _mix(rng, count, [("zipf", 0.6, zipf(rng, 1000, 0.9)), ("scan", 0.4, scan(4000))])


def _loop(rng: random.Random, count: int) -> Iterator[tuple[str, int]]:
    return _mix(rng, count, [("loop", 0.9, scan(300)), ("zipf", 0.1, zipf(rng, 1000, 0.8))])


def _phases(rng: random.Random, count: int) -> Iterator[tuple[str, int]]:
    """What is popular changes eight times."""
    length = -(-count // 8)
    for phase in range(8):
        fresh = zipf(rng, 800, 1.0)
        for _ in range(min(length, count - phase * length)):
            yield f"phase{phase}", phase * 400 + next(fresh)


def _bursts(rng: random.Random, count: int) -> Iterator[tuple[str, int]]:
    """Objects that are asked for a few times in a row and never again, over a steady part."""
    steady = zipf(rng, 1000, 0.9)
    burst, left = 0, 0
    for _ in range(count):
        if left == 0 and rng.random() < 0.2:
            burst, left = burst + 1, rng.randint(2, 5)
        if left and rng.random() < 0.5:
            left -= 1
            yield "burst", burst
        else:
            yield "zipf", next(steady)


def _loop_and_phases(rng: random.Random, count: int) -> Iterator[tuple[str, int]]:
    half = count // 2
    return itertools.chain(_loop(rng, half), _phases(rng, count - half))


KINDS: dict[str, Callable[[random.Random, int], Iterator[tuple[str, int]]]] = {
    "popular": _popular,
    "scan_mix": _scan_mix,
    "loop": _loop,
    "phases": _phases,
    "bursts": _bursts,
    "loop_and_phases": _loop_and_phases,
}


def make_trace(kind: str, seed: int, count: int) -> Trace:
    rng = random.Random(f"{kind}:{seed}")
    requests = list(KINDS[kind](rng, count))
    # sources do not share objects, except that phases of a kind overlap
    objects = sorted({(_family(source), number) for source, number in requests})
    labels = list(range(len(objects)))
    rng.shuffle(labels)
    names = {item: f"k{label}" for item, label in zip(objects, labels, strict=True)}
    return Trace(
        keys=tuple(names[_family(source), number] for source, number in requests),
        sources=tuple(source for source, _ in requests),
    )


def _family(source: str) -> str:
    return source.rstrip("0123456789")
