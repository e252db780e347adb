"""Traces over the three services: OpenTelemetry's API everywhere, its SDK only where an exporter is configured.

Set the standard ``OTEL_EXPORTER_OTLP_ENDPOINT`` (and install the extra ``tracing``) to export; without it every span is
OpenTelemetry's no-op.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from opentelemetry import propagate, trace
from opentelemetry.context import Context

CORRELATION_KEY = "x-correlation-id"

tracer = trace.get_tracer("quintain")


def configure_tracing(service: str) -> bool:
    """Export spans as the standard environment says; returns whether an exporter was configured."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return False
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"quintain-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True


def flush_traces() -> None:
    """Export what is still held back, for a process that ends without the interpreter's own end."""
    provider = trace.get_tracer_provider()
    if hasattr(provider, "shutdown"):  # OpenTelemetry's no-op provider has none
        provider.shutdown()


def outgoing_metadata() -> list[tuple[str, str]]:
    """Trace context and correlation id of the work at hand, for the next service."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    structlog = sys.modules.get("structlog")  # a client that logs otherwise has no such id, and is spared the import
    correlation = structlog.contextvars.get_contextvars().get("correlation_id") if structlog else None
    if correlation:
        carrier[CORRELATION_KEY] = correlation
    return list(carrier.items())


def incoming_context(metadata: Mapping[str, str]) -> Context:
    return propagate.extract(metadata)
