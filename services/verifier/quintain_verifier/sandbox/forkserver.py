"""The service's side of one fork server process: a thread that starts it, hears it, and starts it again when it dies.

The thread lives as long as the server is wanted: on Linux a process's death signal follows the thread that started it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quintain.plugins.simulator import POLICY_MODULES
from quintain_verifier.sandbox.faults import SandboxFault
from quintain_verifier.sandbox.inside import boot
from quintain_verifier.sandbox.inside.control import EXITED, FORK, FORKED, HELLO_BYTES, KILL, NOTICE, REQUEST

START_SECONDS = 20.0  # a fork server's start-up, imports included
STOP_SECONDS = 2.0  # from hanging up to its end
SEND_SECONDS = 2.0  # a request to it: longer means that it is stopped
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.05, 5.0  # between starts that fail


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended: `status` as from wait(2)."""

    status: int
    cpu_seconds: float
    max_rss_bytes: int


@dataclass(slots=True)
class Child:
    """One forked child as the fork server tells of it. `exited` is set at its end, or when nothing more will come
    of it; then `exit` is None. `core`: the processor that it is kept on, -1 for none."""

    run: int
    pid: int = 0
    pidfd: int = -1
    core: int = -1
    exit: Exit | None = None
    kill_wanted: bool = False
    exited: threading.Event = field(default_factory=threading.Event)


