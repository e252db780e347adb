"""Which candidate goes to repair: what is near before what is hopeless."""

from __future__ import annotations

from collections.abc import Sequence

from quintain.plugins.strategy import Result

_MOST_NEAR = 8
# Of the scenarios, at least this share led makes a candidate with a broken scenario one that is worth mending.
_NEAR_SHARE = 1 / 3


class Leads:
    """The best value on each scenario, of candidates that ran to the end."""

    def __init__(self, scenarios: int) -> None:
        self._best = [0.0] * scenarios

    def add(self, result: Result) -> None:
        self._best = [max(best, value) for best, value in zip(self._best, result.values, strict=True)]

    def led(self, result: Result) -> int:
        """On how many scenarios nobody is better; a scenario with the worst value is not led."""
        values = result.values
        return sum(value > 0.0 and value >= best for value, best in zip(values, self._best, strict=False))

    def near(self, result: Result) -> bool:
        """Whether something small spoils it: it leads on many scenarios, and has the worst value on others."""
        broken = any(value <= 0.0 for value in result.values)
        return broken and self.led(result) >= max(1.0, _NEAR_SHARE * len(self._best))


class Repairs:
    """Candidates that may be sent back, each once. Those that are near are kept until their turn; of the others, the
    latest."""

    def __init__(self, leads: Leads) -> None:
        self._leads = leads
        self._near: list[Result] = []
        self._latest: Result | None = None

    def add(self, result: Result) -> None:
        """A failed candidate, or one that is `Leads.near`."""
        if self._leads.near(result):
            self._near = nearest([*self._near, result], self._leads)[:_MOST_NEAR]
        if result.failed:
            self._latest = result

    def __bool__(self) -> bool:
        return bool(self._near) or self._latest is not None

    def take(self) -> Result:
        """The nearest."""
        self._near = nearest(self._near, self._leads)
        if self._near:
            found = self._near.pop(0)
        else:
            assert self._latest is not None, "there is nothing to repair"
            found = self._latest
        if self._latest is not None and self._latest.number == found.number:
            self._latest = None
        return found


def nearest(results: Sequence[Result], leads: Leads) -> list[Result]:
    """The nearest first: by how many scenarios it leads, then by its mean, then as they came."""
    return sorted(results, key=lambda r: (-leads.led(r), -_mean(r)))


def _mean(result: Result) -> float:
    return sum(result.values) / len(result.values) if result.values else 0.0
