"""Real processes that can be killed at any moment and started again on the same ports."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.generator import KEY, MODEL, PRICES, backend_settings
from tests.support.verifier import PLUGINS

from quintain.clients.controller import AsyncController
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import QuintainError

POLICIES = (
    "def decide(n):\n    return n % 10\n",
    "def decide(n):\n    return (3 * n) % 10\n",
    "def decide(n):\n    return (7 * n) % 10 if n % 4 else 0\n",
    "def decide(n):\n    return (7 * n) % 10 if n % 3 else 1\n",
    "def decide(n):\n    return n / 0\n",
)
START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """A service process. It listens where it always did, however often it is killed."""

    module: str
    config: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module, "--config", str(self.config)],
            env={**os.environ, "PYTHONPATH": str(PLUGINS)},
            stderr=(self.folder / f"{self.config.stem}.log").open("ab"),
            start_new_session=True,
        )

    def kill(self) -> None:
        """kill -9, of everything that it started too."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has ended by itself; its log says why
            self.process.wait()


@dataclass
class CrashStack:
    """Fault server, generator, verifier and as many controllers as wanted."""

    folder: Path
    store_url: str
    controllers: int
    wire: str = "compatible-whole"
    faults: tuple[str, ...] = ()  # of the provider's first calls
    generator_url: str = ""  # of its database; empty: SQLite
    services: list[Service] = field(default_factory=list)
    _fault_server: subprocess.Popen[bytes] | None = None
    _fault_url: str = ""

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._start_fault_server()
        verifier = self._service("verifier", "quintain_verifier.main", 'simulators = ["tiny"]\nworkers = 1\n')
        generator = self._service("generator", "quintain_generator.main", self._generator_config())
        wanted = (
            f'store_url = "{self.store_url}"\n'
            "[runner]\nlease_seconds = 2.0\npoll_seconds = 0.1\nfirst_retry_seconds = 0.05\nmax_retry_seconds = 0.5\n"
            f'[generator]\naddress = "{generator.address}"\n[verifier]\naddress = "{verifier.address}"\n'
        )
        for index in range(self.controllers):
            self._service(f"controller{index}", "quintain_controller.main", wanted)
        for service in self.services:
            service.start()

    def clients(self) -> list[AsyncController]:
        return [AsyncController(s.address) for s in self.services if s.config.stem.startswith("controller")]

    def received_calls(self) -> int:
        return self._count("received")

    def completed_calls(self) -> int:
        """Answers that the provider charges for, by its own count."""
        return self._count("completed")

    def provider_calls(self) -> list[dict[str, Any]]:
        """The provider's own list of the calls that it answered whole, and charges for."""
        with urllib.request.urlopen(f"{self._fault_url}/control/stats", timeout=10) as answer:
            return [call for call in json.loads(answer.read())["calls"] if call["completed"]]

    def stop(self) -> None:
        for service in self.services:
            service.kill()
        if self._fault_server is not None:
            self._fault_server.kill()
            self._fault_server.wait()

    def _count(self, what: str) -> int:
        with urllib.request.urlopen(f"{self._fault_url}/control/stats", timeout=10) as answer:
            return int(json.loads(answer.read())[what])

    def _service(self, name: str, module: str, settings: str) -> Service:
        port = free_port()
        config = self.folder / f"{name}.toml"
        plain, bracket, tables = settings.partition("\n[")
        server = f'[server]\nlisten = "127.0.0.1:{port}"\nlog_json = false\n'
        config.write_text(f"{plain}\n{server}{bracket}{tables}")
        service = Service(module, config, self.folder, port)
        self.services.append(service)
        return service

    def _start_fault_server(self) -> None:
        command = [sys.executable, "-m", "tests.fault_server", "--port", "0", "--delay-seconds", "0.05"]
        command += ["--batch-looks", "3", *(f"--fault={fault}" for fault in self.faults)]
        for index, policy in enumerate(POLICIES):
            path = self.folder / f"policy{index}.py"
            path.write_text(policy)
            command += ["--policy-source", str(path)]
        self._fault_server = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._fault_server.stdout is not None
        self._fault_url = self._fault_server.stdout.readline().decode().strip()

    def _generator_config(self) -> str:
        key, prices = self.folder / "key", self.folder / "prices.toml"
        key.write_text(KEY)
        prices.write_text(PRICES)
        backend = backend_settings(self.wire, self._fault_url, key, MODEL)
        options = backend.pop("options")
        store_url = self.generator_url or f"sqlite:///{self.folder}/generator.db"
        lines = [f"{name} = {json.dumps(value)}" for name, value in backend.items()]
        lines += ["[backends.llm.options]", *(f"{name} = {json.dumps(value)}" for name, value in options.items())]
        return f'store_url = "{store_url}"\nprice_file = "{prices}"\n[backends.llm]\n' + "\n".join(lines) + "\n"


async def patiently(call: Any) -> Any:
    """The services are being killed: try until it works."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return await call()
        except QuintainError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


async def ended(stack: CrashStack, search_id: str) -> pb.Search:
    """The search, when it is neither running nor paused any more; whichever controller answers."""
    while True:
        for client in stack.clients():
            try:
                found = (await client.get_search(pb.GetSearchRequest(search_id=search_id), timeout=2.0)).search
            except QuintainError:
                continue
            finally:
                await client.close()
            if found.state not in (pb.SEARCH_STATE_RUNNING, pb.SEARCH_STATE_PAUSED):
                return found
        await asyncio.sleep(0.02)


async def search(
    stack: CrashStack, candidates: int, kills: int, seed: int, calls: float = 1.0, **fields: Any
) -> tuple[pb.Search, list[pb.CandidateSummary]]:
    """Run one search to its end while `kills` services are killed at random moments of its progress, which the provider
    sees too: it can be asked while a controller is away. `calls`: about how many each candidate takes; `fields` are of
    the search's spec."""
    chance = random.Random(seed)
    one = stack.clients()[0]
    spec = pb.SearchSpec(
        simulator="tiny", suite="smoke", backends=["llm"], seed=11, budget=pb.Budget(candidates=candidates), **fields
    )
    request = pb.CreateSearchRequest(request_id="crash", spec=spec)
    search_id = (await patiently(lambda: one.create_search(request, timeout=10.0))).search.search_id
    moments = sorted(chance.uniform(0, 0.75 * calls * candidates) for _ in range(kills))
    counted: Counter[str] = Counter()
    for moment in moments:
        while stack.received_calls() < moment:
            await asyncio.sleep(0.01)
        victim = chance.choice(stack.services)
        counted[victim.config.stem] += 1
        await asyncio.sleep(chance.uniform(0.0, 0.2))  # somewhere between two steps, not at one
        victim.kill()
        victim.start()
    found = await ended(stack, search_id)
    summaries = await patiently(
        lambda: one.list_candidates(pb.ListCandidatesRequest(search_id=search_id, page_size=500))
    )
    events = [event.sequence async for event in one.watch_search(search_id, timeout=60.0)]
    assert events == list(range(1, found.last_sequence + 1))
    await one.close()
    print("killed:", dict(counted))
    return found, list(summaries.candidates)
