"""Whether a call of another service that failed is tried again, and when; a function of the error and its count."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from quintain.backoff import Backoff
from quintain.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    QuintainError,
    ResourceExhausted,
    Unavailable,
)
from quintain_controller.domain.model import NANO, Charge

# A bug in the other service may be a bad replica; after so many tries it is the operator's business.
_INTERNAL_TRIES = 3
# A service that asks for so long a wait has the search paused meanwhile, with the time said.
LONG_WAIT_SECONDS = 60.0
# No request costs more.
_MOST_USD = 1e6
_PASSING = (Unavailable, Aborted, DeadlineExceeded, Cancelled, ResourceExhausted, Internal)


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Call again after at least so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class NeedsOperator:
    """The call fails until somebody changes something."""

    reason: str


@dataclass(frozen=True, slots=True)
class WrongRequest:
    """The request itself is wrong: it never succeeds."""

    reason: str


Decision = RetryLater | NeedsOperator | WrongRequest


def after(service: str, error: QuintainError, failures: int, internal_failures: int, backoff: Backoff) -> Decision:
    """What to do after the `failures`-th failure (from 1), of which so many were bugs of the service."""
    if isinstance(error, (InvalidArgument, AlreadyExists)):
        return WrongRequest(f"{error.code}: {error.message}")
    final = isinstance(error, Internal) and internal_failures >= _INTERNAL_TRIES
    used_up = isinstance(error, ResourceExhausted) and error.retry_after_seconds is None
    if final or used_up or not isinstance(error, _PASSING):
        return NeedsOperator(f"{service}: {error.reason}: {error.message}")
    return RetryLater(max(backoff.seconds(failures), error.retry_after_seconds or 0.0))


def clock_time(epoch: float) -> str:
    """For people: the day is said too, a wait may be long."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def spent(error: QuintainError) -> Charge | None:
    """What a request without a result has cost so far, where the generator says it."""
    try:
        usd, at_risk = (float(error.metadata[key]) for key in ("spent_usd", "at_risk_usd"))
    except (KeyError, ValueError):
        return None
    return charge_of(usd, at_risk)


def charge_of(usd: float, at_risk: float) -> Charge | None:
    """None for sums that no request costs: what a strange answer says is not booked."""
    if not (0.0 <= usd <= _MOST_USD and 0.0 <= at_risk <= _MOST_USD):  # NaN is in no range
        return None
    return Charge(usd_nano=round(usd * NANO), at_risk_usd_nano=round(at_risk * NANO))
