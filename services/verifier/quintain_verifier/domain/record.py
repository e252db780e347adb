"""A verdict as it is kept."""

from __future__ import annotations

from dataclasses import dataclass

from quintain_verifier.domain.verdict import Verdict
from quintain_verifier.sandbox.report import IsolationReport


@dataclass(frozen=True, slots=True)
class Execution:
    """How a verdict came about. `finished_at` in seconds since the epoch."""

    finished_at: float
    queue_seconds: float
    wall_seconds: float
    policy_cpu_seconds: float
    policy_peak_memory_bytes: int
    isolation: IsolationReport


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    verdict: Verdict
    execution: Execution
