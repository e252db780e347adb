"""The service's side of the worker processes: started before anything else, replaced when they die."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import msgspec
import structlog

from quintain.backoff import Backoff
from quintain.plugins.simulator import ProgramSimulator, Simulator
from quintain.wire.endpoints import Endpoint
from quintain_verifier import metrics
from quintain_verifier.config import VerifierSettings
from quintain_verifier.domain.jobs import Failed, Ran, ReferenceJob, Referred, RunJob
from quintain_verifier.ports import JobTimedOut, WorkerDied
from quintain_verifier.sandbox.report import IsolationReport
from quintain_verifier.workers.messages import (
    HEADER,
    MAX_FRAME_BYTES,
    Cancel,
    Ready,
    WorkerSettings,
    frame,
    reply_decoder,
)

START_SECONDS = 60.0  # from exec to the jail's report
CANCEL_SECONDS = 2.0  # a worker that has not let go of a cancelled job by then is killed
STOP_SECONDS = 5.0
PROGRAM_SHARE = 0.8  # of the simulator's time, that its jailed programs may use
SANDBOX_FAULTS = 2  # a worker whose jail failed so often in a row is replaced
_RESTARTS = Backoff(first_seconds=0.1, most_seconds=10.0)

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("workers")


class NoJail(Exception):
    """The worker has no jail: the machine lacks a means of isolation."""


class WorkerProcess:
    """One process. Made without an event loop, so that it can be started before gRPC is imported."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("QUINTAIN_")}  # tokens stay here
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "quintain_verifier.workers.main", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self._socket = ours
        self._reply: asyncio.Future[Ready | Ran | Referred | Failed] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._died: Callable[[], None] = lambda: None
        self.isolation: IsolationReport | None = None
        self.sandbox_faults = 0  # in a row

    @property
    def pid(self) -> int:
        return self._process.pid

    async def open(self, settings: WorkerSettings, died: Callable[[], None]) -> None:
        """Wait until the worker is ready. `died` is called when it hangs up. Raises NoJail and WorkerDied."""
        self._socket.setblocking(False)
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket, limit=1 << 20)
        self._reply = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(reader))
        await self._send(frame(settings))
        try:
            ready = await asyncio.wait_for(self._reply, START_SECONDS)
        except TimeoutError:
            raise WorkerDied(f"worker {self.pid} was not ready within {START_SECONDS} s") from None
        if not isinstance(ready, Ready):
            raise WorkerDied(f"worker {self.pid} began with {type(ready).__name__}")
        if ready.isolation is None:
            raise NoJail(ready.problem)
        self.isolation = ready.isolation
        self._died = died

    async def call(self, job: RunJob | ReferenceJob) -> Ran | Referred | Failed:
        """One at a time. If it is cancelled, `let_go` or `kill` must follow."""
        self._reply = asyncio.get_running_loop().create_future()
        await self._send(frame(job))
        reply = await asyncio.shield(self._reply)
        assert not isinstance(reply, Ready)
        return reply

    async def let_go(self, job: int) -> None:
        """Cancel the job whose call was given up, and wait until the worker is free. Raises WorkerDied."""
        await self._send(frame(Cancel(job)))
        assert self._reply is not None
        try:
            await asyncio.wait_for(self._reply, CANCEL_SECONDS)
        except TimeoutError:
            raise WorkerDied(f"worker {self.pid} did not let go of a cancelled job") from None

    async def kill(self) -> None:
        self._hang_up()
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    async def stop(self) -> None:
        """Hang up and let it end by itself, its jail first; kill it if it does not."""
        self._hang_up()
        try:
            await asyncio.to_thread(self._process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            await self.kill()

    def _hang_up(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()
        else:
            self._socket.close()

    async def _send(self, data: bytes) -> None:
        assert self._writer is not None
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (ConnectionError, RuntimeError) as error:
            raise WorkerDied(f"worker {self.pid} is gone") from error

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Sets the reply that is waited for. A caller who gives up never interrupts it in the middle of a frame."""
        problem = f"worker {self.pid} died"
        try:
            while True:
                (size,) = HEADER.unpack(await reader.readexactly(HEADER.size))
                if size > MAX_FRAME_BYTES:
                    problem = f"worker {self.pid} sent a frame of {size} bytes"
                    break
                reply = reply_decoder.decode(await reader.readexactly(size))
                if self._reply is not None and not self._reply.done():
                    self._reply.set_result(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it hung up: the same as a death
        except msgspec.DecodeError as error:
            problem = f"worker {self.pid} sent a malformed reply: {error}"
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(WorkerDied(problem))
            self._reply.exception()  # seen, even if nobody waits any more
        self._died()


class WorkerPool:
    """`spawn`, then on the event loop `open`, any number of `run`, and `close`.

    A worker that dies, hangs or will not let go is replaced.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.no_jail = ""  # why workers have no jail; empty if they have
        self._workers: set[WorkerProcess] = set()
        self._in_use: set[WorkerProcess] = set()
        self._idle: Callable[[WorkerProcess], None] = lambda worker: None
        self._lost: Callable[[WorkerProcess], None] = lambda worker: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._jobs = itertools.count(1)
        self._closing = False

    def spawn(self) -> None:
        """Start the processes. Needs no event loop."""
        self._workers = {WorkerProcess() for _ in range(self.size)}

    def open(
        self,
        settings: WorkerSettings,
        idle: Callable[[WorkerProcess], None],
        lost: Callable[[WorkerProcess], None],
    ) -> None:
        """`idle` is called with each worker that becomes free, `lost` with one that died while it was free."""
        self._settings, self._idle, self._lost = settings, idle, lost
        for worker in tuple(self._workers):
            self._background(self._begin(worker))

    @property
    def ready_workers(self) -> list[WorkerProcess]:
        return [w for w in self._workers if w.isolation is not None]

    def next_job(self) -> int:
        return next(self._jobs)

    async def run(self, worker: WorkerProcess, job: RunJob | ReferenceJob, timeout: float) -> Ran | Referred | Failed:
        """Run `job` on a free worker. Raises WorkerDied and JobTimedOut. Cancelled, it returns at once; the worker is
        free again as soon as it has killed the policy."""
        self._in_use.add(worker)
        try:
            async with asyncio.timeout(timeout):
                reply = await worker.call(job)
        except WorkerDied:
            self._background(self._replace(worker))
            raise
        except TimeoutError:
            self._background(self._replace(worker))
            raise JobTimedOut(f"the run took more than {timeout:.0f} s, the simulator's own time included") from None
        except asyncio.CancelledError:
            self._background(self._recover(worker, job.job))
            raise
        faulty = isinstance(reply, Failed) and reply.fault == "sandbox"
        worker.sandbox_faults = worker.sandbox_faults + 1 if faulty else 0
        if worker.sandbox_faults >= SANDBOX_FAULTS:
            self._background(self._replace(worker))
            return reply
        # Later in this turn of the loop: the caller accounts for the end of this run before the next begins.
        asyncio.get_running_loop().call_soon(self._set_free, worker)
        return reply

    async def close(self) -> None:
        self._closing = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        self._workers.clear()

    def _set_free(self, worker: WorkerProcess) -> None:
        self._in_use.discard(worker)
        if worker in self._workers:
            self._idle(worker)

    async def _begin(self, worker: WorkerProcess) -> None:
        if await self._opened(worker):
            self._set_free(worker)
        else:
            await self._replace(worker)

    async def _opened(self, worker: WorkerProcess) -> bool:
        try:
            await worker.open(self._settings, lambda: self._died(worker))
        except NoJail as error:
            self.no_jail = str(error)
            log.error("a worker has no jail", pid=worker.pid, problem=self.no_jail)
            return False
        except WorkerDied as error:
            log.error("a worker did not start", pid=worker.pid, problem=str(error))
            return False
        self.no_jail = ""
        return True

    def _died(self, worker: WorkerProcess) -> None:
        """It hung up. In the middle of a job, `run` sees it too, and replaces it."""
        if worker in self._in_use or worker not in self._workers or self._closing:
            return
        self._lost(worker)
        self._background(self._replace(worker))

    async def _recover(self, worker: WorkerProcess, job: int) -> None:
        try:
            await worker.let_go(job)
        except WorkerDied:
            await self._replace(worker)
        else:
            self._set_free(worker)

    async def _replace(self, worker: WorkerProcess) -> None:
        self._in_use.discard(worker)
        self._workers.discard(worker)
        failures = 0
        while not self._closing:
            await worker.kill()
            metrics.WORKER_RESTARTS.inc()
            log.warning("worker replaced", pid=worker.pid)
            worker = WorkerProcess()
            self._workers.add(worker)
            if await self._opened(worker):
                self._set_free(worker)
                return
            self._workers.discard(worker)
            failures += 1
            await asyncio.sleep(_RESTARTS.seconds(failures))

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def worker_settings(settings: VerifierSettings, simulators: Iterable[Simulator]) -> WorkerSettings:
    """What each worker is told: `simulators` are those that jobs may name."""
    guests = {guest for simulator in simulators for guest in _guests(simulator)}
    remote = {name: _plain(endpoint) for name, endpoint in settings.remote_simulators.items()}
    # Below what a whole job may take: a model that never ends must not look like the policy's doing.
    program_seconds = PROGRAM_SHARE * settings.engine_seconds
    return WorkerSettings(tuple(sorted(guests)), remote, settings.insecure_dev, program_seconds)


def _guests(simulator: Simulator) -> tuple[str, ...]:
    programs = simulator.program_guests if isinstance(simulator, ProgramSimulator) else ()
    return (simulator.guest_module, *programs) if simulator.guest_module else programs


def _plain(endpoint: Endpoint) -> dict[str, Any]:
    token = endpoint.token.get_secret_value() if endpoint.token else None
    return {**endpoint.model_dump(mode="json"), "token": token}
