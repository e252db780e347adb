"""Channels, deadlines and retries: what all clients share."""

from __future__ import annotations

import asyncio
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
SIMULATOR_SECONDS = 20.0  # and so is a simulator that the server does not reach: enough for one that is restarted
_SIMULATOR_BACK_SECONDS = 60.0  # not missed for so long, it has been back
_TOO_SHORT_SECONDS = 1.0  # a try that was given less, at the end of a call's time, says nothing of the server


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
    """What is known of one channel's server, and said about it. Thread safe: what several threads may change is one
    reference each."""

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self.reached = False  # whether the server has ever answered
        self._said = ""

    def answered(self) -> None:
        self.reached = True
        self._said = ""

    def say(self, text: str) -> None:
        if text != self._said:
            log.warning("%s", text)
            self._said = text


class _Call:
    """Whether and when one call is tried again."""

    def __init__(self, retries: _Retries, timeout: float | None) -> None:
        self._retries = retries
        self._began = time.monotonic()
        self._deadline = self._began + (timeout or retries.settings.timeout_seconds)
        self._failures = 0  # since the last answer
        self._waited_out: QuintainError | None = None  # what the last failure was that it waited for to pass
        self._given = 0.0  # seconds that the last try was given
        self._simulator_gone: tuple[float, float] | None = None  # since when, and when that was said last

    def left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._waited_out or DeadlineExceeded("the call's deadline passed before it could be tried again")
        self._given = left
        return left

    def answered(self) -> None:
        self._retries.answered()
        self._failures, self._waited_out = 0, None

    def delay(self, error: grpc.RpcError) -> float:
        """Seconds to wait before the next try. Raises the typed error if the call must not or cannot be tried again
        in time."""
        settings = self._retries.settings
        self._failures += 1
        typed = from_rpc_error(error)
        if not isinstance(typed, Unavailable) or is_from_server(error):
            self._retries.reached = True
        if isinstance(typed, DeadlineExceeded) and self._waited_out is not None and self._given < _TOO_SHORT_SECONDS:
            raise self._waited_out from error  # it says more than that the rest of the time was no use
        deadline = self._deadline
        if isinstance(typed, Unavailable) and not self._retries.reached:
            typed = Unavailable(f"cannot reach {settings.address}: {typed.message}", reason="CANNOT_CONNECT")
            deadline = min(deadline, self._began + CONNECT_SECONDS)
        busy = typed.reason == BUSY  # no failure: it is another replica's turn
        if not settings.retries and not busy:
            raise typed from error
        until = ""
        if typed.reason == "SIMULATOR_FAULT":
            gone = self._gone_since()
            deadline = min(deadline, gone + SIMULATOR_SECONDS)
            until = f" for {SIMULATOR_SECONDS:.0f} s"
        delay = retry_delay(typed, self._failures, deadline)
        if not busy:
            self._waited_out = typed
            self._retries.say(f"{typed.message}; trying again{until}")
        return delay

    def _gone_since(self) -> float:
        """When the simulator was first missed. What came before it must have been back: it was not missed for long."""
        now = time.monotonic()
        since, last = self._simulator_gone or (now, now)
        since = now if now - last > _SIMULATOR_BACK_SECONDS else since
        self._simulator_gone = since, now
        return since


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
        self._metadata = call_metadata(settings)
        self._retries = _Retries(settings)

    def unary(self, method: Callable[..., T], request: Any, timeout: float | None = None) -> T:
        attempts = _Call(self._retries, timeout)
        while True:
            try:
                answer = method(request, timeout=attempts.left(), metadata=(*self._metadata, *outgoing_metadata()))
                attempts.answered()
                return answer
            except grpc.RpcError as error:
                time.sleep(attempts.delay(error))

    def stream(
        self, method: Callable[..., Any], request: Callable[[], Any], timeout: float | None = None
    ) -> Iterator[Any]:
        """A stream that begins again, with a new `request()`, when it breaks: only for calls that may be repeated."""
        attempts = _Call(self._retries, timeout)
        while True:
            call = method(request(), timeout=attempts.left(), metadata=(*self._metadata, *outgoing_metadata()))
            try:
                for response in call:
                    attempts.answered()
                    yield response
                return
            except grpc.RpcError as error:
                delay = attempts.delay(error)
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
        self._metadata = call_metadata(settings)
        self._retries = _Retries(settings)

    async def unary(self, method: Callable[..., Any], request: Any, timeout: float | None = None) -> Any:
        attempts = _Call(self._retries, timeout)
        while True:
            try:
                answer = await method(
                    request, timeout=attempts.left(), metadata=(*self._metadata, *outgoing_metadata())
                )
                attempts.answered()
                return answer
            except grpc.RpcError as error:
                await asyncio.sleep(attempts.delay(error))

    async def stream(
        self, method: Callable[..., Any], request: Callable[[], Any], timeout: float | None = None
    ) -> AsyncIterator[Any]:
        attempts = _Call(self._retries, timeout)
        while True:
            call = method(request(), timeout=attempts.left(), metadata=(*self._metadata, *outgoing_metadata()))
            try:
                async for response in call:
                    attempts.answered()
                    yield response
                return
            except grpc.RpcError as error:
                delay = attempts.delay(error)
            finally:
                with suppress(Exception):
                    call.cancel()
            await asyncio.sleep(delay)

    async def close(self) -> None:
        await self.channel.close()


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path else None
