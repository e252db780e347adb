"""What the strategies share: the best so far, stagnation, a deterministic choice of operator."""

from __future__ import annotations

from quintain.plugins.strategy import BackendInfo, Note, Operator, Result


class BestSoFar:
    """Best result and how long ago it came. `patience`: candidates without improvement before each note."""

    def __init__(self, patience: int, stop_after: int | None) -> None:
        self.best: Result | None = None
        self.since_best = 0
        self._patience = patience
        self._stop_after = stop_after

    def tell(self, result: Result, action: str) -> Note | None:
        if result.fitness is not None and (self.best is None or result.fitness > fitness(self.best)):
            self.best = result
            self.since_best = 0
            return None
        self.since_best += 1
        if self.since_best % self._patience == 0:
            return Note(self.since_best, action)
        return None

    @property
    def stagnant(self) -> bool:
        return self.since_best >= self._patience

    def stop(self) -> str | None:
        if self._stop_after is not None and self.since_best >= self._stop_after:
            return f"no improvement in {self.since_best} candidates"
        return None


def fitness(result: Result) -> tuple[float, ...]:
    """Comparable for every result: one without fitness is worse than any with."""
    return result.fitness if result.fitness is not None else ()


def in_turn(backends: tuple[BackendInfo, ...], number: int, wanted: tuple[Operator, ...]) -> tuple[str, Operator]:
    """The backends in turn, each with the first of the wanted operators that it offers (or its own first)."""
    backend = backends[number % len(backends)]
    operator = next((op for op in wanted if op in backend.operators), backend.operators[0])
    return backend.name, operator
