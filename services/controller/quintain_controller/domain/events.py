"""What happened to a search, as plain data; recorded in the same transaction as what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quintain_controller.domain.model import Budget, Candidate, Gate, SearchState, Spend


@dataclass(frozen=True, slots=True)
class StateChanged:
    state: SearchState
    reason: str
    kind: Literal["state_changed"] = "state_changed"


@dataclass(frozen=True, slots=True)
class CandidateChanged:
    candidate: Candidate
    kind: Literal["candidate_changed"] = "candidate_changed"


@dataclass(frozen=True, slots=True)
class NewBest:
    candidate: Candidate
    previous_score: float | None
    kind: Literal["new_best"] = "new_best"


@dataclass(frozen=True, slots=True)
class HeldOutScored:
    number: int
    train_normalized: float
    held_out_normalized: float
    gap: float
    held_out_score: float
    held_out_baseline_score: float
    kind: Literal["held_out_scored"] = "held_out_scored"


@dataclass(frozen=True, slots=True)
class Overfitting:
    number: int
    gap: float
    detail: str
    kind: Literal["overfitting"] = "overfitting"


@dataclass(frozen=True, slots=True)
class Stagnation:
    candidates_without_improvement: int
    action: str
    kind: Literal["stagnation"] = "stagnation"


@dataclass(frozen=True, slots=True)
class GateDecided:
    gate: Gate
    kind: Literal["gate_decided"] = "gate_decided"


@dataclass(frozen=True, slots=True)
class GateProgress:
    """A gate is at work on the `tries`-th candidate that the gates look at."""

    name: str
    number: int
    tries: int
    most_tries: int
    scenarios_done: int = 0
    scenarios_total: int = 0
    kind: Literal["gate_progress"] = "gate_progress"


@dataclass(frozen=True, slots=True)
class BetterOnHeldOut:
    """An earlier best is better than the winner where nothing chose: on the held-out scenarios."""

    winner_number: int
    winner_normalized: float
    number: int
    normalized: float
    kind: Literal["better_on_held_out"] = "better_on_held_out"


@dataclass(frozen=True, slots=True)
class Promoted:
    candidate: Candidate
    kind: Literal["promoted"] = "promoted"


@dataclass(frozen=True, slots=True)
class BackendTrouble:
    backend: str
    reason: str
    search_paused: bool
    kind: Literal["backend_trouble"] = "backend_trouble"


@dataclass(frozen=True, slots=True)
class BudgetExtended:
    budget: Budget
    kind: Literal["budget_extended"] = "budget_extended"


DomainEvent = (
    StateChanged
    | CandidateChanged
    | NewBest
    | HeldOutScored
    | Overfitting
    | Stagnation
    | GateDecided
    | Promoted
    | BackendTrouble
    | BudgetExtended
    | GateProgress
    | BetterOnHeldOut
)


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event in the store. `sequence` counts from 1 without gaps; `at` in seconds since the epoch."""

    sequence: int
    at: float
    spend: Spend
    event: DomainEvent
