"""The fork server: holds a warm interpreter with the guest modules and forks a locked-down child for every run.

It never sees a policy: the child reads that from its own channel after it has locked itself down. One thread. Ends when
the service's end of the control socket closes, or with the thread that started it.
"""

import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from quintain_verifier.sandbox.inside import lockdown
from quintain_verifier.sandbox.inside.control import (
    CHANNEL_FD,
    EXITED,
    FORK,
    FORKED,
    HELLO_BYTES,
    KILL,
    MAX_DESCRIPTORS,
    NOTICE,
    REQUEST,
)
from quintain_verifier.sandbox.inside.determinism import make_deterministic
from quintain_verifier.sandbox.inside.session import Channel, Session
from quintain_verifier.sandbox.inside.syscalls import MACHINE


class NothingMore:
    """Meta path finder behind all others: says what there is to an import that found nothing."""

    def __init__(self, policy_modules: Sequence[str]) -> None:
        self._there = ", ".join(name for name in policy_modules if not name.startswith("_"))

    def find_spec(self, name: str, path: object = None, target: object = None) -> NoReturn:
        raise ModuleNotFoundError(
            f"No module named {name!r} here. A policy may import of the standard library: {self._there}", name=name
        )


class ForkServer:
    def __init__(self, control: socket.socket, *, confine: bool, preferred_in_oom: bool) -> None:
        self._control = control
        self._confine = confine
        self._preferred_in_oom = preferred_in_oom
        self._landlock_abi = lockdown.landlock_abi() if confine else 0
        self._runs: dict[int, int] = {}  # pid -> run
        self._pid = os.getpid()
        self._has_pidfd = _has_pidfd()

    def serve(self) -> NoReturn:
        wake, ring = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(ring, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # without a handler nothing is written to the pipe
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        try:
            while True:
                ready, _, _ = select.select([self._control.fileno(), wake], [], [])
                if wake in ready:
                    os.read(wake, 4096)
                    self._reap()
                if self._control.fileno() in ready:
                    self._serve_one()
        except ConnectionError:  # the service is gone
            self._leave()

    def _leave(self) -> NoReturn:
        for pid in self._runs:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)

    def _serve_one(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._control, REQUEST.size, 1)
        while 0 < len(data) < REQUEST.size:
            more = self._control.recv(REQUEST.size - len(data))
            data = data + more if more else b""
        if not data:
            self._leave()
        kind, run, cpu_seconds, memory_bytes = REQUEST.unpack(data)
        if kind == FORK:
            self._fork(run, descriptors[0], cpu_seconds, memory_bytes)
        elif kind == KILL:
            for pid in [pid for pid, of in self._runs.items() if of == run]:
                os.kill(pid, signal.SIGKILL)  # not reaped yet, so the pid is still this child's

    def _fork(self, run: int, channel: int, cpu_seconds: int, memory_bytes: int) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                self._child(channel, cpu_seconds, memory_bytes)
            finally:
                os._exit(1)
        os.close(channel)
        self._runs[pid] = run
        notice = NOTICE.pack(FORKED, run, pid, 0, 0.0, 0)
        if not self._has_pidfd:
            self._control.sendall(notice)
            return
        handle = os.pidfd_open(pid)
        socket.send_fds(self._control, [notice], [handle])
        os.close(handle)

    def _reap(self) -> None:
        while self._runs:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            run = self._runs.pop(pid)
            cpu_seconds = usage.ru_utime + usage.ru_stime
            rss = usage.ru_maxrss * (1024 if lockdown.LINUX else 1)
            self._control.sendall(NOTICE.pack(EXITED, run, pid, status, cpu_seconds, rss))

    def _child(self, channel: int, cpu_seconds: int, memory_bytes: int) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        active, errors = lockdown.lock_down(
            channel, cpu_seconds, memory_bytes, confine=self._confine, abi=self._landlock_abi
        )
        active["preferred_in_oom"] = self._preferred_in_oom
        probes = lockdown.probe(self._pid) if self._confine else {}
        report = {
            "layers": active,
            "errors": errors,
            "probes": probes,
            "landlock_abi": self._landlock_abi if active.get("landlock") else 0,
            "machine": MACHINE,
        }
        conversation = Channel()
        conversation.send("ready", report)
        closed = all(active.get(name) for name in lockdown.REQUIRED) and "POSSIBLE" not in probes.values()
        if closed or not self._confine:
            Session(conversation).serve()


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _prefer_in_oom() -> bool:
    try:
        lockdown.prefer_in_oom()
    except OSError:
        return False
    return True


def _harden(parent: int) -> None:
    lockdown.die_with_parent()
    lockdown.forbid_dumps()
    if os.getppid() != parent:
        os._exit(0)  # it died before the death signal was asked for


def _import(names: Sequence[str]) -> str:
    """-> "" or what went wrong, for the service to say."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a process boundary: the service raises it
            return f"cannot import {name}: {type(error).__name__}: {error}"
    return ""


def _lowered(inherited: int) -> int:
    """The same socket as CHANNEL_FD, where every child puts its channel: the descriptors of a busy service have numbers
    above what a child closes."""
    if inherited != CHANNEL_FD:
        os.dup2(inherited, CHANNEL_FD, inheritable=False)
        os.close(inherited)
    return CHANNEL_FD


def main(config: dict[str, Any]) -> None:
    os.environ.clear()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the service's to handle
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_DESCRIPTORS, MAX_DESCRIPTORS))
    control = socket.socket(fileno=_lowered(config["control"]))
    preferred_in_oom = config["confine"] and _prefer_in_oom()  # before _harden: see there
    if config["confine"]:
        _harden(config["parent"])
    problem = _import((*config["policy_modules"], *config["guest_modules"]))
    control.sendall(json.dumps({"problem": problem[: HELLO_BYTES // 8]}).encode() + b"\n")
    if problem:
        sys.exit(1)
    sys.meta_path.append(NothingMore(config["policy_modules"]))
    make_deterministic()
    gc.collect()
    gc.freeze()  # children share these pages for ever
    gc.set_threshold(100_000, 20, 20)  # by default a fifth of a run's time goes into looking for cycles
    ForkServer(control, confine=config["confine"], preferred_in_oom=preferred_in_oom).serve()
