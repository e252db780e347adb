"""The fidelity card: how near a model comes to recordings that it never saw, beside two floors; how it ranks policies.

What is judged are windows: the recordings of each part are cut into pieces of equal length, and in each the model's and
the floors' distances are taken from the same rollouts. So a mean has an interval, and the floors are beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from quintain.statistics import Interval, paired_bootstrap
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli.fidelity.attack import Attack
from quintain_cli.fidelity.decision import DecisionFidelity

SEED = 0
TRAIN, LATER, OTHER_POLICY, BUSIEST = PARTS = ("train", "later", "other_policy", "busiest")
HELD_OUT = (LATER, OTHER_POLICY, BUSIEST)
TAU_NEEDED = 0.6
REGRET_ALLOWED = 0.1
WORTH_NOTHING = 1e-3  # of the distance, for a tenth of a parameter's range: it is hardly determined
LOADS = ("low", "middle", "high")


@dataclass(frozen=True, slots=True)
class Window:
    """One piece of a recording: when, how many inputs a second, and the distances there."""

    part: str
    recording: str
    start: float
    until: float
    load: float
    distance: float
    floors: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """Windows together: the model's distance, the floors', and how much nearer than the better floor the model is."""

    name: str
    windows: int
    distance: Interval
    floors: Mapping[str, Interval]
    nearer: Interval

    @property
    def beats_floors(self) -> bool:
        return all(self.distance.mean < floor.mean for floor in self.floors.values())


@dataclass(frozen=True, slots=True)
class ComponentRow:
    """One thing that was compared, over all held-out recordings: ``times: finished after started, large``."""

    name: str
    distance: Interval
    recorded: float | None
    said: float | None


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """A calibrated value; `worth` is how much the distance grows if it is a tenth of its range off."""

    name: str
    value: float
    worth: float

    @property
    def determined(self) -> str:
        return "does nothing" if self.worth <= 0 else "hardly" if self.worth < WORTH_NOTHING else "well"


@dataclass(frozen=True, slots=True)
class Card:
    """`model` and `system`: sha256 (hex) of the model's source and of the package's system.toml."""

    package: str
    model: str
    system: str
    parts: tuple[Row, ...]
    loads: tuple[Row, ...]
    components: tuple[ComponentRow, ...]
    parameters: tuple[ParameterRow, ...]
    words: tuple[str, ...]
    unverified: tuple[str, ...]
    decision: DecisionFidelity | None
    failures: tuple[str, ...]
    attack: Attack | None

    @property
    def refused(self) -> tuple[str, ...]:
        """Why the model is not to be trusted, as far as it was tested."""
        found = list(self.failures)
        for row in self.parts:
            if row.name in HELD_OUT and not row.beats_floors:
                beaten = [name for name, floor in row.floors.items() if row.distance.mean >= floor.mean]
                found.append(f"{row.name}: it is no nearer to the recordings than the floor {' and '.join(beaten)}")
        if self.decision is not None and self.decision.enough:
            tau, regret = self.decision.tau, self.decision.regret
            if tau is not None and tau < TAU_NEEDED:
                found.append(
                    f"it ranks policies otherwise than the truth: tau {tau:.2f}, at least {TAU_NEEDED} is needed"
                )
            if regret is not None and regret > REGRET_ALLOWED:
                found.append(f"its best policy loses {regret:.0%} in the truth, at most {REGRET_ALLOWED:.0%} may be")
        if self.attack is not None:
            found += [f"attack: {hole.words}" for hole in self.attack.holes if hole.confirmed]
        return tuple(found)

    @property
    def untested(self) -> tuple[str, ...]:
        """What would have to be tested before the model is called verified."""
        judged = {row.name for row in self.parts}
        found = [f"nothing was held out as {part}" for part in HELD_OUT if part not in judged]
        if self.decision is None:
            found.append("decision fidelity: name where the truth can be run (--truth-suite)")
        elif not self.decision.enough:
            found.append("decision fidelity: too few policies, or they are all alike")
        if self.attack is None:
            found.append("attack: nobody looked for policies that get too much out of it (--attack)")
        elif unsure := [hole.words for hole in self.attack.holes if not hole.confirmed]:
            found += [f"attack, and no truth to ask: {words}" for words in unsure]
        return (*found, *self.unverified)

    @property
    def fidelity(self) -> str:
        """``verified``, ``unverified`` or ``failed``."""
        return "failed" if self.refused else "unverified" if self.untested else "verified"

    def document(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "decision": None if self.decision is None else self.decision.document(),
            "attack": None if self.attack is None else self.attack.document(),
            "fidelity": self.fidelity,
            "refused": list(self.refused),
            "untested": list(self.untested),
        }


def card_of(
    package: str,
    model: str,
    system: str,
    verdict: pb.Verdict,
    unverified: Sequence[str],
    decision: DecisionFidelity | None,
    attack: Attack | None = None,
) -> Card:
    """`verdict`: of the model's source in the simulator of recordings, with details."""
    failures = []
    windows: list[Window] = []
    details: list[tuple[str, dict[str, Any]]] = []
    for scenario in verdict.scenarios:
        part, _, recording = scenario.scenario.partition("/")[2].partition("/")
        if scenario.HasField("failure"):
            failures.append(f"{part}{f' of {recording}' if recording else ''}: {scenario.failure.message}")
        elif scenario.detail:
            detail = json.loads(scenario.detail)
            details.append((part, detail))
            windows += [Window(part, w["recording"], w["from"], w["until"], w["load"], w["distance"], w["floors"])
                        for w in detail["windows"]]  # fmt: skip
    return Card(
        package,
        model,
        system,
        tuple(_row(part, chosen) for part in PARTS if (chosen := [w for w in windows if w.part == part])),
        tuple(_by_load(windows)),
        tuple(_components([detail for part, detail in details if part != TRAIN])),
        _parameters(verdict),
        tuple(dict.fromkeys(text for part, detail in details if part != TRAIN for text in detail["words"])),
        tuple(unverified),
        decision,
        tuple(failures),
        attack,
    )


