"""What every rpc of every service gets: typed errors, RED metrics, a correlation id in the logs, the bearer token."""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from opentelemetry import trace
from opentelemetry.context import attach
from prometheus_client import Counter, Gauge, Histogram

from quintain.errors import Cancelled, Internal, InvalidArgument, QuintainError, Unauthenticated
from quintain.plugins.simulator import InvalidInput
from quintain.service.logs import get_logger
from quintain.wire.balancing import BUSY, pushback
from quintain.wire.status import DETAILS_KEY, to_status
from quintain.wire.tracing import CORRELATION_KEY, incoming_context, tracer

CALLER_KEY = "quintain-caller"
_OPEN_METHODS = ("/grpc.health.v1.Health/",)

HANDLED = Counter("quintain_rpc_handled", "Finished rpcs.", ["service", "method", "code"])
SECONDS = Histogram(
    "quintain_rpc_duration_seconds",
    "Time from the first byte of an rpc to its end.",
    ["service", "method"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300),
)
IN_FLIGHT = Gauge("quintain_rpc_in_flight", "Rpcs being handled.", ["service", "method"])

log = get_logger("rpc")


class Boundary(grpc.aio.ServerInterceptor):
    """Wraps each handler, unary or streaming, so that an error is mapped wherever in the call it is raised."""

    def __init__(self, service: str, tokens: Mapping[str, str] | None = None) -> None:
        """`tokens`: bearer tokens by their caller's name; none are asked for if there are none."""
        self._service = service
        self._tokens = dict(tokens or {})

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_OPEN_METHODS):
            return handler
        call = _Call(self._service, self._tokens, handler_call_details, handler.request_deserializer)
        codecs = (None, handler.response_serializer)  # requests are decoded in the call, after the token was checked
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(call.unary(handler.unary_unary), *codecs)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(call.unary(handler.stream_unary, call.decoded), *codecs)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(call.streaming(handler.unary_stream), *codecs)
        return grpc.stream_stream_rpc_method_handler(call.streaming(handler.stream_stream, call.decoded), *codecs)


_caller: ContextVar[str] = ContextVar("caller", default="")


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Who shares with whom: the token's name where tokens are asked for; else the name that the caller gives itself, or
    its host, and then only fairness may hang on it."""
    if name := _caller.get():
        return f"token:{name}"
    for key, value in context.invocation_metadata() or ():
        if key == CALLER_KEY and isinstance(value, str) and value:
            return f"name:{value[:100]}"
    peer = context.peer()
    return peer.rpartition(":")[0] if peer.startswith("ipv") else peer


class _Call:
    def __init__(
        self,
        service: str,
        tokens: Mapping[str, str],
        details: grpc.HandlerCallDetails,
        decode: Callable[[bytes], Any] | None,
    ) -> None:
        self._labels = (service, details.method.rsplit("/", 1)[-1])
        self._tokens = tokens
        self._method = details.method
        self._decode = decode
        self._metadata = {key: value for key, value in details.invocation_metadata or () if isinstance(value, str)}

    def unary(
        self, behavior: Callable[[Any, Any], Awaitable[Any]], read: Callable[[Any], Any] | None = None
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with _Observed(self, context):
                self._authenticate()
                return await behavior((read or self.message)(request), context)

        return handle

    def streaming(
        self, behavior: Callable[[Any, Any], AsyncGenerator[Any, None]], read: Callable[[Any], Any] | None = None
    ) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async with _Observed(self, context):
                self._authenticate()
                # aclosing: when the caller goes away the servicer's own clean-up runs now, not at garbage collection.
                async with aclosing(behavior((read or self.message)(request), context)) as responses:
                    async for response in responses:
                        yield response

        return handle

    def message(self, request: bytes) -> Any:
        """Raises InvalidArgument."""
        if self._decode is None:
            return request
        try:
            return self._decode(request)
        except DecodeError:
            raise InvalidArgument(
                f"the request of {len(request)} bytes is no message of {self._method}", reason="UNDECODABLE"
            ) from None

    async def decoded(self, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for request in requests:
            yield self.message(request)

    def _authenticate(self) -> None:
        if not self._tokens:
            return
        given = self._metadata.get("authorization", "").encode()
        known = [name for name, token in self._tokens.items() if hmac.compare_digest(given, f"Bearer {token}".encode())]
        if not known:
            raise Unauthenticated("a valid bearer token is required in the authorization metadata")
        _caller.set(known[0])


class _Observed:
    """One rpc from begin to end: metrics, log context, errors to status."""

    def __init__(self, call: _Call, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._call = call
        self._context = context

    async def __aenter__(self) -> None:
        self._begin = time.monotonic()
        self._correlation = self._call._metadata.get(CORRELATION_KEY) or uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(correlation_id=self._correlation, method=self._call._labels[1])
        IN_FLIGHT.labels(*self._call._labels).inc()
        caller = incoming_context(self._call._metadata)
        self._span = tracer.start_span(self._call._method.lstrip("/"), caller, kind=trace.SpanKind.SERVER)
        # Never detached: the rpc's task has a context of its own, which ends with it, and a stream that is dropped in
        # the middle of a write is closed in another one.
        attach(trace.set_span_in_context(self._span, caller))

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, stack: Any) -> None:
        if isinstance(error, QuintainError) and error.reason == BUSY:
            self._span.set_attribute("quintain.sent_on", True)  # no failure: the next replica has it
        elif isinstance(error, Exception):
            self._span.record_exception(error)
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        self._span.end()
        IN_FLIGHT.labels(*self._call._labels).dec()
        SECONDS.labels(*self._call._labels).observe(time.monotonic() - self._begin)
        typed = self._typed(error)
        HANDLED.labels(*self._call._labels, typed.code if typed else "OK").inc()
        if typed is None or isinstance(error, asyncio.CancelledError | GeneratorExit):
            return
        status = to_status(typed)
        await self._context.abort(
            getattr(grpc.StatusCode, typed.code),
            status.message,
            trailing_metadata=(
                (DETAILS_KEY, status.SerializeToString()),
                (CORRELATION_KEY, self._correlation),
                *pushback(typed.reason),
            ),
        )

    def _typed(self, error: BaseException | None) -> QuintainError | None:
        if error is None:
            return None
        if isinstance(error, QuintainError):
            say = log.debug if error.reason == BUSY else log.info  # every call that finds a busy replica gets one
            say("rpc failed", code=error.code, reason=error.reason, message=error.message)
            return error
        if isinstance(error, InvalidInput):
            return InvalidArgument.of(error.field, error.message)
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return Cancelled("the caller went away")
        log.error("rpc crashed", exc_info=error)
        return Internal(f"internal error; correlation id {self._correlation}")
