"""The jail: fork servers, and fresh locked-down children in which policies run."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from quintain_verifier.sandbox.faults import RunCancelled, SandboxFault
from quintain_verifier.sandbox.forkserver import START_SECONDS, ForkServer
from quintain_verifier.sandbox.inside.syscalls import MACHINE, TABLES
from quintain_verifier.sandbox.limits import DEFAULT_LIMITS, MAX_LIMITS, Limits
from quintain_verifier.sandbox.report import IsolationReport
from quintain_verifier.sandbox.run import JailedProgram, JailedRun
from quintain_verifier.sandbox.same_core import SameCore

__all__ = ["IsolationReport", "Jail", "JailedRun", "RunCancelled", "SandboxFault"]

RESTART_WAIT_SECONDS = 5.0  # how long a run waits for a fork server that is being restarted
OPEN_ATTEMPTS = 3  # how often a child is asked for before that is a fault


class Jail:
    """Thread safe. `start` it from the main thread before grpc is imported; `close` ends every run in it.

    Each fork server is a warm process with `guest_modules` imported; a run is a fork of the least busy one. A server
    that dies, stops or is too slow is killed and replaced. For a check of determinism use a second jail with another
    `hash_seed`: same request, other string hashes and addresses.
    """

    def __init__(
        self,
        guest_modules: Sequence[str],
        *,
        isolation: Literal["required", "insecure_dev"],
        hash_seed: int = 0,
        max_limits: Limits = MAX_LIMITS,
        fork_servers: int = 1,
        production: bool = False,
    ) -> None:
        """`insecure_dev`: plain child processes, for machines without Linux's means; with `production` ValueError."""
        if isolation not in ("required", "insecure_dev"):
            raise ValueError(f"isolation is {isolation!r}; must be 'required' or 'insecure_dev'")
        if isolation == "insecure_dev" and production:
            raise ValueError("isolation 'insecure_dev' is refused in production")
        if not 0 <= hash_seed < 1 << 32:
            raise ValueError(f"hash_seed is {hash_seed}; must be in [0, 2**32)")
        if fork_servers < 1:
            raise ValueError(f"fork_servers is {fork_servers}; must be at least 1")
        self._strict = isolation == "required"
        self._guest_modules = tuple(guest_modules)
        self._max_limits = max_limits
        roots = _package_roots(("quintain_verifier", *self._guest_modules))
        self._servers = [
            ForkServer(roots, self._guest_modules, confine=self._strict, hash_seed=hash_seed)
            for _ in range(fork_servers)
        ]
        self._report: IsolationReport | None = None
        self._turn = 0
        self._turn_lock = threading.Lock()

    def start(self) -> None:
        """Start the fork servers and look whether the required layers hold in each. Raises SandboxFault."""
        if self._strict and (sys.platform != "linux" or MACHINE not in TABLES):
            raise SandboxFault(
                f"no isolation on {sys.platform}/{MACHINE}: it needs Linux on {' or '.join(TABLES)};"
                " for development only there is isolation 'insecure_dev'"
            )
        for server in self._servers:
            server.start()
        try:
            for server in self._servers:
                server.wait_started(START_SECONDS)
                self._probe(server)
        except SandboxFault:
            self.close()
            raise

    def close(self) -> None:
        """End every run and every fork server. Returns when they are gone."""
        for server in self._servers:
            server.close()

    def report(self) -> IsolationReport:
        """The last child's report. Raises SandboxFault before `start`."""
        if self._report is None:
            raise SandboxFault("the jail is not started")
        return self._report

    def healthy(self) -> bool:
        """Whether a run could start right now: forks a child and looks at its layers and probes."""
        for server in self._by_load():
            if server.ready:
                try:
                    self._probe(server)
                except SandboxFault:
                    continue
                return True
        return False

    @property
    def server_pids(self) -> tuple[int, ...]:
        """Process ids of the fork servers; 0 for one that is being restarted."""
        return tuple(server.pid for server in self._servers)

    def open(
        self,
        source: str,
        *,
        guest_module: str = "",
        guest_source: str = "",
        limits: Limits = DEFAULT_LIMITS,
        seed: int = 0,
        core: SameCore | None = None,
    ) -> JailedRun:
        """A fresh child for one run of `source` under `guest_module` (one of the jail's) or `guest_source`. `core`:
        where it takes turns with the calling thread and other children.

        Raises InvalidInput for limits above the server's, ValueError for an unknown guest module, and SandboxFault if
        no child can be had: a dead fork server is waited for and another one tried before that.
        """
        if bool(guest_module) == bool(guest_source):
            raise ValueError("give either guest_module or guest_source")
        if guest_module and guest_module not in self._guest_modules:
            raise ValueError(f"guest module {guest_module!r} is not preloaded; there are {list(self._guest_modules)}")
        limits.validate(self._max_limits)
        program = JailedProgram(source, guest_module, guest_source, seed)
        for _ in range(OPEN_ATTEMPTS - 1):
            try:
                return self._open(self._by_load()[0], program, limits, core)
            except SandboxFault:
                pass  # its server is being replaced; the policy has not been sent
        return self._open(self._by_load()[0], program, limits, core)

    def _open(
        self, server: ForkServer, program: JailedProgram, limits: Limits, core: SameCore | None = None
    ) -> JailedRun:
        server.wait_ready(RESTART_WAIT_SECONDS)
        run = JailedRun(server, program, limits, strict=self._strict, core=core)
        self._report = run.isolation
        return run

    def _probe(self, server: ForkServer) -> None:
        self._open(server, JailedProgram("", "", "", 0), DEFAULT_LIMITS).close()

    def _by_load(self) -> list[ForkServer]:
        """The fork servers, ready ones first, the least busy first; equals take turns."""
        with self._turn_lock:
            self._turn += 1
            turn = self._turn % len(self._servers)
        rotated = self._servers[turn:] + self._servers[:turn]
        return sorted(rotated, key=lambda server: (not server.ready, server.load))

    def __enter__(self) -> Jail:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _package_roots(modules: Sequence[str]) -> dict[str, list[str]]:
    """Top-level package -> the folders that hold it, found without importing it."""
    roots = {}
    for top in {name.partition(".")[0] for name in modules}:
        spec = importlib.util.find_spec(top)
        if spec is None:
            raise ValueError(f"guest package {top!r} is not installed")
        places = list(spec.submodule_search_locations or ()) or [str(spec.origin)]
        roots[top] = [str(Path(place).resolve().parent) for place in places]
    return roots
