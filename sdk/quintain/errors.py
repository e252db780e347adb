"""Typed errors of every quintain service, one class for each status code that a caller may see.

Services raise them, clients raise the same classes; `quintain.wire.status` maps them to and from google.rpc.Status.
Messages are for people and hold no secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field: its path (``spec.budget.usd``, ``trace.csv:12:arrival_seconds``) and what would be right."""

    field: str
    message: str


class QuintainError(Exception):
    """Base class. `reason` is stable UPPER_SNAKE_CASE for programs; `retry_after_seconds` is set where waiting
    helps."""

    code: ClassVar[str] = "UNKNOWN"
    default_reason: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
        violations: Iterable[FieldViolation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})
        self.retry_after_seconds = retry_after_seconds
        self.violations = tuple(violations)


class InvalidArgument(QuintainError):
    """The request is wrong as written; the same request never succeeds."""

    code = "INVALID_ARGUMENT"
    default_reason = "INVALID_ARGUMENT"

    @classmethod
    def of(cls, field: str, message: str) -> InvalidArgument:
        return cls(f"{field}: {message}", violations=[FieldViolation(field, message)])


class NotFound(QuintainError):
    """No such thing."""

    code = "NOT_FOUND"
    default_reason = "NOT_FOUND"


class AlreadyExists(QuintainError):
    """The request id was used with another request."""

    code = "ALREADY_EXISTS"
    default_reason = "REQUEST_ID_REUSED"


class FailedPrecondition(QuintainError):
    """A right request in the wrong state; final until a person changes something."""

    code = "FAILED_PRECONDITION"
    default_reason = "FAILED_PRECONDITION"


class ResourceExhausted(QuintainError):
    """A queue, a budget or a limit is used up; waiting helps if `retry_after_seconds` is set."""

    code = "RESOURCE_EXHAUSTED"
    default_reason = "RESOURCE_EXHAUSTED"


class Unavailable(QuintainError):
    """The service or something it needs is down or draining; retry with backoff."""

    code = "UNAVAILABLE"
    default_reason = "UNAVAILABLE"


class DeadlineExceeded(QuintainError):
    """The caller's deadline passed."""

    code = "DEADLINE_EXCEEDED"
    default_reason = "DEADLINE_EXCEEDED"


class Cancelled(QuintainError):
    """The caller cancelled."""

    code = "CANCELLED"
    default_reason = "CANCELLED"


class Aborted(QuintainError):
    """Another owner took over (a lease was lost); re-read and retry."""

    code = "ABORTED"
    default_reason = "LEASE_LOST"


class Unauthenticated(QuintainError):
    """No valid bearer token."""

    code = "UNAUTHENTICATED"
    default_reason = "UNAUTHENTICATED"


class PermissionDenied(QuintainError):
    """Known caller, not allowed."""

    code = "PERMISSION_DENIED"
    default_reason = "PERMISSION_DENIED"


class Internal(QuintainError):
    """A bug or a broken dependency; the message names a correlation id, the log has the cause."""

    code = "INTERNAL"
    default_reason = "INTERNAL"


ERRORS_BY_CODE: Mapping[str, type[QuintainError]] = {
    error.code: error
    for error in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        ResourceExhausted,
        Unavailable,
        DeadlineExceeded,
        Cancelled,
        Aborted,
        Unauthenticated,
        PermissionDenied,
        Internal,
    )
}