def _row(name: str, windows: Sequence[Window]) -> Row:
    floors = {floor: [w.floors[floor] for w in windows] for floor in windows[0].floors}
    nearer = [min(w.floors.values()) - w.distance for w in windows]
    return Row(
        name,
        len(windows),
        paired_bootstrap([w.distance for w in windows], SEED),
        {floor: paired_bootstrap(values, SEED) for floor, values in floors.items()},
        paired_bootstrap(nearer, SEED),
    )


def _by_load(windows: Sequence[Window]) -> list[Row]:
    """Thirds of the held-out windows by load, if there are enough to be told apart."""
    held = sorted((w for w in windows if w.part != TRAIN), key=lambda w: w.load)
    if len(held) < len(LOADS):
        return []
    edges = [round(len(held) * i / len(LOADS)) for i in range(len(LOADS) + 1)]
    return [_row(f"{name} load", held[low:high]) for name, low, high in zip(LOADS, edges, edges[1:], strict=False)]


def _components(details: Sequence[Mapping[str, Any]]) -> list[ComponentRow]:
    together: dict[str, list[Mapping[str, float]]] = {}
    for detail in details:
        for name, row in detail["components"].items():
            together.setdefault(name, []).append(row)
    return [
        ComponentRow(
            name, paired_bootstrap([r["distance"] for r in rows], SEED), _mean(rows, "recorded"), _mean(rows, "said")
        )
        for name, rows in together.items()
    ]  # fmt: skip


def _mean(rows: Sequence[Mapping[str, float]], key: str) -> float | None:
    values = [row[key] for row in rows if key in row]
    return sum(values) / len(values) if values else None


def _parameters(verdict: pb.Verdict) -> tuple[ParameterRow, ...]:
    """The same in every scenario: they are calibrated once, on train."""
    metrics = {m.name: m.value for s in verdict.scenarios for m in s.metrics}
    names = [name.removeprefix("parameter_") for name in metrics if name.startswith("parameter_")]
    return tuple(ParameterRow(n, metrics[f"parameter_{n}"], metrics.get(f"worth_{n}", 0.0)) for n in names)
