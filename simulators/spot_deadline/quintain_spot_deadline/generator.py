"""Seeded availability series with the statistics of recorded ones: what runs without any recording.

A series has two regimes, a better and a worse one, that last for hours to days. Within a regime, stretches with spot
and without it follow one another; a stretch lasts one tick with a given chance, and otherwise two ticks and more, with
a geometric tail. The figures were fitted to eight recordings of 12 days (`quintain_spot_deadline.statistics` prints how
near they come); nothing else of the recordings is in them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretches:
    """Lengths of the stretches of one state."""

    one_tick: float  # chance that a stretch lasts one tick
    mean_longer: float  # ticks: the mean of those that last longer, above 2


@dataclass(frozen=True, slots=True)
class Regime:
    mean_ticks: float
    up: Stretches  # spot exists
    down: Stretches


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of machine in a zone. `description` gives the share of ticks in which spot exists."""

    description: str
    better: Regime
    worse: Regime


def _regime(mean: float, up: tuple[float, float], down: tuple[float, float]) -> Regime:
    return Regime(mean, Stretches(*up), Stretches(*down))


PROFILES = {
    "plenty": Profile(
        "95 % available, gaps of a tick or two",
        _regime(375, (0.10, 48.5), (0.86, 2.3)),
        _regime(88, (0.25, 37.4), (0.55, 5.1)),
    ),
    "blocks": Profile(
        "55 % available, long stretches of both",
        _regime(221, (0.05, 17.5), (0.52, 6.6)),
        _regime(176, (0.27, 7.7), (0.09, 15.4)),
    ),
    "mostly": Profile(
        "68 % available, some very long stretches",
        _regime(130, (0.19, 36.0), (0.41, 3.6)),
        _regime(130, (0.33, 7.3), (0.28, 11.0)),
    ),
    "scarce": Profile(
        "33 % available, in short stretches",
        _regime(214, (0.26, 8.6), (0.55, 9.6)),
        _regime(280, (0.66, 3.6), (0.31, 16.4)),
    ),
    "vanishing": Profile(
        "25 % available: days with some, days with next to nothing",
        _regime(430, (0.17, 12.7), (0.51, 18.0)),
        _regime(300, (0.67, 4.0), (0.33, 214.5)),
    ),
    "flickering": Profile(
        "59 % available, gaps mostly of one tick",
        _regime(208, (0.18, 9.8), (0.69, 5.4)),
        _regime(120, (0.27, 8.1), (0.13, 15.1)),
    ),
    "two_faced": Profile(
        "59 % available: days nearly without gaps, days with long ones",
        _regime(156, (0.13, 21.8), (0.86, 3.4)),
        _regime(230, (0.38, 9.4), (0.19, 15.0)),
    ),
    "restless": Profile(
        "34 % available, changing all the time",
        _regime(162, (0.42, 6.8), (0.70, 5.7)),
        _regime(191, (0.70, 2.9), (0.27, 21.6)),
    ),
}


def generate(profile: Profile, ticks: int, seed: str) -> str:
    """`ticks` samples, "1" where spot exists. The same seed gives the same series on every machine."""
    chance = random.Random(seed)
    regimes = (profile.better, profile.worse)
    share = regimes[0].mean_ticks / (regimes[0].mean_ticks + regimes[1].mean_ticks)
    now = 0 if chance.random() < share else 1
    regime_left = chance.expovariate(1 / regimes[now].mean_ticks)
    up = chance.random() < 0.5
    parts: list[str] = []
    made = 0
    while made < ticks:
        length = _length(regimes[now].up if up else regimes[now].down, chance)
        parts.append(("1" if up else "0") * length)
        made += length
        regime_left -= length
        up = not up
        while regime_left <= 0:
            now = 1 - now
            regime_left += chance.expovariate(1 / regimes[now].mean_ticks)
    return "".join(parts)[:ticks]


def _length(stretches: Stretches, chance: random.Random) -> int:
    if chance.random() < stretches.one_tick:
        return 1
    ends = 1 / (stretches.mean_longer - 1)  # a geometric rest of at least one tick, after the first
    length = 2
    while chance.random() > ends:
        length += 1
    return length
