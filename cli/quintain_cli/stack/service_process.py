"""One service of ours as a child process, from its start until it is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quintain.errors import Unavailable
from quintain_cli.stack import launch, settings, state

if TYPE_CHECKING:
    import grpc

LOG_LINES_SHOWN = 15
LIVENESS = "liveness"  # health's name for "the process answers"; the empty name means "ready for work"
_POLL_SECONDS = 0.02
_HEALTH_SECONDS = 2.0
_LEAST_TICKS = 5  # in clock ticks; a process that waits for something wakes up now and then


class StackError(Unavailable):
    """A service did not start, or died; the message ends with its last log lines."""


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """What a service wrote into its address file."""

    address: str
    metrics_address: str


def _unsaid(_text: str) -> None:
    pass


class ServiceProcess:
    """One service as a child process that cannot outlive this one."""

    def __init__(self, service: str, folder: Path, given: Mapping[str, str]) -> None:
        self.service = service
        self.log = folder / f"{service}.log"
        self._address_file = folder / f"{service}.json"
        environment = settings.service_environment(service, {**given, "server.address_file": str(self._address_file)})
        command = settings.service_command(service)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "-", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_listening(self, patience: float, say: Callable[[str], None] = _unsaid) -> ServiceAddress:
        """Block until the service listens. Raises StackError if it exits, or has used no processor for `patience`
        seconds: a start on a busy machine takes long, but goes on. `say` is told what is waited for."""
        moved, ticks = time.monotonic(), 0
        while not self._address_file.exists():
            now = state.processor_ticks(self.process.pid) or 0
            if now > ticks + _LEAST_TICKS:
                moved, ticks = time.monotonic(), now
            say(f"waiting for the {self.service} to start{self._last_word()}")
            self._pause(moved + patience, "did not say where it listens")
        return read_endpoint(self._address_file)

    def wait_serving(self, seconds: float, say: Callable[[str], None] = _unsaid, ready: bool = True) -> ServiceAddress:
        """Block until the service, which listens, is ready for work, or with `ready` false until it answers. Raises
        StackError if it exits or `seconds` pass."""
        import grpc  # here, so that a service can be started before this process has loaded it

        deadline = time.monotonic() + seconds
        endpoint = read_endpoint(self._address_file)
        with grpc.insecure_channel(endpoint.address) as channel:
            while not _health(channel, "" if ready else LIVENESS):
                say(f"waiting for the {self.service} to get ready{self._last_word()}")
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
        self.check()
        if time.monotonic() > deadline:
            raise StackError(f"the {self.service} {problem} in time{self._last_lines()}")
        time.sleep(_POLL_SECONDS)

    def _log_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()

    def _last_word(self) -> str:
        lines = self._log_lines()
        return f", which says: {lines[-1][:200]}" if lines else ""

    def _last_lines(self) -> str:
        lines = self._log_lines()[-LOG_LINES_SHOWN:]
        if any("ModuleNotFoundError" in line for line in lines):
            return f": it is not installed whole (pip install --force-reinstall quintain). {lines[-1]}"
        return ". Its last log lines:\n" + "\n".join(f"  {line}" for line in lines) if lines else " and logged nothing"


def read_endpoint(address_file: Path) -> ServiceAddress:
    return ServiceAddress(**json.loads(address_file.read_text()))


def is_serving(address: str) -> bool:
    """Whether the health service at `address` says that work would succeed."""
    return bool(health(address))


def health(address: str) -> bool | None:
    """What the health service at `address` says; None if it does not answer."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        return _health(channel, "")


def _health(channel: grpc.Channel, service: str) -> bool | None:
    """For a name of its own health service: the empty one means "ready for work"."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    try:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        answer = stub.Check(request, timeout=_HEALTH_SECONDS)  # type: ignore[attr-defined]
    except grpc.RpcError:
        return None
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
