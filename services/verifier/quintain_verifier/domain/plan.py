"""What is to be verified, and its identity."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

from quintain.plugins.simulator import Aggregation, Direction, Fidelity, Objective, Part
from quintain_verifier.sandbox.limits import Limits

# Changes whenever the same plan would give another verdict.
FORMAT = "quintain.verdict.3"


@dataclass(frozen=True, slots=True)
class PlannedScenario:
    name: str
    digest: str
    part: Part
    cost: float
    group: str = ""  # of a group the worst counts; empty: by itself
    model: str = ""
    section: str = ""  # scored by itself as well; empty: of no section

    @property
    def situation(self) -> str:
        return self.group or self.name


@dataclass(frozen=True)  # without slots: its digest is kept
class RunPlan:
    """A request in canonical form: names resolved, defaults filled in. Two requests with equal digests mean the same.

    `scenarios` in the order of the suite, names unique, at least one. `calling_mode` empty: the simulator chooses.
    """

    source: str
    simulator: str
    build: str
    scenarios: tuple[PlannedScenario, ...]
    objective: Objective
    aggregation: Aggregation
    limits: Limits
    seed: int = 0
    calling_mode: str = ""
    check_determinism: bool = False
    confirm: bool = False
    stop_below_score: float | None = None
    include_detail: bool = False
    continue_after_time_limit: bool = False
    other_metrics: tuple[str, ...] = ()  # of the simulator's other objectives; no part of the digest
    fidelity: Fidelity | None = None  # of the simulator, and why: the build covers both
    fidelity_reason: str = ""

    @property
    def policy_digest(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def direction(self) -> Direction:
        """Which way the score is better: a mean of normalised values is always maximised."""
        return Direction.MAXIMIZE if self.aggregation is Aggregation.MEAN_NORMALIZED else self.objective.direction

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over everything the verdict depends on, and nothing else."""
        limits = {k: float(v).hex() for k, v in asdict(self.limits).items() if k not in ("source_bytes", "scenarios")}
        meaning = {
            "format": FORMAT,
            "policy": self.policy_digest,
            "simulator": self.simulator,
            "build": self.build,
            "scenarios": [
                [s.name, s.digest, s.part.value, *([s.group] if s.group else []), *([[s.section]] if s.section else [])]
                for s in self.scenarios
            ],
            "objective": self.objective.name,
            "aggregation": self.aggregation.value,
            "limits": limits,
            "seed": self.seed,
            "calling_mode": self.calling_mode,
            "check_determinism": self.check_determinism,
            "confirm": self.confirm,
            "stop_below_score": None if self.stop_below_score is None else float(self.stop_below_score).hex(),
            "include_detail": self.include_detail,
            "continue_after_time_limit": self.continue_after_time_limit,
        }
        return hashlib.sha256(json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def running_order(self) -> tuple[PlannedScenario, ...]:
        """The suite's order, train scenarios first, so that nothing that happens on a held-out one shows in what an
        author reads; with a score to reach, the scenarios that decide it first, cheap before dear."""
        if self.stop_below_score is None:
            return tuple(sorted(self.scenarios, key=lambda s: s.part is Part.HELD_OUT))
        decisive = self.deciding_part
        return tuple(sorted(self.scenarios, key=lambda s: (s.part is not decisive, s.cost)))

    @property
    def deciding_part(self) -> Part:
        """The part whose score `stop_below_score` is about."""
        return Part.TRAIN if any(s.part is Part.TRAIN for s in self.scenarios) else Part.HELD_OUT
