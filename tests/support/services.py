"""Real service processes on a loopback address of one's own, to be killed and started again at the same place."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from quintain_cli.stack.service_process import ServiceAddress, ServiceProcess
from quintain_cli.stack.settings import default_settings

START_SECONDS = 90.0
_POLL_SECONDS = 0.1
PORTS = {"controller": 7070, "verifier": 7071, "generator": 7072}
METRICS_OFFSET = 2000


def own_loopback_host() -> str:
    """An address in 127.0.0.0/8 that nobody else uses, so that fixed ports on it are free, also after a restart."""
    return f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"


def eventually(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Poll until `condition` holds. Fails with `what`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(_POLL_SECONDS)


class Services:
    """The three services with data in `folder`. Use as a context manager, from the main thread."""

    def __init__(self, folder: Path, **settings: Mapping[str, str]) -> None:
        """`settings`: for each service what differs from the local stack's, ``server.listen`` -> value."""
        self.folder = folder
        self.host = own_loopback_host()
        self.addresses = {service: f"{self.host}:{port}" for service, port in PORTS.items()}
        self.metrics = {service: f"{self.host}:{port + METRICS_OFFSET}" for service, port in PORTS.items()}
        self._settings = settings
        self.running: dict[str, ServiceProcess] = {}

    def launch(self, service: str) -> ServiceProcess:
        """Start a service without waiting for it."""
        folder = self.folder / service
        folder.mkdir(exist_ok=True)
        (folder / f"{service}.json").unlink(missing_ok=True)
        settings = {
            **default_settings(service, self.folder, self.addresses),
            "server.listen": self.addresses[service],
            "server.metrics_listen": self.metrics[service],
            **self._settings.get(service, {}),
        }
        self.running[service] = ServiceProcess(service, folder, settings)
        return self.running[service]

    def start(self, *services: str) -> dict[str, ServiceAddress]:
        """Start services and wait until they are healthy."""
        started = {service: self.launch(service) for service in services or PORTS}
        for process in started.values():
            process.wait_listening(START_SECONDS)
        return {service: process.wait_serving(START_SECONDS) for service, process in started.items()}

    def kill(self, service: str) -> None:
        """SIGKILL to a service and all that it started."""
        process = self.running.pop(service).process
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        deadline = time.monotonic() + 20.0
        for service in ("controller", "generator", "verifier"):
            if service in self.running:
                self.running[service].terminate()
                self.running.pop(service).wait_ended(deadline)

    def __enter__(self) -> Services:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
