"""A stack of real service processes on this machine: embedded in one command, or the local stack of `quintain up`.

The services run in sessions of their own, so that Ctrl-C at a terminal reaches only the command line, which stops them
in order.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from quintain.errors import Unavailable
from quintain_cli.stack import paths
from quintain_cli.stack.service_process import ServiceProcess, StackError
from quintain_cli.stack.settings import default_settings
from quintain_cli.waiting import WaitingLine

SERVICES = ("generator", "verifier", "controller")
READY_SECONDS = 120.0  # a verifier gives its workers 60 s each time


class Stack:
    """An embedded stack: the named services on free loopback ports, for as long as one command runs.

    Use as a context manager, from the main thread (the kernel ties the services to the thread that started them).
    `addresses` of services that run elsewhere are handed to the controller. With `ready` false it is enough that the
    services answer: for a list of what there is, no worker has to be up.
    """

    def __init__(
        self,
        services: Sequence[str] = SERVICES,
        *,
        data: Path | None = None,
        addresses: Mapping[str, str] | None = None,
        controller_settings: Mapping[str, str] | None = None,
        ready: bool = True,
        start_seconds: float = 60.0,
        stop_seconds: float = 20.0,
    ) -> None:
        self._wanted = [s for s in SERVICES if s in services]
        self._data = data or paths.data_dir()
        self._controller_settings = dict(controller_settings or {})
        self._ready = ready
        self._start_seconds, self._stop_seconds = start_seconds, stop_seconds
        self._processes: list[ServiceProcess] = []
        self.addresses = dict(addresses or {})

    def start(self) -> None:
        """Start and wait until everything is healthy; on failure stop what runs and raise StackError. `start_seconds`
        is how long a service may do nothing before it listens."""
        self._data.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="quintain-")
        try:
            with WaitingLine("starting an embedded stack") as waiting:
                # The controller is told where the others listen; that they are ready it need not wait for.
                self._listen([s for s in self._wanted if s != "controller"], waiting)
                self._listen([s for s in self._wanted if s == "controller"], waiting)
                for process in self._processes:
                    process.wait_serving(READY_SECONDS, waiting.update, self._ready)
        except BaseException:
            self.stop()
            raise

    def _listen(self, services: Sequence[str], waiting: WaitingLine) -> None:
        started = []
        for service in services:
            few = {"workers": "1"} if service == "verifier" and not self._ready else {}
            settings = {
                **default_settings(service, self._data, self.addresses),
                **few,
                **(self._controller_settings if service == "controller" else {}),
                "server.listen": "127.0.0.1:0",
                "server.metrics_listen": "127.0.0.1:0",
            }
            started.append(ServiceProcess(service, Path(self._folder.name), settings))
            self._processes.append(started[-1])
        for process in started:
            self.addresses[process.service] = process.wait_listening(self._start_seconds, waiting.update).address

    def runs(self, service: str) -> bool:
        return any(process.service == service for process in self._processes)

    def check(self) -> None:
        """Raise StackError if a service has died."""
        for process in self._processes:
            process.check()

    def stop(self) -> None:
        """Stop in order, the controller first. Safe to call twice."""
        patience = self._stop_seconds if self._ready else 0.0  # what only answered has nothing in flight
        deadline = time.monotonic() + patience
        with WaitingLine(f"stopping: what is in flight may end, at most {patience:.0f} s"):
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
