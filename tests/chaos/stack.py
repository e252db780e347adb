"""The stack of the crash tests with logs through a pipe, so that a full disk hits the stores and not the log files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.crash.harness import CrashStack, Service, free_port
from tests.support.processes import is_dead
from tests.support.verifier import PLUGINS

MARK = "CHAOS_FOLDER"  # in the environment of everything that a stack starts


@dataclass
class ChaosService(Service):
    """A service process that can be stopped and hurt in more ways than being killed."""

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module, "--config", str(self.config)],
            env={**os.environ, "PYTHONPATH": str(PLUGINS), MARK: str(self.folder)},
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stderr is not None
        threading.Thread(target=self._pump, args=(self.process.stderr,), daemon=True).start()

    def terminate(self, seconds: float) -> bool:
        """SIGTERM; whether it has ended by itself within `seconds` (it is killed otherwise)."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def log(self) -> str:
        path = self.folder / f"{self.config.stem}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _pump(self, stream: IO[bytes]) -> None:
        with (self.folder / f"{self.config.stem}.log").open("ab") as log:
            for line in stream:
                log.write(line)
                log.flush()


class ChaosStack(CrashStack):
    """See `CrashStack`. Stopping is orderly, so that what the services leave behind can be looked at."""

    def post_faults(self, names: list[str]) -> None:
        """The provider's next calls end in these ways."""
        self._control("faults", json.dumps(names).encode())

    def calm_provider(self) -> None:
        """No further call of the provider fails."""
        self._control("calm", b"")

    def _control(self, what: str, body: bytes) -> None:
        request = urllib.request.Request(f"{self._fault_url}/control/{what}", data=body, method="POST")
        with urllib.request.urlopen(request, timeout=10):
            pass

    def restart_ended(self) -> int:
        """Start again what has ended by itself, as a supervisor does: one that cannot open its store at the start ends
        with a reason. How many there were."""
        ended = [s for s in self.services if s.process is not None and s.process.poll() is not None]
        for service in ended:
            service.start()
        return len(ended)

    def provider_calls(self) -> list[dict[str, Any]]:
        """Every call that the provider saw, in order, with the id that it gave in its answer."""
        with urllib.request.urlopen(f"{self._fault_url}/control/stats", timeout=10) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["calls"]
            return found

    def drain(self) -> list[str]:
        """SIGTERM to every service, controllers first; names of those that did not end by themselves."""
        order = sorted(self.services, key=lambda s: not s.config.stem.startswith("controller"))
        assert all(isinstance(service, ChaosService) for service in order)
        return [s.config.stem for s in order if isinstance(s, ChaosService) and not s.terminate(60.0)]

    def logs(self) -> dict[str, str]:
        return {s.config.stem: s.log() for s in self.services if isinstance(s, ChaosService)}

    def processes(self) -> list[int]:
        """Every process that a service of this stack started, whoever its parent is now."""
        mark = f"{MARK}={self.folder}\0".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes() + b"\0" and not is_dead(int(process.name)):
                    found.append(int(process.name))
            except OSError:  # it ended while we looked
                continue
        return found

    def _service(self, name: str, module: str, settings: str) -> Service:
        port = free_port()
        config = self.folder / f"{name}.toml"
        plain, bracket, tables = settings.partition("\n[")
        server = f'[server]\nlisten = "127.0.0.1:{port}"\nlog_json = false\ndrain_seconds = 10.0\n'
        config.write_text(f"{plain}\n{server}{bracket}{tables}")
        service = ChaosService(module, config, self.folder, port)
        self.services.append(service)
        return service
