"""What all callers of one backend share: tokens a minute and the circuit breaker."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """Tokens a minute. A request takes its estimate and gives back (or takes) the difference when it is settled.

    A request larger than the whole bucket waits for a full one and leaves it in debt.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._capacity = float(per_minute)
        self._level = float(per_minute)
        self._clock = clock
        self._at = clock()

    def wait_seconds(self, tokens: int) -> float:
        """How long until `tokens` may be taken; 0 for now."""
        self._refill()
        missing = min(float(tokens), self._capacity) - self._level
        return max(0.0, missing / self._capacity * 60.0)

    def take(self, tokens: int) -> None:
        self._refill()
        self._level -= tokens

    def give_back(self, tokens: int) -> None:
        """Negative: more was used than was taken."""
        self._level = min(self._capacity, self._level + tokens)

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._capacity, self._level + (now - self._at) * self._capacity / 60.0)
        self._at = now


class Breaker:
    """Opens after `threshold` failures in a row of an endpoint, then lets one call through each `cooldown_seconds`."""

    def __init__(self, threshold: int, cooldown_seconds: float, clock: Callable[[], float]) -> None:
        self._threshold = threshold
        self._cooldown = cooldown_seconds
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._threshold

    def wait_seconds(self) -> float:
        """0 if a call may be made now; otherwise how long until one may."""
        return max(0.0, self._retry_at - self._clock()) if self.is_open else 0.0

    def calling(self) -> None:
        """A call is about to be made. With the breaker open it is the probe, and others wait for what comes of it."""
        if self.is_open:
            self._retry_at = self._clock() + self._cooldown

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        if self.is_open:
            self._retry_at = self._clock() + self._cooldown