class ForkServer:
    """Thread safe. `start` once, `close` once; in between it is restarted whenever it ends."""

    def __init__(
        self, roots: Mapping[str, Sequence[str]], guest_modules: Sequence[str], *, confine: bool, hash_seed: int
    ) -> None:
        self._config = {
            "roots": {name: list(folders) for name, folders in roots.items()},
            "guest_modules": list(guest_modules),
            "policy_modules": POLICY_MODULES,
            "confine": confine,
        }
        self._hash_seed = hash_seed
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None  # set while the server is ready
        self._children: dict[int, Child] = {}
        self._next_run = 1
        self._closing = False
        self._problem = ""
        self._failed_starts = 0  # since it was ready last
        self.restarts = 0
        self._thread = threading.Thread(target=self._keep, name="fork-server", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the server and every run in it; returns when it is gone."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            if self._control is not None:
                self._control.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join(START_SECONDS + 2 * STOP_SECONDS)

    @property
    def load(self) -> int:
        """Children alive now."""
        return len(self._children)

    @property
    def ready(self) -> bool:
        return self._control is not None

    @property
    def pid(self) -> int:
        """Of the server process, 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def wait_started(self, seconds: float) -> None:
        """After `start`: raises SandboxFault (with the trouble) if its first start fails or takes longer."""
        self._wait(lambda: bool(self._control or self._failed_starts), seconds)

    def wait_ready(self, seconds: float) -> None:
        """Raises SandboxFault (with the last trouble) if no start succeeds within `seconds`."""
        self._wait(lambda: self._control is not None, seconds)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._closing, seconds)
            if self._control is None:
                raise SandboxFault(f"no fork server: {self._problem or 'not started in time'}")

    # ------------------------------------------------------------------------------------------------- one child

    def fork(self, channel: socket.socket, cpu_seconds: int, memory_bytes: int) -> Child:
        """Ask for a child that has `channel`. Raises SandboxFault if the server cannot be asked."""
        with self._lock:
            if self._control is None:
                raise SandboxFault(f"no fork server: {self._problem or 'restarting'}")
            child = Child(self._next_run)
            self._next_run = self._next_run % 0xFFFFFFFF + 1
            request = REQUEST.pack(FORK, child.run, cpu_seconds, memory_bytes)
            self._children[child.run] = child
            try:
                socket.send_fds(self._control, [request], [channel.fileno()])
            except OSError as error:
                del self._children[child.run]
                self._quarantine_locked("does not take requests")
                raise SandboxFault(f"fork server: {error}") from error
            return child

    def kill(self, child: Child) -> None:
        """SIGKILL, now or as soon as its pid is known. Harmless after its end."""
        with self._lock:
            child.kill_wanted = True
            self._kill_locked(child)

    def _kill_locked(self, child: Child) -> None:
        if child.exited.is_set() or child.pid == 0:
            return
        if child.pidfd >= 0:
            try:
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass  # a zombie: the notice is on its way
        elif self._control is not None:
            try:
                self._control.sendall(REQUEST.pack(KILL, child.run, 0, 0))
            except OSError:
                self._quarantine_locked("does not take requests")

    def quarantine(self, why: str) -> None:
        """The server is stopped, slow or wrong: end it. Its runs end with it; a new one starts."""
        with self._lock:
            self._quarantine_locked(why)

    def _quarantine_locked(self, why: str) -> None:
        self._problem = why
        self._control = None  # nobody asks it again
        if self._process is not None:
            self._process.kill()

    # ------------------------------------------------------------------------------------------ the server's thread

    def _keep(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while not self._closing:
            started = time.monotonic()
            self._serve_once()
            if time.monotonic() - started > LAST_BACKOFF_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            with self._changed:
                self._changed.wait_for(lambda: self._closing, backoff)
            backoff = min(2 * backoff, LAST_BACKOFF_SECONDS)
            self.restarts += 1

    def _serve_once(self) -> None:
        """Start a server, listen until it ends, clean up after it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            try:
                self._process = self._spawn(theirs)
                theirs.close()
                self._await_hello(ours)
                ours.settimeout(None)
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(SEND_SECONDS), 0))
                with self._changed:
                    if self._closing:
                        return
                    self._control, self._problem, self._failed_starts = ours, "", 0
                    self._changed.notify_all()
            except (OSError, SandboxFault) as error:
                with self._changed:
                    self._problem = str(error)
                    self._failed_starts += 1
                    self._changed.notify_all()
            else:
                self._listen(ours)
            finally:
                self._bury(ours)

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        config = json.dumps({**self._config, "control": theirs.fileno(), "parent": os.getpid()})
        environment = {"PYTHONHASHSEED": str(self._hash_seed), "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "1"}
        # not -I: that would ignore PYTHONHASHSEED
        command = [sys.executable, "-s", "-P", "-S", "-B", str(Path(boot.__file__).resolve()), config]
        return subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def _await_hello(self, control: socket.socket) -> None:
        deadline = time.monotonic() + START_SECONDS
        line = b""
        while not line.endswith(b"\n"):
            control.settimeout(max(0.001, deadline - time.monotonic()))
            data = control.recv(HELLO_BYTES)
            if not data or len(line) > HELLO_BYTES:
                raise SandboxFault("the fork server ended at its start (its standard error says why)")
            line += data
        problem = json.loads(line)["problem"]
        if problem:
            raise SandboxFault(problem)

    def _listen(self, control: socket.socket) -> None:
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(control, NOTICE.size, 1)
                while 0 < len(data) < NOTICE.size:
                    more = control.recv(NOTICE.size - len(data))
                    data = data + more if more else b""
            except OSError:
                return  # it ended with something unread
            if not data:
                return
            kind, run, pid, status, cpu_seconds, max_rss_bytes = NOTICE.unpack(data)
            with self._lock:
                child = self._children.get(run)
                if child is None:  # its request failed half way: the server is quarantined
                    for descriptor in descriptors:
                        os.close(descriptor)
                elif kind == FORKED:
                    child.pid, child.pidfd = pid, descriptors[0] if descriptors else -1
                    if child.kill_wanted:
                        self._kill_locked(child)
                elif kind == EXITED:
                    del self._children[run]
                    self._end_locked(child, Exit(status, cpu_seconds, max_rss_bytes))

    def _end_locked(self, child: Child, exit: Exit | None) -> None:
        child.exit = exit
        child.exited.set()
        if child.pidfd >= 0:
            os.close(child.pidfd)
            child.pidfd = -1

    def _bury(self, control: socket.socket) -> None:
        """The server ended, or must: nothing of it is left when this returns."""
        with self._lock:
            self._control = None
            for child in self._children.values():
                self._kill_locked(child)
        control.close()  # an idle server ends by itself
        process = self._process
        if process is not None:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)
        with self._lock:
            self._process = None
            children, self._children = list(self._children.values()), {}
        for child in children:
            _await_death(child.pidfd)
            _reap_orphan(child.pid)
            with self._lock:
                self._end_locked(child, None)


def _reap_orphan(pid: int) -> None:
    """A dead server's child falls to the first process of the container, which may be this one."""
    try:
        if pid:
            os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # somebody else's


def _await_death(pidfd: int) -> None:
    if pidfd >= 0:
        watch = select.poll()
        watch.register(pidfd, select.POLLIN)
        watch.poll(STOP_SECONDS * 1000)
