"""What nobody can beat: the cheapest way through a window for one who knows all of it, and a simple bound below that.

The clairvoyant optimum is exact: backward induction over (tick, what ran last, work left), with the rules of
`quintain_spot_deadline.rules`, forcing included where the window has it. Work left lives on the multiples of the
greatest common divisor of tick and overhead; only what can be reached in time is looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quintain_spot_deadline.engine import Window
from quintain_spot_deadline.rules import MACHINES, NONE, ON_DEMAND, SPOT

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Optimum:
    """Dollars, and one way to reach them: what to ask for, tick by tick, up to the end of the work."""

    cost: float
    plan: tuple[str, ...]


def cost_without_overhead(window: Window) -> float:
    """Dollars: a bound below every run's cost. All spot before the deadline is used without any launch's overhead."""
    job = window.job
    spot_seconds = min(window.available.count("1", 0, job.deadline // job.gap) * job.gap, job.duration)
    return (spot_seconds * job.spot_price + (job.duration - spot_seconds) * job.on_demand_price) / 3600


def optimum(window: Window, *, in_time: bool) -> Optimum:
    """The cheapest run, or the cheapest one that ends before the deadline (`in_time`). Raises ValueError if there is
    none, which `Job`s that are long enough for their work exclude."""
    table = _Table(window, in_time=in_time)
    table.fill()
    return Optimum(table.cost, tuple(table.plan()))


class _Table:
    """Values and choices by tick, state and work left.

    States: 0 nothing ran last; then spot, then on-demand, each by how many ticks ago it was launched, as far as that
    matters for the overhead (one tick where the overhead is shorter than that).
    """

    def __init__(self, window: Window, *, in_time: bool) -> None:
        job = window.job
        self._window, self._job = window, job
        self._grid = math.gcd(job.gap, job.overhead, job.duration)
        self._ages = max(1, -(-job.overhead // job.gap))
        self._deadline_tick = job.deadline // job.gap
        last = len(window.available) - 2  # the engine wants a sample after the one that finds the work done
        self._horizon = min(last, self._deadline_tick if in_time else self._deadline_tick + self._ages + 1)
        self._size = job.duration // self._grid + 1
        self._pad = job.gap // self._grid  # zeros below no work left: a tick may hold more than was left to do
        prices = {NONE: 0.0, SPOT: job.spot_price * job.gap / 3600, ON_DEMAND: job.on_demand_price * job.gap / 3600}
        self._prices = prices
        self._chosen: list[tuple[int, npt.NDArray[np.int8]]] = []  # from the last tick to the first: (lowest, choices)
        self._values = np.full((1 + 2 * self._ages, self._pad + self._size), np.inf)
        self._values[:, : self._pad + 1] = 0.0

    @property
    def cost(self) -> float:
        found = float(self._values[0, -1])
        if not math.isfinite(found):
            raise ValueError("the work cannot be done in this window")
        return found

    def fill(self) -> None:
        job = self._job
        for tick in range(self._horizon - 1, -1, -1):
            low = max(1, (job.duration - tick * job.gap) // self._grid)
            most_seconds = (self._deadline_tick + self._ages + 2 - tick) * job.gap
            high = min(self._size - 1, most_seconds // self._grid)
            self._step(tick, low, high)

    def _step(self, tick: int, low: int, high: int) -> None:
        """From the values of the next tick to this one's, for work left from `low` to `high` (in grid steps)."""
        after = self._values
        values = np.full_like(after, np.inf)
        values[:, : self._pad + 1] = 0.0
        choices = np.zeros((len(values), high - low + 1), np.int8)
        free_high = min(high, self._most_work_without_hurry(tick)) if self._window.forced else high
        available = self._window.available[tick] == "1"
        for state in range(len(values)):
            here, chosen = values[state], choices[state]
            if free_high >= low:
                self._best(after, here, chosen, state, available, (low, free_high), MACHINES, low)
            if free_high < high:
                hurried = SPOT if 0 < state <= self._ages and self._overhead_left(state) == 0 else ON_DEMAND
                self._best(after, here, chosen, state, available, (max(low, free_high + 1), high), (hurried,), low)
        self._values = values
        self._chosen.append((low, choices))

    def _best(
        self,
        after: Floats,
        here: Floats,
        chosen: npt.NDArray[np.int8],
        state: int,
        available: bool,
        span: tuple[int, int],
        requests: tuple[str, ...],
        low: int,
    ) -> None:
        first, last = span
        to = slice(self._pad + first, self._pad + last + 1)
        for request in requests:
            machine = NONE if request == SPOT and not available else request
            following, useful = self._move(state, machine, available)
            steps = useful // self._grid
            cost = after[following, self._pad + first - steps : self._pad + last + 1 - steps] + self._prices[machine]
            better = cost < here[to]
            here[to][better] = cost[better]
            chosen[first - low : last + 1 - low][better] = MACHINES.index(request)

    def _move(self, state: int, machine: str, available: bool) -> tuple[int, int]:
        """-> (the state after a tick with `machine`, its useful seconds)."""
        if machine == NONE:
            return 0, 0
        first = 1 if machine == SPOT else 1 + self._ages
        alive = first <= state < first + self._ages and (machine == ON_DEMAND or available)
        if not alive:
            return first, max(self._job.gap - self._job.overhead, 0)
        useful = max(self._job.gap - self._overhead_left(state), 0)
        return min(state + 1, first + self._ages - 1), useful

    def _overhead_left(self, state: int) -> int:
        age = (state - 1) % self._ages + 1
        return max(self._job.overhead - age * self._job.gap, 0)

    def _most_work_without_hurry(self, tick: int) -> int:
        """The largest work left, in grid steps, that `Progress.must_hurry` lets the policy decide about."""
        job = self._job
        ticks_left = (job.deadline - tick * job.gap) // job.gap
        return ((ticks_left - 1) * job.gap - job.overhead) // self._grid

    def plan(self) -> list[str]:
        state, left, requests = 0, self._size - 1, list[str]()
        for tick, (low, choices) in enumerate(reversed(self._chosen)):
            if left <= 0:
                break
            request = MACHINES[choices[state, left - low]]
            available = self._window.available[tick] == "1"
            machine = NONE if request == SPOT and not available else request
            state, useful = self._move(state, machine, available)
            left -= useful // self._grid
            requests.append(request)
        return requests
