"""Components of a distance, each 0 (the same) to 1 (nothing alike), and what they are together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

WEIGHTS = {"step": 0.15, "times": 0.5, "counts": 0.2, "levels": 0.15}
WORST = 1.0


@dataclass(frozen=True)
class Component:
    """One thing that was compared. `recorded` and `said` are its most telling numbers in `unit`, None where there is
    none; `words` name what is wrong, empty if little is; `weight` is within its group."""

    group: str
    name: str
    value: float
    recorded: float | None = None
    said: float | None = None
    unit: str = ""
    words: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Distance:
    """All components, the means of the groups, and the distance itself."""

    components: tuple[Component, ...]

    @property
    def groups(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for group in WEIGHTS:
            members = [c for c in self.components if c.group == group]
            if members:
                weight = sum(c.weight for c in members)
                found[group] = sum(c.weight * c.value for c in members) / weight
        return found

    @property
    def value(self) -> float:
        groups = self.groups
        if not groups:
            return WORST
        return sum(WEIGHTS[g] * v for g, v in groups.items()) / sum(WEIGHTS[g] for g in groups)

    def worst(self, most: int = 8) -> list[Component]:
        """Components with words, those that matter most first; of several recordings that say the same, one."""
        said = [c for c in self.components if c.words]
        found: dict[str, Component] = {}
        for component in sorted(said, key=lambda c: (-WEIGHTS[c.group] * c.weight * c.value, c.name)):
            found.setdefault(component.name.partition(" in ")[0], component)
        return list(found.values())[:most]


def together(by_recording: Mapping[str, Distance]) -> Distance:
    """Over several recordings, each of which counts alike."""
    return Distance(
        tuple(
            replace(c, name=f"{c.name} in {recording}", words=f"{c.words} (in {recording})" if c.words else "")
            for recording, distance in by_recording.items()
            for c in distance.components
        )
    )


def mean_over(members: Sequence[Component], apart: Sequence[float], rollouts: int) -> Component:
    """One component over all rollouts; where it is in some of them only, the rest counts as equal."""
    value = sum(c.value for c in members) / rollouts
    spread = sum(apart) / (rollouts - 1)
    first = members[0]
    said = [c.said for c in members if c.said is not None]
    middle = sum(said) / len(said) if said else None
    worded = next((c.words for c in sorted(members, key=lambda c: c.value) if c.words), "")
    words = worded if sum(bool(c.words) for c in members) > rollouts / 2 else ""
    return replace(first, value=max(0.0, value - spread / 2), said=middle, words=words)
