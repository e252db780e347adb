"""What `evolve` remembers: island populations, a quality-diversity grid, the best on each scenario. Constant cost."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence

from quintain.pareto import front
from quintain.plugins.simulator import Descriptor
from quintain.plugins.strategy import Result
from quintain_controller.domain.strategies.common import fitness


class Island:
    """The `size` best candidates of an island, best first, no two of the same behaviour."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.members: list[Result] = []

    def add(self, result: Result) -> bool:
        """True if it was taken in. Of two with the same behaviour the older stays."""
        if any(m.number == result.number or (m.behavior and m.behavior == result.behavior) for m in self.members):
            return False
        self.members.append(result)
        self.members.sort(key=lambda m: (fitness(m), -m.number), reverse=True)
        del self.members[self._size :]
        return any(m.number == result.number for m in self.members)

    def clear(self) -> None:
        self.members.clear()


class Grid:
    """One elite for each cell of the descriptors' bins."""

    def __init__(self, descriptors: Sequence[Descriptor]) -> None:
        self._descriptors = descriptors
        self._cells: dict[tuple[int, ...], int] = {}
        self.elites: list[Result] = []

    def add(self, result: Result) -> None:
        cell = tuple(bisect_right(d.edges, result.metrics.get(d.metric, 0.0)) for d in self._descriptors)
        index = self._cells.get(cell)
        if index is None:
            self._cells[cell] = len(self.elites)
            self.elites.append(result)
        elif fitness(result) > fitness(self.elites[index]):
            self.elites[index] = result

    def sample(self, rng: random.Random) -> Result:
        return self.elites[rng.randrange(len(self.elites))]


class ObjectiveFront:
    """The candidates that no other is at least as good as in all objectives of a search that has several; when there
    are too many, those that are nearest to another go first."""

    def __init__(self, most: int = 32) -> None:
        self._most = most
        self.members: list[Result] = []

    def add(self, result: Result) -> None:
        known = {m.number: m.objectives for m in self.members}
        if not result.objectives or result.number in known:
            return
        kept = set(front(known | {result.number: result.objectives}))
        self.members = [m for m in (*self.members, result) if m.number in kept]
        if len(self.members) > self._most:
            self.members.remove(min(self.members, key=self._distance))

    def sample(self, rng: random.Random) -> Result | None:
        return self.members[rng.randrange(len(self.members))] if self.members else None

    def _distance(self, result: Result) -> tuple[float, int]:
        """To the nearest other, each objective by its range on the front; the ends of the front are far from all."""
        columns = list(zip(*(m.objectives for m in self.members), strict=True))
        if any(value in (min(column), max(column)) for value, column in zip(result.objectives, columns, strict=True)):
            return (math.inf, -result.number)
        spans = [max(column) - min(column) or 1.0 for column in columns]
        others = [m.objectives for m in self.members if m.number != result.number]
        return (min(_way(result.objectives, other, spans) for other in others), -result.number)


def _way(one: Sequence[float], other: Sequence[float], spans: Sequence[float]) -> float:
    return sum(abs(a - b) / span for a, b, span in zip(one, other, spans, strict=True))


class ScenarioBests:
    """The best candidate on each scenario: the corners of the Pareto front over scenarios."""

    def __init__(self, scenarios: int) -> None:
        self._best: list[Result | None] = [None] * scenarios

    def add(self, result: Result) -> None:
        for index, value in enumerate(result.values):
            held = self._best[index]
            # On a tie the better allrounder: most candidates tie on easy scenarios.
            if held is None or (value, fitness(result)) > (held.values[index], fitness(held)):
                self._best[index] = result

    def sample(self, rng: random.Random) -> Result | None:
        """A candidate that is best on some scenario, likelier the more scenarios it is best on."""
        return self._best[rng.randrange(len(self._best))] if self._best else None

    def complement(self, result: Result) -> Result | None:
        """Who is furthest ahead of `result` on one scenario."""
        gaps = [
            (held.values[i] - result.values[i], -i)
            for i, held in enumerate(self._best)
            if held is not None and i < len(result.values) and held.number != result.number
        ]
        if not gaps or max(gaps)[0] <= 0.0:
            return None
        return self._best[-max(gaps)[1]]
