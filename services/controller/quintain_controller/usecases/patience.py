"""Calls of another service that are tried until they succeed, a person must act, or the search is over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from quintain.errors import (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    Internal,
    QuintainError,
    ResourceExhausted,
    Unavailable,
)
from quintain_controller import metrics
from quintain_controller.config import RunnerSettings

T = TypeVar("T")

# A bug in the other service may be a bad replica; after so many of them it is a person's business.
_INTERNAL_TRIES = 3


class NeedsOperator(Exception):
    """The call fails until a person changes something."""

    def __init__(self, service: str, error: QuintainError) -> None:
        super().__init__(f"{service}: {error.reason}: {error.message}")
        self.reason = str(self)
        self.error = error


async def persist(
    service: str,
    call: Callable[[], Awaitable[T]],
    settings: RunnerSettings,
    trouble: Callable[[QuintainError], Awaitable[None]],
    stopped: asyncio.Event,
) -> T | None:
    """The call's result; None if `stopped` was set while waiting. Raises NeedsOperator, or the error if the request
    itself is wrong (INVALID_ARGUMENT, ALREADY_EXISTS). `trouble` hears of each failure before the pause."""
    attempt = internal = 0
    while not stopped.is_set():
        try:
            return await call()
        except (Unavailable, Aborted, DeadlineExceeded, Cancelled, ResourceExhausted, Internal) as error:
            internal += isinstance(error, Internal)
            if internal >= _INTERNAL_TRIES or (
                isinstance(error, ResourceExhausted) and error.retry_after_seconds is None
            ):
                raise NeedsOperator(service, error) from error
            metrics.TROUBLES.labels(service).inc()
            await trouble(error)
            delay = min(settings.max_retry_seconds, settings.first_retry_seconds * 2**attempt)
            # Jitter only upwards: RetryInfo is a minimum.
            delay = max(delay, error.retry_after_seconds or 0.0) * random.uniform(1.0, 1.2)
            attempt += 1
            await _stopped_within(stopped, delay)
        except QuintainError as error:
            if error.code in ("INVALID_ARGUMENT", "ALREADY_EXISTS"):
                raise
            raise NeedsOperator(service, error) from error
    return None


async def _stopped_within(stopped: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopped.wait(), seconds)
    except TimeoutError:
        pass
