"""Memory in use while an operator reads its data."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from quintain_faas.protocol import SCAN_GB_PER_SECOND


class ReadingCurve:
    """Memory while an operator reads: on tick i of the reading it is ((i + 1) * tick length) * 20 GB."""

    def __init__(self, tick_length_seconds: float) -> None:
        self._tick_length = tick_length_seconds
        self._steps = np.empty(0)

    def at(self, offset: int) -> float:
        return (offset + 1) * self._tick_length * SCAN_GB_PER_SECOND

    def steps(self, size: int) -> NDArray[np.float64]:
        """Changes from tick to tick, at least `size` of them, beginning with the rise from 0."""
        known = self._steps  # read once: another thread may put a shorter one in its place
        if size <= len(known):
            return known
        size = max(size, 2 * len(known), 4096)
        memory = (np.arange(1, size + 1) * self._tick_length) * SCAN_GB_PER_SECOND
        steps = np.empty(size)
        steps[0] = memory[0]
        np.subtract(memory[1:], memory[:-1], out=steps[1:])
        self._steps = steps
        return steps


@lru_cache(maxsize=16)
def reading_curve(tick_length_seconds: float) -> ReadingCurve:
    return ReadingCurve(tick_length_seconds)
