"""Channels, deadlines and retries: what all clients share."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import grpc
from pydantic import Field

from quintain.backoff import Backoff
from quintain.errors import Aborted, DeadlineExceeded, QuintainError, ResourceExhausted, Unavailable
from quintain.wire.balancing import BUSY, SERVICE_CONFIG, client_metadata
from quintain.wire.endpoints import ClientTls, Endpoint
from quintain.wire.keepalive import client_keepalive
from quintain.wire.status import from_rpc_error, is_from_server
from quintain.wire.tracing import outgoing_metadata

__all__ = [
    "AsyncCaller",
    "ClientSettings",
    "ClientTls",
    "SyncCaller",
    "call_metadata",
    "channel_arguments",
    "retry_delay",
]

T = TypeVar("T")

log = logging.getLogger(__name__)

_BACKOFF = Backoff(first_seconds=0.1, most_seconds=5.0)
CONNECT_SECONDS = 10.0  # a server that was never reached is given up after so long, however long a call may take


class ClientSettings(Endpoint):
    """How to reach a service. A host name may have many addresses (a headless service): work is spread over all."""

    timeout_seconds: float = Field(600.0, gt=0, description="default deadline of a call, retries included")
    retries: bool = Field(
        True, description="false: errors go to the caller, who retries; only a busy replica's call goes on"
    )
    caller: str = Field("", description="name for the server's fair shares")


def channel_arguments(settings: Endpoint) -> tuple[str, list[tuple[str, Any]], grpc.ChannelCredentials | None]:
    """Target, options and credentials for `grpc.insecure_channel`/`secure_channel` and their asyncio twins."""
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        ("grpc.per_rpc_retry_buffer_size", settings.max_message_bytes),  # a request that is larger is not repeated
        ("grpc.dns_min_time_between_resolutions_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        *client_keepalive(),
    ]
    credentials = None
    if settings.tls is not None:
        tls = settings.tls
        credentials = grpc.ssl_channel_credentials(_read(tls.ca_file), _read(tls.key_file), _read(tls.certificate_file))
    is_target = "://" in settings.address or settings.address.startswith(("unix:", "ipv4:", "ipv6:"))
    return settings.address if is_target else f"dns:///{settings.address}", options, credentials


def token_metadata(settings: Endpoint) -> tuple[tuple[str, str], ...]:
    return () if settings.token is None else (("authorization", f"Bearer {settings.token.get_secret_value()}"),)


def call_metadata(settings: ClientSettings) -> tuple[tuple[str, str], ...]:
    caller = (("quintain-caller", settings.caller),) if settings.caller else ()
    return (*token_metadata(settings), *caller, *client_metadata())


class _Retries:
    """Whether and when the calls of one channel are tried again, and what is said about it. Thread safe: what several
    threads may change is one reference each."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._reached = False  # whether the server has ever answered
        self._said = ""

    def answered(self) -> None:
        self._reached = True
        self._said = ""

    def delay(self, error: grpc.RpcError, failures: int, began: float, deadline: float) -> float:
        """Seconds to wait before the next try. Raises the typed error if the call must not or cannot be tried again
        before `deadline`."""
        typed = from_rpc_error(error)
        if not isinstance(typed, Unavailable) or is_from_server(error):
            self._reached = True
        if isinstance(typed, Unavailable) and not self._reached:
            typed = Unavailable(f"cannot reach {self._settings.address}: {typed.message}", reason="CANNOT_CONNECT")
            deadline = min(deadline, began + CONNECT_SECONDS)
        busy = typed.reason == BUSY  # no failure: it is another replica's turn
        if not self._settings.retries and not busy:
            raise typed from error
        delay = retry_delay(typed, failures, deadline)
        if typed.message != self._said and not busy:
            log.warning("%s; trying again", typed.message)
            self._said = typed.message
        return delay


