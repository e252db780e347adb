"""What all callers of one backend share: tokens a minute and the circuit breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class TokenBucket:
    """Tokens a minute. A request takes its estimate and gives back (or takes) the difference when it is settled.

    A request larger than the whole bucket waits for a full one and leaves it in debt. Whoever waits holds `turn`, so
    that many small requests cannot overtake a large one for ever.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._capacity = float(per_minute)
        self._level = float(per_minute)
        self._clock = clock
        self._at = clock()
        self.turn = asyncio.Lock()

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
    """Opens after `threshold` failures in a row of an endpoint. After `cooldown_seconds` one call, the probe, is let
    through, and everybody else waits for what comes of it, however long it takes."""

    def __init__(self, threshold: int, cooldown_seconds: float, clock: Callable[[], float]) -> None:
        self._threshold = threshold
        self._cooldown = cooldown_seconds
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        return self._failures >= self._threshold

    def wait_seconds(self) -> float:
        """0 if a call may be made now; otherwise how long until it makes sense to ask again."""
        if not self.is_open:
            return 0.0
        return self._cooldown if self._probing else max(0.0, self._retry_at - self._clock())

    def begin_call(self) -> bool:
        """A call is about to be made. Whether it is the probe; to be handed to `end_call`."""
        probe = self.is_open
        self._probing = self._probing or probe
        return probe

    def end_call(self, probe: bool, success: bool | None) -> None:
        """`success` is None for a call that says nothing about the endpoint (its caller left, say)."""
        if probe:
            self._probing = False
        if success:
            self._failures = 0
        elif success is False:
            self._failures += 1
            self._retry_at = self._clock() + self._cooldown
