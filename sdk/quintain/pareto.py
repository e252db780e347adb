"""The Pareto front: what nothing else is at least as good as in everything, and better in something. Standard
library."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether `one` is at least as good everywhere and better somewhere. Greater is better; both have the same
    length."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and any(a > b for a, b in zip(one, other, strict=True))


def front(points: Mapping[K, Sequence[float]]) -> list[K]:
    """The keys of the points that no other dominates, in their order. Of equal points the first."""
    kept: dict[K, Sequence[float]] = {}
    for key, point in points.items():
        if any(dominates(other, point) or tuple(other) == tuple(point) for other in kept.values()):
            continue
        kept = {k: other for k, other in kept.items() if not dominates(point, other)}
        kept[key] = point
    return list(kept)
