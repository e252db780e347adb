"""Which backend is asked next, where those of a search have roles: by what each has returned for its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quintain.plugins.strategy import BackendInfo, Result, Role
from quintain_controller.domain.strategies.common import fitness

# What a backend returned fades by this with every answer of any: gains are easy at the beginning.
_MEMORY = 0.9
# Of the way from the best to the bound: a new best that comes less near is not worth another sweep.
_WORTH_A_SWEEP = 1e-3
_FREE = 1e-6  # dollars for a request that costs nothing: then it is gains for a request that count


@dataclass(slots=True)
class _Returns:
    gain: float = 0.0
    cost: float = 0.0
    answers: float = 0.0


class Cast:
    """The main backends most of the time, a strong one when they gain nothing for a while, and one that is free after
    each new best of theirs, and in between for a search of its own. Deterministic, and a step costs the same in a
    search of any length.

    What counts as a gain is the share of the way to the bound that an answer came nearer than the best of those that
    write (and of what was swept from it). A backend without answers is taken to return what the others do.
    """

    def __init__(self, backends: Sequence[BackendInfo], strong_after: int, sweep: int, explore: int) -> None:
        """`strong_after`: answers without a gain before a strong backend is asked. `sweep`: free requests after each
        new best, `explore`: and after each request that costs something."""
        self._mains = [b for b in backends if b.role is Role.MAIN] or [b for b in backends if b.role is Role.STRONG]
        self._strong = [b for b in backends if b.role is Role.STRONG and b not in self._mains]
        self._sweepers = [b for b in backends if b.role is Role.SWEEP]
        self._strong_after, self._sweep, self._explore = strong_after, sweep, explore
        self._returns = {b.name: _Returns() for b in (*self._mains, *self._strong)}
        self._first_cost = {b.name: b.max_cost_usd or _FREE for b in (*self._mains, *self._strong)}
        self._asked: dict[int, str] = {}  # under way -> backend that writes
        self._tried: set[str] = set()
        self._without_gain = 0
        self._since_strong = 0  # requests to others
        self._affordable: frozenset[str] | None = None  # None: all
        self._best: Result | None = None
        self._sweeps_left = 0
        self._explores_left = explore
        self._sweeps_made = 0

    @property
    def authors(self) -> tuple[BackendInfo, ...]:
        """Those that write."""
        return (*self._mains, *self._strong)

    def narrow(self, backends: tuple[str, ...]) -> bool:
        """The next request may go to these only. Whether there is one for them."""
        self._affordable = frozenset(backends)
        authors = any(b.name in self._affordable for b in self.authors)
        if not authors and not self.sweeps and not self.explores:
            self._affordable = None
            return False
        return True

    def author(self, number: int) -> BackendInfo:
        """Who writes candidate `number`."""
        mains, strong = self._allowed(self._mains), self._allowed(self._strong)
        due = min(self._without_gain, self._since_strong) >= self._strong_after
        known = [b for b in strong if self._returns[b.name].answers > 0.0]
        untried = [b for b in mains if b.name not in self._tried]
        return self._choose(number, strong if strong and (due or not mains) else untried or [*mains, *known])

    def mender(self, number: int) -> BackendInfo:
        """Who mends what another candidate broke: nothing that takes a new idea."""
        return self._choose(number, self._allowed(self._mains) or self._allowed(self._strong))

    def _choose(self, number: int, backends: Sequence[BackendInfo]) -> BackendInfo:
        chosen = max(backends, key=self._value)
        self._tried.add(chosen.name)
        self._since_strong = 0 if chosen in self._strong else self._since_strong + 1
        self._asked[number] = chosen.name
        self._explores_left = self._explore
        self._affordable = None
        return chosen

    @property
    def sweeps(self) -> bool:
        """Whether the next request is a sweep."""
        return bool(self._sweeps_left and self._allowed(self._sweepers))

    @property
    def explores(self) -> bool:
        """Whether, if it is no sweep, the next request is one of what the free backends search by themselves."""
        return bool(self._explores_left and self._sweepers) and self._allowed(self._sweepers) == self._sweepers

    def explore(self) -> None:
        """One more request of what the free backends search by themselves is made."""
        self._explores_left -= 1
        self._affordable = None

    def sweep(self) -> tuple[BackendInfo, Result]:
        """Who changes constants, and of which candidate."""
        assert self._best is not None, "there is something to sweep"
        sweepers = self._allowed(self._sweepers)
        self._sweeps_left -= 1
        self._sweeps_made += 1
        self._affordable = None
        return sweepers[self._sweeps_made % len(sweepers)], self._best

    def tell(self, result: Result, seed: bool) -> None:
        """A result of theirs, of a sweep, or of a seed that nobody was asked for."""
        name = self._asked.pop(result.number, None)
        gain = self._gain(result)
        if name is not None:
            for returns in self._returns.values():
                returns.gain *= _MEMORY
                returns.cost *= _MEMORY
                returns.answers *= _MEMORY
            own = self._returns[name]
            own.gain, own.cost, own.answers = own.gain + gain, own.cost + (result.cost_usd or _FREE), own.answers + 1.0
            self._without_gain = 0 if gain > 0.0 else self._without_gain + 1
        if gain > 0.0:
            self._best = result
            if not seed and (name is not None or gain >= _WORTH_A_SWEEP):
                self._sweeps_left = self._sweep

    def _gain(self, result: Result) -> float:
        best = fitness(self._best) if self._best is not None else ()
        if result.fitness is None or result.fitness <= best:
            return 0.0
        before = best[-1] if best else 0.0
        # Better than the best counts, even with nothing left to the bound, or the same normalized value.
        return max((result.fitness[-1] - before) / (1.0 - before) if before < 1.0 else 0.0, 1e-9)

    def _allowed(self, backends: Sequence[BackendInfo]) -> list[BackendInfo]:
        return [b for b in backends if self._affordable is None or b.name in self._affordable]

    def _value(self, backend: BackendInfo) -> float:
        """Gain for its cost, as if it had answered once more than it has, and returned what all do on the average."""
        everybody = self._returns.values()
        cost = sum(r.cost for r in everybody)
        usual = sum(r.gain for r in everybody) / cost if cost else 1.0
        own = self._returns[backend.name]
        one = own.cost / own.answers if own.answers else self._first_cost[backend.name]
        return (own.gain + usual * one) / (own.cost + one)
