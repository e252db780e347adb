"""Which backend is asked next, where those of a search have roles: by what each has returned for its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quintain.plugins.strategy import BackendInfo, Result, Role
from quintain_controller.domain.strategies.common import fitness

# What a backend returned fades by this with every answer of any: gains are easy at the beginning.
_MEMORY = 0.9
# Of the way from the best to the bound: a new best that comes less near is not worth another sweep, and requests that
# come less near on the average are not worth more of them.
_WORTH_A_SWEEP = 1e-3
# What a free request is taken to gain before anything is known, which weighs as much as so many requests. Sweeps gained
# so much at first (docs/measurements.md).
_HOPED, _BELIEF = 1e-2, 10.0
_FREE = 1e-6  # dollars for a request that costs nothing: then it is gains for a request that count


@dataclass(slots=True)
class _Returns:
    gain: float = 0.0
    cost: float = 0.0
    answers: float = 0.0


@dataclass(slots=True)
class _Line:
    """Where free requests may go: what they reached, and what one of them gains, as a share of the way to the bound."""

    best: float = 0.0  # normalised
    rate: float = _HOPED  # lately
    gained: float = _HOPED * _BELIEF
    requests: float = _BELIEF

    def tell(self, value: float | None) -> None:
        gain = 0.0
        if value is not None and value > self.best:
            gain, self.best = _share(self.best, value), value
        self.rate += (1.0 - _MEMORY) * (gain - self.rate)
        self.gained, self.requests = self.gained + gain, self.requests + 1.0

    def start(self, best: float) -> None:
        """It goes on from something new: what it gained on the average may be hoped for again."""
        self.best, self.rate = best, max(self.rate, self.gained / self.requests)

    def promise(self, requests: int) -> float:
        """What so many more would reach at this rate."""
        return self.best + (1.0 - self.best) * min(1.0, requests * self.rate)


class Cast:
    """The main backends most of the time, a strong one when they gain nothing for a while, and in between one that is
    free: for the constants of the best that those write, or for a search of its own, whichever promises more by the
    next time. Deterministic, and a step costs the same in a search of any length.

    What counts as a gain is the share of the way to the bound that an answer came nearer than the best of those that
    write (and of what was swept from it). A backend without answers is taken to return what the others do.
    """

    def __init__(
        self, backends: Sequence[BackendInfo], strong_after: int, sweep: int, explore: int, *, shared: bool = True
    ) -> None:
        """`strong_after`: answers without a gain before a strong backend is asked. After each request that costs
        something come `explore` free ones for their own search, and `sweep` for whichever promises more. Not `shared`,
        as searches of earlier rules go: `sweep` after each new best and after each sweep that gained, for sweeps
        only."""
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
        self._written = False  # whether the best is one of theirs, not a seed
        self._shared = shared
        # Changes of constants that cost something are made after a new best only.
        self._free = shared and all(b.max_cost_usd == 0.0 for b in self._sweepers)
        self._swept, self._own = _Line(), _Line()
        self._sweeping: set[int] = set()  # under way
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
        if self._free:
            self._sweeps_left = self._sweep
        self._affordable = None
        return chosen

    @property
    def sweeps(self) -> bool:
        """Whether the next request is a sweep."""
        return bool(self._sweeps_left and self._allowed(self._sweepers)) and (not self._shared or self._promising)

    @property
    def _promising(self) -> bool:
        ahead = self._sweep + self._explore
        return (
            self._written
            and self._swept.rate >= _WORTH_A_SWEEP
            and self._swept.promise(ahead) >= self._own.promise(ahead)
        )

    @property
    def explores(self) -> bool:
        """Whether, if it is no sweep, the next request is one of what the free backends search by themselves."""
        left = self._explores_left + (self._sweeps_left if self._free else 0)
        return bool(left and self._sweepers) and self._allowed(self._sweepers) == self._sweepers

    def explore(self) -> None:
        """One more request of what the free backends search by themselves is made."""
        if self._explores_left:
            self._explores_left -= 1
        else:
            self._sweeps_left -= 1
        self._affordable = None

    def explored(self, result: Result) -> None:
        """A result of what the free backends search by themselves, or of a seed."""
        self._own.tell(_normalised(result))

    def sweep(self, number: int) -> tuple[BackendInfo, Result]:
        """Who changes constants for candidate `number`, and of which candidate."""
        assert self._best is not None, "there is something to sweep"
        sweepers = self._allowed(self._sweepers)
        self._sweeps_left -= 1
        self._sweeps_made += 1
        self._sweeping.add(number)
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
        if result.number in self._sweeping:
            self._sweeping.remove(result.number)
            self._swept.tell(_normalised(result))
        if gain > 0.0:
            self._best = result
            if name is not None:
                self._swept.start(fitness(result)[-1])
            self._written = self._written or not seed
            again = name is not None or (not self._shared and gain >= _WORTH_A_SWEEP)
            if not seed and again and not self._free:
                self._sweeps_left = self._sweep

    def _gain(self, result: Result) -> float:
        best = fitness(self._best) if self._best is not None else ()
        if result.fitness is None or result.fitness <= best:
            return 0.0
        # Better than the best counts, even with nothing left to the bound, or the same normalized value.
        return max(_share(best[-1] if best else 0.0, result.fitness[-1]), 1e-9)

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


def _share(before: float, after: float) -> float:
    """Of the way from `before` to the bound."""
    return (after - before) / (1.0 - before) if before < 1.0 else 0.0


def _normalised(result: Result) -> float | None:
    return result.fitness[-1] if result.fitness is not None else None
