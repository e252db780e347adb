"""The exact consumed memory of a pool.

Eudoxia keeps the total as a running sum: on every tick, for every active container in list order, the change of its
memory is added, each addition rounded. So the total depends on the whole history since it was last recomputed. Here it
is brought up to date only when somebody looks, by replaying the same additions in the same order:
`numpy.add.accumulate` over a tick-major matrix of changes is sequential, hence the same bits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from quintain_faas.engine.container import Container
from quintain_faas.engine.curve import ReadingCurve

MANY = 64  # from here on numpy is faster than a loop
REPLAYED_AT_ONCE = 1 << 20  # changes: bounds what a replay holds in memory


def exact_sum(values: list[int | float]) -> int | float:
    """The builtin `sum` of Python 3.12 and later (compensated for floats), on every Python."""
    return sum(values) if sys.version_info >= (3, 12) else compensated_sum(values)


def compensated_sum(values: Iterable[int | float]) -> int | float:
    """The rule in plain words: ints exactly until the first float, Neumaier's compensation for floats from then on."""
    total: int | float = 0
    compensation = 0.0
    rest = iter(values)
    for value in rest:
        total += value
        if isinstance(total, float):
            break
    for value in rest:
        if isinstance(value, float):
            new = total + value
            if abs(total) >= abs(value):
                compensation += (total - new) + value
            else:
                compensation += (value - new) + total
            total = new
        else:
            total += value
    if compensation and isfinite(compensation):
        return total + compensation
    return total


class PoolValues:
    """A number for each pool, and the exact sum of all.

    Many are kept as an array too, and summed as ints while they are ints: the builtin of an older Python is not the sum
    that is wanted, and a loop over a thousand pools every second is what a long run would spend its time on.
    """

    def __init__(self, values: list[int | float]) -> None:
        self.values = values
        self._as_floats = np.array(values, dtype=float)  # exact: no int here comes near 2 ** 53
        self._is_float = np.array([type(value) is float for value in values])
        self._floats = int(self._is_float.sum())
        self._ints_total = sum(value for value in values if type(value) is int)
        self._in_list = sys.version_info >= (3, 12) or len(values) < MANY

    def __setitem__(self, pool: int, value: int | float) -> None:
        if not self._in_list:
            old = self.values[pool]
            if type(old) is int:
                self._ints_total -= old
            else:
                self._floats -= 1
            if type(value) is int:
                self._ints_total += value
            else:
                self._floats += 1
            self._as_floats[pool] = value
            self._is_float[pool] = type(value) is not int
        self.values[pool] = value

    def total(self) -> int | float:
        if len(self.values) == 1:
            return self.values[0]
        if self._in_list:
            return exact_sum(self.values)
        return self._array_total() if self._floats else self._ints_total

    def _array_total(self) -> float:
        """`compensated_sum`: the same additions in the same order. No compensation up to the first float, none for
        ints behind it."""
        totals = np.add.accumulate(self._as_floats)
        before, added, after = totals[:-1], self._as_floats[1:], totals[1:]
        part = after - before
        lost = (before - (after - part)) + (added - part)  # what rounding lost, whichever of the two is larger
        lost *= self._is_float[1:]
        lost[: self._is_float.argmax()] = 0.0
        compensation = float(np.add.accumulate(lost)[-1])
        total = float(totals[-1])
        return total + compensation if compensation and isfinite(compensation) else total


class ConsumedMemory:
    """A pool's consumed total, exact at every tick, computed lazily.

    `active` is the pool's list of active containers; the pool calls `up_to(t - 1)` before it takes a container off that
    list without recomputing, and `recompute_at(t)` after exits on tick t.
    """

    def __init__(self, active: list[Container], curve: ReadingCurve) -> None:
        self._active = active
        self._curve = curve
        self._total: int | float = 0.0
        self._tick = -1  # _total holds after this tick ...
        self._recompute = False  # ... once it has been recomputed from the containers

    @property
    def known_tick(self) -> int:
        return self._tick

    def recompute_at(self, tick: int) -> None:
        self._tick = tick
        if self._active:
            self._recompute = True
        else:
            self._recompute = False
            self._total = 0

    def set(self, tick: int, total: int | float) -> None:
        """The total after `tick`, followed by hand on a tick with a kill."""
        self._tick = tick
        self._total = total
        self._recompute = False

    def up_to(self, tick: int) -> int | float:
        """The total after the work of `tick`. No event of the pool may lie between the last known tick and this one,
        except starts of containers and operators on `tick` or before, all known to the containers."""
        if self._recompute:
            self._recompute = False
            known = self._tick
            self._total = exact_sum([c.memory_at(known) for c in self._active if c.start_tick <= known])
        if tick > self._tick:
            self._replay(tick)
            self._tick = tick
        return self._total

    def _replay(self, tick: int) -> None:
        known = self._tick
        changing = [c for c in self._active if c.changes_until > known and c.operator_start <= tick]
        if not changing:
            return
        last = min(tick, max(c.changes_until for c in changing))
        if len(changing) == 1 and self._follows(changing[0], last):
            self._total = float(changing[0].memory_at(last))
            return
        rows = max(1, REPLAYED_AT_ONCE // len(changing))
        for first in range(known + 1, last + 1, rows):
            end = min(first + rows - 1, last)
            changes = np.zeros((end - first + 1, len(changing)))
            for column, container in enumerate(changing):
                self._fill(changes[:, column], container, first, end)
            flat = changes.ravel()
            flat[0] = self._total + flat[0]
            self._total = float(np.add.accumulate(flat)[-1])

    def _follows(self, container: Container, last: int) -> bool:
        """Whether the total is this container's memory alone and stays so to the bit: a difference of neighbours within
        a factor of two is exact."""
        known = self._tick
        before = container.memory_at(known) if container.start_tick <= known else 0.0
        if self._total != before or (known < container.operator_start and before != 0):
            return False
        read_end = container.operator_start + container.read_ticks
        if container.fixed_memory is None and known < read_end <= last and container.read_ticks:
            read = self._curve.at(container.read_ticks - 1)
            memory = container.memory_at(last)
            return read <= 2 * memory and memory <= 2 * read
        return True

    def _fill(self, column: NDArray[np.float64], container: Container, first: int, last: int) -> None:
        """Write the container's changes of the ticks first..last."""
        start = container.operator_start
        if container.fixed_memory is not None:
            if first <= start <= last:
                column[start - first] = container.fixed_memory - container.memory_before
            return
        read_end = start + container.read_ticks
        begin, end = max(start, first), min(read_end, last + 1)
        if begin < end:
            steps = self._curve.steps(end - start)
            column[begin - first : end - first] = steps[begin - start : end - start]
            if begin == start:
                column[start - first] = self._curve.at(0) - container.memory_before
        if container.read_ticks < container.ticks and first <= read_end <= last:
            before = self._curve.at(container.read_ticks - 1) if container.read_ticks else container.memory_before
            column[read_end - first] = container.peak_memory - before
