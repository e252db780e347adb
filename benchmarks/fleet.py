"""Verifier replicas behind a name, as behind a headless service: real processes and a tiny DNS server."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import struct
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from types import TracebackType

from quintain_cli.stack.service_process import ServiceProcess

PORT, METRICS_PORT = 7071, 9071
NAME = "verifier"
_START_SECONDS = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


class NameServer:
    """Answers every question for an A record with `addresses`, on UDP, until `close`."""

    def __init__(self, host: str) -> None:
        self.addresses: tuple[str, ...] = ()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self.address = f"{host}:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                query, client = self._socket.recvfrom(1500)
                self._socket.sendto(self._answer(query), client)
            except OSError:  # closed
                return

    def _answer(self, query: bytes) -> bytes:
        end = query.index(0, 12) + 5  # the question: labels, a zero, type, class
        (kind,) = struct.unpack_from(">H", query, end - 4)
        found = self.addresses if kind == 1 else ()
        header = query[:2] + struct.pack(">5H", 0x8580, 1, len(found), 0, 0)
        records = (struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address) for address in found)
        return header + query[12:end] + b"".join(records)


class Replica:
    """One verifier process with one worker, on a loopback address of its own. Made without waiting for it."""

    def __init__(self, host: str, folder: Path) -> None:
        self.host = host
        self.address = f"{host}:{PORT}"
        folder.mkdir()
        settings = {
            "server.listen": self.address,
            "server.metrics_listen": f"{host}:{METRICS_PORT}",
            "server.log_level": "WARNING",
            "server.drain_seconds": "60",
            "workers": "1",
            "records.file": str(folder / "verifier.db"),
        }
        self._process = ServiceProcess("verifier", folder, settings)
        self.pid = self._process.process.pid

    def wait_serving(self) -> None:
        self._process.wait_listening(_START_SECONDS)
        self._process.wait_serving(_START_SECONDS)

    def runs(self) -> int:
        """How many answers came from a run of its own, by its own metrics."""
        return int(self.gauge('quintain_verifier_answers_total{source="run"}'))

    def gauge(self, name: str) -> float:
        """What its metrics say of `name` (with its labels); 0 if they say nothing."""
        with urllib.request.urlopen(f"http://{self.host}:{METRICS_PORT}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def kill(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)
        self._process.process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait until it has drained."""
        self._process.terminate()
        self._process.wait_ended(time.monotonic() + _START_SECONDS)


class Fleet:
    """Replicas and their name. Use as a context manager, from the main thread."""

    def __init__(self) -> None:
        self._net = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}"
        self._names = NameServer(f"{self._net}.1")
        self._made = 1
        self._folder = tempfile.TemporaryDirectory(prefix="quintain-load-")
        self.replicas: list[Replica] = []
        self.target = f"dns://{self._names.address}/{NAME}:{PORT}"

    def launch(self) -> Replica:
        """A replica that is started and not known by name yet."""
        self._made += 1
        replica = Replica(f"{self._net}.{self._made}", Path(self._folder.name) / str(self._made))
        self.replicas.append(replica)
        return replica

    def publish(self, *replicas: Replica) -> None:
        """The name now means exactly these."""
        self._names.addresses = tuple(replica.host for replica in replicas)

    def start(self, count: int) -> None:
        """Launch `count` replicas, wait for them and publish them."""
        for _ in range(count):
            self.launch()
        for replica in self.replicas:
            replica.wait_serving()
        self.publish(*self.replicas)

    def kill(self, replica: Replica) -> None:
        replica.kill()
        self.replicas.remove(replica)
        self.publish(*self.replicas)

    def retire(self, replica: Replica) -> None:
        """Take it out of the name, then drain it: what a rolling update does."""
        self.replicas.remove(replica)
        self.publish(*self.replicas)
        replica.stop()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for replica in self.replicas:
            replica.stop()
        self._names.close()
        self._folder.cleanup()


def processes_of(pid: int) -> list[int]:
    """A process and its living descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [each for child in task.read_text().split() for each in processes_of(int(child))]
        except OSError:
            continue  # it has ended
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its descendants, those that have ended and were waited for included."""
    total = 0
    for each in processes_of(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return total / _TICKS


def memory_bytes(pid: int) -> int:
    """Memory of a process and its descendants, shared pages counted once (PSS)."""
    total = 0
    for each in processes_of(pid):
        try:
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{each}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += int(found[1]) * 1024 if found else 0
    return total
