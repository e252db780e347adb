"""Starts a service: gRPC with health and reflection, /metrics, signals, graceful drain. The same for all three."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import Gauge

from quintain.service.interceptors import Boundary
from quintain.service.logs import get_logger, register_secret
from quintain.service.metrics_server import MetricsServer
from quintain.service.settings import ConfigError, ServerSettings
from quintain.service.waiting import waiting_for
from quintain.wire.endpoints import split_address
from quintain.wire.keepalive import server_keepalive
from quintain.wire.tracing import configure_tracing, flush_traces

READY = Gauge("quintain_ready", "1 while health says SERVING.", ["service"])

log = get_logger("server")

# Health's name for "the process answers"; the empty name and the services' own names mean "ready for work".
LIVENESS = "liveness"
_READINESS_SECONDS = 1.0
_CLOSE_SECONDS = 15.0  # a dead database must not keep a process that was asked to end
_STARTING_SECONDS = 0.05  # instead, until it is ready for the first time: who started it waits
_STARTS_AT_MOST_SECONDS = 30.0


class Service(Protocol):
    """One service, wired. Lives on one event loop."""

    name: str

    async def start(self) -> None: ...

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Add the servicers; return the full names of the gRPC services."""

    async def unready_reason(self) -> str:
        """Why work would fail now, for an operator; empty: it would succeed. Called every second; must be quick."""

    async def drain(self) -> None:
        """Take no new work and return when work in flight is finished or durably recorded."""

    async def close(self) -> None: ...


class RunningServer:
    """A service that is being served. `stop` drains, then closes."""

    def __init__(
        self,
        service: Service,
        settings: ServerSettings,
        server: grpc.aio.Server,
        address: str,
        metrics_address: str,
        stop_metrics: Callable[[], None],
        watch: asyncio.Task[None],
        set_health: Callable[[bool], Awaitable[None]],
    ) -> None:
        self.address = address
        self.metrics_address = metrics_address
        self._service, self._settings, self._server = service, settings, server
        self._stop_metrics, self._watch, self._set_health = stop_metrics, watch, set_health

    async def stop(self) -> None:
        self._watch.cancel()
        with suppress(asyncio.CancelledError):
            await self._watch
        await self._set_health(False)
        seconds = self._settings.drain_seconds
        with waiting_for("work in flight to end", seconds):
            try:
                await asyncio.wait_for(self._service.drain(), seconds)
            except TimeoutError:
                log.warning("drain timed out", seconds=seconds)
        await self._server.stop(grace=1.0)
        with waiting_for("stores and connections to close", _CLOSE_SECONDS):
            try:
                await asyncio.wait_for(self._service.close(), _CLOSE_SECONDS)
            except TimeoutError:
                log.warning("close timed out", seconds=_CLOSE_SECONDS)
        self._stop_metrics()


async def start_server(service: Service, settings: ServerSettings) -> RunningServer:
    """Start `service`, bind, and return when it accepts calls. Raises OSError with the address if it is taken, and
    ConfigError for a file that is named and cannot be used."""
    tokens, credentials = _tokens(settings), _credentials(settings)
    with waiting_for(f"the {service.name} to start"):
        await service.start()
    server = grpc.aio.server(interceptors=[Boundary(service.name, tokens)], options=server_options(settings))
    health_servicer = health.aio.HealthServicer()
    names = list(service.register(server))
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    host = settings.listen.rsplit(":", 1)[0]
    try:
        port = _bind(server, settings.listen, credentials)
        metrics_host, metrics_port = split_address(settings.metrics_listen)
        try:
            metrics_server = MetricsServer(metrics_host, metrics_port)
        except OSError as error:
            raise OSError(f"cannot listen on {settings.metrics_listen}: {error.strerror}") from error
    except OSError:
        await server.stop(None)
        await service.close()
        raise

    async def set_health(ready: bool) -> None:
        value = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        READY.labels(service.name).set(ready)
        for name in ("", *names):
            await health_servicer.set(name, value)

    await health_servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
    reason = await _unready_reason(service)
    await set_health(not reason)
    await server.start()
    watch = asyncio.create_task(_watch_readiness(service, set_health, reason))

    running = RunningServer(
        service,
        settings,
        server,
        f"{host}:{port}",
        f"{settings.metrics_listen.rsplit(':', 1)[0]}:{metrics_server.port}",
        metrics_server.stop,
        watch,
        set_health,
    )
    if settings.address_file is not None:
        text = json.dumps({"address": running.address, "metrics_address": running.metrics_address})
        partial = settings.address_file.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(settings.address_file)
    log.info("serving", address=running.address, metrics=running.metrics_address)
    if reason:
        _say_readiness(reason)
    return running


def run_service(service: Service, settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Blocking. While it starts, signals stay with the caller's handlers."""

    async def main() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        running = await start_server(service, settings)
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stopping.set)
        await stopping.wait()
        log.info("draining", seconds=settings.drain_seconds)
        await running.stop()
        log.info("stopped")

    configure_tracing(service.name)
    # Without asyncio.run's end, which would wait for threads that wait for a dead connection.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    flush_traces()


def _tokens(settings: ServerSettings) -> dict[str, str]:
    """By caller's name; the one of `token` and `token_file` has the name `token`."""
    token = settings.token.get_secret_value() if settings.token else None
    if settings.token_file is not None:
        token = _read("token_file", settings.token_file).decode().strip()
        if not token:
            raise ConfigError(f"server.token_file: {settings.token_file} is empty")
    tokens = {name: secret.get_secret_value() for name, secret in settings.caller_tokens.items()}
    if token is not None:
        tokens["token"] = token
    for secret in tokens.values():
        register_secret(secret)
    return tokens


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"server.{key}: {path}: {error.strerror}") from None


def server_options(settings: ServerSettings) -> list[tuple[str, int]]:
    age = int(settings.max_connection_age_seconds * 1000)
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # No grace after that age: a call may last as long as its deadline says, on the connection that it began on.
        ("grpc.max_connection_age_ms", age),
        *server_keepalive(),
    ]


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    if settings.tls is None:
        return None
    tls = settings.tls
    ca = _read("tls.client_ca_file", tls.client_ca_file) if tls.client_ca_file else None
    pair = (_read("tls.key_file", tls.key_file), _read("tls.certificate_file", tls.certificate_file))
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: the address is taken or not allowed") from error


async def _unready_reason(service: Service) -> str:
    try:
        return await service.unready_reason()
    except Exception:
        log.exception("readiness check failed")  # a plugin's, perhaps; unanswered, health would stay at what it was
        return "the readiness check failed"


async def _watch_readiness(service: Service, set_health: Callable[[bool], Awaitable[None]], known: str) -> None:
    """`known`: the reason that was said last."""
    while True:
        await asyncio.sleep(_READINESS_SECONDS)
        reason = await _unready_reason(service)
        await set_health(not reason)
        if reason != known:
            _say_readiness(reason)
            known = reason


def _say_readiness(reason: str) -> None:
    if reason:
        log.warning("not ready", reason=reason)
    else:
        log.info("ready")
