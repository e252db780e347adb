"""A stack of real service processes on this machine: embedded in one command, or the local stack of `quintain up`.

The services are configured by a TOML file of the user's (``<config dir>/<service>.toml``, optional) and by environment
variables that this module adds. They run in sessions of their own, so that Ctrl-C at a terminal reaches only the
command line, which stops them in order.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quintain.errors import Unavailable
from quintain_cli.stack import launch, paths

SERVICES = ("generator", "verifier", "controller")
LOG_LINES_SHOWN = 15
DRAIN_SECONDS = 10
_POLL_SECONDS = 0.05


class StackError(Unavailable):
    """A service did not start, or died; the message ends with its last log lines."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a service wrote into its address file."""

    address: str
    metrics_address: str


def service_command(service: str) -> list[str]:
    """The command that runs a service, with the user's configuration file if there is one."""
    config = paths.config_dir() / f"{service}.toml"
    command = [sys.executable, "-m", f"quintain_{service}.main"]
    return [*command, "--config", str(config)] if config.is_file() else command


def service_environment(service: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Environment that sets `settings` (``server.listen`` -> value) unless the user set them in the environment or in
    the service's configuration file."""
    config = paths.config_dir() / f"{service}.toml"
    try:
        configured = tomllib.loads(config.read_text()) if config.is_file() else {}
    except tomllib.TOMLDecodeError as error:
        raise StackError(f"{config}: not valid TOML: {error}") from None
    environment = dict(os.environ)
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        if name in (configured.get(section, {}) if section else configured):
            continue
        environment.setdefault(f"QUINTAIN_{service.upper()}__{key.upper().replace('.', '__')}", value)
    return environment


def default_settings(service: str, data: Path, addresses: Mapping[str, str]) -> dict[str, str]:
    """Settings of a service on one machine: its database under `data`, and for the controller where the others are."""
    settings = {"server.log_json": "false", "server.drain_seconds": str(DRAIN_SECONDS)}
    database = data.resolve() / f"{service}.db"
    if service == "verifier":
        settings["records.file"] = str(database)
    else:
        settings["store_url"] = f"sqlite:///{database}"
    if service == "controller":
        settings |= {"generator.address": addresses["generator"], "verifier.address": addresses["verifier"]}
    return settings


class ServiceProcess:
    """One service as a child process that cannot outlive this one."""

    def __init__(self, service: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.service = service
        self.log = folder / f"{service}.log"
        self._address_file = folder / f"{service}.json"
        settings = {**settings, "server.address_file": str(self._address_file)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, launch.__file__, str(os.getpid()), "-", *service_command(service)],
                env=service_environment(service, settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_serving(self, deadline: float) -> Endpoint:
        """Block until the service is healthy. Raises StackError if it exits or `deadline` (monotonic) passes."""
        while not self._address_file.exists():
            self.check()
            self._pause(deadline, "did not say where it listens")
        endpoint = read_endpoint(self._address_file)
        while not is_serving(endpoint.address):
            self.check()
            self._pause(deadline, "did not become healthy")
        return endpoint

    def check(self) -> None:
        """Raise StackError if the process has ended."""
        if self.process.poll() is not None:
            raise StackError(f"the {self.service} ended with exit code {self.process.returncode}{self._last_lines()}")

    def terminate(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()

    def wait_ended(self, deadline: float) -> None:
        """Wait for the end; after `deadline` kill the service and all it started."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _pause(self, deadline: float, problem: str) -> None:
        if time.monotonic() > deadline:
            raise StackError(f"the {self.service} {problem} in time{self._last_lines()}")
        time.sleep(_POLL_SECONDS)

    def _last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return ". Its last log lines:\n" + "\n".join(f"  {line}" for line in lines) if lines else " and logged nothing"


def read_endpoint(address_file: Path) -> Endpoint:
    return Endpoint(**json.loads(address_file.read_text()))


def is_serving(address: str, timeout: float = 2.0) -> bool:
    """Whether the health service at `address` says that work would succeed."""
    with grpc.insecure_channel(address) as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)  # type: ignore[attr-defined]
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


class Stack:
    """An embedded stack: the named services on free loopback ports, for as long as one command runs.

    Use as a context manager, from the main thread (the kernel ties the services to the thread that started them).
    `addresses` of services that run elsewhere are handed to the controller.
    """

    def __init__(
        self,
        services: Sequence[str] = SERVICES,
        *,
        data: Path | None = None,
        addresses: Mapping[str, str] | None = None,
        controller_settings: Mapping[str, str] | None = None,
        start_seconds: float = 60.0,
        stop_seconds: float = 20.0,
    ) -> None:
        self._wanted = [s for s in SERVICES if s in services]
        self._data = data or paths.data_dir()
        self._controller_settings = dict(controller_settings or {})
        self._start_seconds, self._stop_seconds = start_seconds, stop_seconds
        self._processes: list[ServiceProcess] = []
        self.addresses = dict(addresses or {})

    def start(self) -> None:
        """Start and wait until everything is healthy; on failure stop what runs and raise StackError."""
        self._data.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="quintain-")
        deadline = time.monotonic() + self._start_seconds
        try:
            self._start([s for s in self._wanted if s != "controller"], deadline)
            self._start([s for s in self._wanted if s == "controller"], deadline)
        except BaseException:
            self.stop()
            raise

    def _start(self, services: Sequence[str], deadline: float) -> None:
        started = []
        for service in services:
            settings = {
                **default_settings(service, self._data, self.addresses),
                **(self._controller_settings if service == "controller" else {}),
                "server.listen": "127.0.0.1:0",
                "server.metrics_listen": "127.0.0.1:0",
            }
            started.append(ServiceProcess(service, Path(self._folder.name), settings))
            self._processes.append(started[-1])
        for process in started:
            self.addresses[process.service] = process.wait_serving(deadline).address

    def runs(self, service: str) -> bool:
        return any(process.service == service for process in self._processes)

    def check(self) -> None:
        """Raise StackError if a service has died."""
        for process in self._processes:
            process.check()

    def stop(self) -> None:
        """Stop in order, the controller first. Safe to call twice."""
        deadline = time.monotonic() + self._stop_seconds
        for process in reversed(self._processes):
            process.terminate()
            process.wait_ended(deadline)
        self._processes.clear()
        self._folder.cleanup()

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Unavailable) and not isinstance(error, StackError):
                self.check()  # the rpc failed because a service died: say that, with its log
        finally:
            self.stop()
