"""One trace and one correlation id for all that the services do for a candidate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import Span, use_span
from structlog.contextvars import bound_contextvars

from quintain.wire.tracing import tracer


class CandidateTraces:
    """Of one search: a span for each candidate under way, from its first call until it is settled."""

    def __init__(self, search_id: str) -> None:
        self._search_id = search_id
        self._spans: dict[int, Span] = {}

    @contextmanager
    def of(self, number: int) -> Iterator[None]:
        if number not in self._spans:
            attributes: dict[str, str | int] = {"quintain.search": self._search_id, "quintain.candidate": number}
            self._spans[number] = tracer.start_span("candidate", attributes=attributes)
        with (
            bound_contextvars(correlation_id=f"{self._search_id}-{number}"),
            use_span(self._spans[number], record_exception=False),
        ):
            yield

    def end(self, number: int) -> None:
        """The candidate is settled."""
        if (span := self._spans.pop(number, None)) is not None:
            span.end()

    def close(self) -> None:
        for number in list(self._spans):
            self.end(number)
