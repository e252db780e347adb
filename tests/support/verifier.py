"""A verifier of one's own for a test: the real process with real workers, on a free port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import children_of, command_of, until

from quintain.clients.channel import ClientSettings
from quintain.clients.verifier import Verifier
from quintain.verifier.v1 import verifier_pb2 as pb

PLUGINS = Path(__file__).parent / "plugins"

# Policies of the tiny simulator.
PERFECT = "def decide(n):\n    return (7 * n) % 10\n"
LAST_DIGIT = "def decide(n):\n    return n % 10\n"
ENDLESS = "def decide(n):\n    while True:\n        pass\n"
RAISING = "def decide(n):\n    unused = 1\n    return n / 0\n"
BY_HASH = "def decide(n):\n    return hash('salt' + str(n)) % 10\n"
REJECTED = "def decide(n):\n    return 77\n"


@dataclass(slots=True)
class RunningVerifier:
    process: subprocess.Popen[bytes]
    address: str
    metrics_address: str
    log: Path

    def client(self, **options: object) -> Verifier:
        return Verifier(ClientSettings.model_validate({"address": self.address, "timeout_seconds": 300.0, **options}))

    def worker_pids(self) -> list[int]:
        return [pid for pid in children_of(self.process.pid) if b"workers.main" in command_of(pid)]


def verify(client: Verifier, source: str, **fields: object) -> pb.VerifyResult:
    """On the tiny simulator's suite unless `fields` say otherwise."""
    named = {"simulator": "tiny", "suite": "smoke", **fields}
    return client.verify(request(source, **named))


def request(source: str, **fields: object) -> pb.VerifyRequest:
    made = pb.VerifyRequest(**{"simulator": "tiny", **fields})  # type: ignore[arg-type]
    made.policy.source = source
    return made


@contextmanager
def running_verifier(
    folder: Path, config: str = "", environment: dict[str, str] | None = None
) -> Iterator[RunningVerifier]:
    """`config`: TOML, without the tables [server]."""
    addresses, file = folder / "addresses.json", folder / "verifier.toml"
    addresses.unlink(missing_ok=True)
    simulators = "" if "simulators = " in config else 'simulators = ["tiny"]\n'
    server = f'[server]\naddress_file = "{addresses}"\nlog_json = false\n'
    file.write_text(f"{simulators}{config}\n{server}")
    process = subprocess.Popen(
        [sys.executable, "-m", "quintain_verifier.main", "--config", str(file)],
        env={**os.environ, "PYTHONPATH": str(PLUGINS)},
        stderr=(folder / "log").open("ab"),
    )
    try:
        until(lambda: addresses.exists() or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        found = json.loads(addresses.read_text())
        yield RunningVerifier(process, found["address"], found["metrics_address"], folder / "log")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
