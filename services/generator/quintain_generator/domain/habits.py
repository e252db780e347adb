"""What a backend's requests usually need, measured on its latest ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

HIGH = 0.95
"""The high quantile."""
MEASURED_REQUESTS = 100
"""How many of the latest requests are looked at."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One finished request with all its calls; None where it is not known. `cost_usd` includes what is at risk."""

    cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True)
class Habits:
    """Medians and high quantiles over `requests` requests; costs are None where none is known, tokens 0."""

    requests: int = 0
    typical_cost_usd: float | None = None
    high_cost_usd: float | None = None
    typical_input_tokens: int = 0
    high_input_tokens: int = 0
    typical_output_tokens: int = 0
    high_output_tokens: int = 0


def habits_of(measured: Sequence[Measured]) -> Habits:
    costs = [m.cost_usd for m in measured if m.cost_usd is not None]
    sent = [m.input_tokens for m in measured if m.input_tokens is not None]
    got = [m.output_tokens for m in measured if m.output_tokens is not None]
    return Habits(
        len(measured),
        _quantile(costs, 0.5) if costs else None,
        _quantile(costs, HIGH) if costs else None,
        int(_quantile(sent, 0.5)),
        int(_quantile(sent, HIGH)),
        int(_quantile(got, 0.5)),
        int(_quantile(got, HIGH)),
    )


def _quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed; 0 if there are none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0
