"""How long to wait before something that failed is tried again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between tries: `first_seconds`, doubling up to `most_seconds`."""

    first_seconds: float
    most_seconds: float

    def seconds(self, failures: int) -> float:
        """The pause after so many failures in a row, from 1 on."""
        doublings = min(max(failures - 1, 0), 60)  # beyond that, numbers get too large for a float
        return min(self.most_seconds, self.first_seconds * 2.0**doublings)
