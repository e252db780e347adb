"""Decision fidelity: does a model rank policies as the truth does, and what is left there of what is found in it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from quintain.statistics import bootstrap_tau, kendall_tau

FEWEST = 8  # reference policies; of fewer, nothing is concluded
SEED = 0


@dataclass(frozen=True, slots=True)
class Reference:
    """A policy's score in the model and in the truth, higher being better; None where it failed there."""

    name: str
    model: float | None
    truth: float | None


@dataclass(frozen=True, slots=True)
class DecisionFidelity:
    """`tau` is Kendall's tau-b of the references' scores, `interval` its 95 % bootstrap interval over the policies.

    `regret` is what is lost in the truth by taking the model's best reference instead of the truth's best, as a share
    of the references' range there. `disagree` counts references that fail in one of the two only.
    """

    truth: str
    references: tuple[Reference, ...]
    tau: float | None
    interval: tuple[float, float] | None
    regret: float | None
    disagree: int

    @property
    def enough(self) -> bool:
        return len(self.references) >= FEWEST and self.tau is not None

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "enough": self.enough}


def decision_fidelity(truth: str, references: Sequence[Reference], worst: float = 0.0) -> DecisionFidelity:
    """A policy that failed counts with the `worst` score."""
    model = [worst if r.model is None else r.model for r in references]
    true = [worst if r.truth is None else r.truth for r in references]
    return DecisionFidelity(
        truth,
        tuple(references),
        kendall_tau(model, true),
        bootstrap_tau(model, true, SEED),
        _regret(model, true),
        sum((r.model is None) != (r.truth is None) for r in references),
    )


def _regret(model: Sequence[float], true: Sequence[float]) -> float | None:
    """Of several that the model calls best, the worst in the truth: nobody can tell them apart in the model."""
    if not true or max(true) == min(true):
        return None
    best = max(model)
    chosen = min(t for m, t in zip(model, true, strict=True) if m == best)
    return (max(true) - chosen) / (max(true) - min(true))


def gain_kept(baseline: float, found_in_model: float, found_in_truth: float) -> float | None:
    """The share of the true gain (found by a search in the truth) that the policy found in the model has in the truth.
    None if there was nothing to gain."""
    gain = found_in_truth - baseline
    return (found_in_model - baseline) / gain if gain > 0 else None