def retry_delay(error: QuintainError, failures: int, deadline: float) -> float:
    """Seconds to wait before the next try, after so many failures in a row; raises `error` if it must not or cannot be
    retried before `deadline`."""
    waits_help = isinstance(error, Unavailable | Aborted) or (
        isinstance(error, ResourceExhausted) and error.retry_after_seconds is not None
    )
    if not waits_help:
        raise error
    backoff = _BACKOFF.seconds(failures) * random.uniform(0.5, 1.0)
    delay: float = max(backoff, error.retry_after_seconds or 0.0)
    if time.monotonic() + delay >= deadline:
        raise error
    return delay


class SyncCaller:
    """One channel and its calls. Thread safe."""

    def __init__(self, settings: ClientSettings) -> None:
        target, options, credentials = channel_arguments(settings)
        self.channel = (
            grpc.secure_channel(target, credentials, options) if credentials else grpc.insecure_channel(target, options)
        )
        self._settings = settings
        self._metadata = call_metadata(settings)
        self._retries = _Retries(settings)

    def unary(self, method: Callable[..., T], request: Any, timeout: float | None = None) -> T:
        began = time.monotonic()
        deadline = began + (timeout or self._settings.timeout_seconds)
        for failures in itertools.count(1):
            try:
                answer = method(request, timeout=_left(deadline), metadata=(*self._metadata, *outgoing_metadata()))
                self._retries.answered()
                return answer
            except grpc.RpcError as error:
                time.sleep(self._retries.delay(error, failures, began, deadline))
        raise AssertionError("count() has no end")

    def stream(
        self, method: Callable[..., Any], request: Callable[[], Any], timeout: float | None = None
    ) -> Iterator[Any]:
        """A stream that begins again, with a new `request()`, when it breaks: only for calls that may be repeated."""
        began = time.monotonic()
        deadline = began + (timeout or self._settings.timeout_seconds)
        failures = 0  # since the last response
        while True:
            call = method(request(), timeout=_left(deadline), metadata=(*self._metadata, *outgoing_metadata()))
            try:
                for response in call:
                    self._retries.answered()
                    failures = 0
                    yield response
                return
            except grpc.RpcError as error:
                failures += 1
                delay = self._retries.delay(error, failures, began, deadline)
            finally:
                call.cancel()
            time.sleep(delay)

    def close(self) -> None:
        self.channel.close()


class AsyncCaller:
    """The asyncio twin of `SyncCaller`. Belongs to one event loop."""

    def __init__(self, settings: ClientSettings) -> None:
        target, options, credentials = channel_arguments(settings)
        self.channel = (
            grpc.aio.secure_channel(target, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(target, options)
        )
        self._settings = settings
        self._metadata = call_metadata(settings)
        self._retries = _Retries(settings)

    async def unary(self, method: Callable[..., Any], request: Any, timeout: float | None = None) -> Any:
        began = time.monotonic()
        deadline = began + (timeout or self._settings.timeout_seconds)
        for failures in itertools.count(1):
            try:
                answer = await method(
                    request, timeout=_left(deadline), metadata=(*self._metadata, *outgoing_metadata())
                )
                self._retries.answered()
                return answer
            except grpc.RpcError as error:
                await asyncio.sleep(self._retries.delay(error, failures, began, deadline))
        raise AssertionError("count() has no end")

    async def stream(
        self, method: Callable[..., Any], request: Callable[[], Any], timeout: float | None = None
    ) -> AsyncIterator[Any]:
        began = time.monotonic()
        deadline = began + (timeout or self._settings.timeout_seconds)
        failures = 0  # since the last response
        while True:
            call = method(request(), timeout=_left(deadline), metadata=(*self._metadata, *outgoing_metadata()))
            try:
                async for response in call:
                    self._retries.answered()
                    failures = 0
                    yield response
                return
            except grpc.RpcError as error:
                failures += 1
                delay = self._retries.delay(error, failures, began, deadline)
            finally:
                with suppress(Exception):
                    call.cancel()
            await asyncio.sleep(delay)

    async def close(self) -> None:
        await self.channel.close()


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path else None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("the call's deadline passed before it could be tried again")
    return left
