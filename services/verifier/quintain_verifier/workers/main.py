"""A worker process: `python -m quintain_verifier.workers.main FD`, a socket to the service at descriptor FD.

It ends when the socket does. A simulator is loaded when the first job names it, and gRPC only for a remote one: most
workers ever run one simulator, and a service is ready as soon as its workers are.
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from quintain.plugins.simulator import InvalidInput, ModelFault, Simulator, SimulatorFault, SimulatorUnavailable
from quintain_verifier.adapters.registry import load_simulator
from quintain_verifier.domain.jobs import Failed, ReferenceJob, Referred, RunJob
from quintain_verifier.sandbox.faults import RunCancelled, SandboxFault
from quintain_verifier.workers.messages import (
    HEADER,
    MAX_FRAME_BYTES,
    Cancel,
    FrameTooLarge,
    Ready,
    Reply,
    Request,
    WorkerSettings,
    frame,
    request_decoder,
)
from quintain_verifier.workers.runner import HASH_SEED, BuildChanged, EngineRunner, Jails

# How long a run may take to notice that nobody is left to answer.
ABANDON_SECONDS = 5.0

log = logging.getLogger(__name__)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # those are for the service, which drains
        signal.signal(number, signal.SIG_IGN)
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    settings = _receive(connection)
    if settings is None:  # the service gave up before it began
        return
    if not isinstance(settings, WorkerSettings):
        raise SystemExit("the first message to a worker must be its settings")
    jails = Jails(settings.guest_modules, insecure_dev=settings.insecure_dev)
    try:
        connection.sendall(frame(_ready(jails)))
        gc.set_threshold(100_000, 20, 20)  # by default a tenth of a run's time goes into looking for cycles
        _serve(connection, _loader(settings.remote_simulators), jails, settings.program_seconds)
    except ConnectionError:  # the service is gone: nobody wants what this was about to say
        return
    finally:
        jails.close()


def _loader(remote: Mapping[str, Mapping[str, Any]]) -> Callable[[str], Simulator]:
    """Loads a simulator once."""

    @functools.cache
    def load(name: str) -> Simulator:
        simulator = load_simulator(name, remote.get(name))
        gc.collect()
        gc.freeze()  # what is loaded stays
        return simulator

    return load


def _ready(jails: Jails) -> Ready:
    try:
        return Ready(jails.get(HASH_SEED).report())
    except SandboxFault as fault:
        return Ready(None, str(fault))


def _serve(connection: socket.socket, load: Callable[[str], Simulator], jails: Jails, program_seconds: float) -> None:
    jobs: queue.SimpleQueue[ReferenceJob | RunJob | None] = queue.SimpleQueue()
    runner = EngineRunner(load, jails, program_seconds)
    running = _Running(runner)
    threading.Thread(target=_listen, args=(connection, jobs, running), name="listen", daemon=True).start()
    while (job := jobs.get()) is not None:
        running.begin(job.job)
        reply = _answer(runner, job)
        running.end()
        try:
            encoded = frame(reply)
        except FrameTooLarge as error:
            encoded = frame(Failed(job.job, "simulator", f"the outcome is too large: {error}"))
        connection.sendall(encoded)


class _Running:
    """Which job is running: a cancellation must not hit the one after."""

    def __init__(self, runner: EngineRunner) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._job: int | None = None
        self._unwanted: set[int] = set()

    def begin(self, job: int) -> None:
        with self._lock:
            self._job = job
            self._runner.begin(cancelled=job in self._unwanted)
            self._unwanted.clear()

    def end(self) -> None:
        with self._lock:
            self._job = None

    def cancel(self, job: int | None) -> None:
        """None: whatever is running."""
        with self._lock:
            if job is None or job == self._job:
                self._runner.cancel()
            else:
                self._unwanted.add(job)


def _listen(
    connection: socket.socket, jobs: queue.SimpleQueue[ReferenceJob | RunJob | None], running: _Running
) -> None:
    while True:
        message = _receive(connection)
        if message is None:
            jobs.put(None)
            running.cancel(None)
            # An engine in a long computation cannot be interrupted from inside.
            timer = threading.Timer(ABANDON_SECONDS, os._exit, args=(1,))
            timer.daemon = True
            timer.start()
            return
        if isinstance(message, Cancel):
            running.cancel(message.job)
        elif isinstance(message, ReferenceJob | RunJob):
            jobs.put(message)


def _answer(runner: EngineRunner, job: ReferenceJob | RunJob) -> Reply:
    try:
        if isinstance(job, RunJob):
            return runner.run(job)
        return Referred(job.job, runner.reference(job))
    except SandboxFault as fault:
        return Failed(job.job, "sandbox", str(fault))
    except RunCancelled:
        return Failed(job.job, "cancelled", "cancelled")
    except BuildChanged as change:
        return Failed(job.job, "build_changed", str(change))
    except InvalidInput as error:
        return Failed(job.job, "invalid_input", error.message, error.field)
    except SimulatorUnavailable as fault:
        return Failed(job.job, "unavailable", str(fault))
    except ModelFault as fault:
        return Failed(job.job, "model", str(fault), f"{fault.program}:{fault.failure.line or 1}")
    except SimulatorFault as fault:
        return Failed(job.job, "simulator", str(fault))
    except Exception as error:
        log.exception("simulator %s failed", job.simulator)
        return Failed(job.job, "simulator", f"{type(error).__name__}: {error}")


def _receive(connection: socket.socket) -> Request | None:
    """The next message; None when the service is gone."""
    header = _exactly(connection, HEADER.size)
    if header is None:
        return None
    (size,) = HEADER.unpack(header)
    if size > MAX_FRAME_BYTES:
        return None
    body = _exactly(connection, size)
    return None if body is None else request_decoder.decode(body)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            chunk = connection.recv(min(size - len(data), 1 << 20))
        except ConnectionError:
            return None
        if not chunk:
            return None
        data += chunk
    return bytes(data)


if __name__ == "__main__":
    main()
