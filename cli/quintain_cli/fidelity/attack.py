"""What an attack on a model has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from quintain.plugins.recorder import Exceeded

MOST_HOLES = 5


@dataclass(frozen=True)
class Hole:
    """A `policy` that got in `scenario` what no recording is near, the farthest first; or on which the model `broke`
    (an invariant, an exception). `confirmed`: the truth does not let it, or there is nothing to ask it for."""

    policy: str
    scenario: str
    exceeded: tuple[Exceeded, ...]
    confirmed: bool
    broke: str = ""

    @property
    def words(self) -> str:
        where = f"{self.policy}{f' in {self.scenario}' if self.scenario else ''}"
        if self.broke:
            return f"{where}: the model broke: {self.broke}"
        far = self.exceeded[0]
        more = f", and {len(self.exceeded) - 1} more" if len(self.exceeded) > 1 else ""
        return f"{where}: {far.what} is {far.reached:.4g}, recordings go to {far.recorded:.4g}{more}"


@dataclass(frozen=True)
class Attack:
    """`tried` policies were searched for in the model with `seed`; `checked`: what they got was looked for in the truth
    as well."""

    tried: int
    seed: int
    checked: bool
    holes: tuple[Hole, ...]

    @property
    def broke(self) -> bool:
        return any(hole.broke for hole in self.holes)

    def document(self) -> dict[str, Any]:
        holes = [{**asdict(hole), "words": hole.words} for hole in self.holes]
        return {"tried": self.tried, "seed": self.seed, "checked": self.checked, "holes": holes}


def worst_of_each(holes: Sequence[Hole]) -> list[Hole]:
    """The hole that goes farthest for each thing that is exceeded; at most MOST_HOLES."""
    kept: list[Hole] = []
    seen: set[str] = set()
    for hole in sorted(holes, key=lambda hole: hole.exceeded[0].factor, reverse=True):
        new = {one.what for one in hole.exceeded} - seen
        if new and len(kept) < MOST_HOLES:
            seen |= new
            kept.append(hole)
    return kept
