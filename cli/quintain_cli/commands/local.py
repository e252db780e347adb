"""``quintain up`` and ``quintain down``: the local stack."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from quintain.errors import FailedPrecondition, InvalidArgument, Unavailable
from quintain_cli.render import errors, out
from quintain_cli.stack import paths, state, supervisor
from quintain_cli.stack.service_process import LOG_LINES_SHOWN
from quintain_cli.waiting import WaitingLine

BASE_PORT = 7070
_START_SECONDS = 60.0  # without anything that moves
_LEAST_TICKS = 20  # more than services use that only wait
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.1


def add_commands(app: typer.Typer) -> None:
    app.command("up")(up)
    app.command("down")(down)


def up(
    base_port: Annotated[
        int,
        typer.Option(min=1024, max=60000, help="controller N, verifier N+1, generator N+2, metrics from N+2000."),
    ] = BASE_PORT,
    data_dir: Annotated[Path | None, typer.Option(help="Databases.", envvar="QUINTAIN_DATA")] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, and show the logs.")] = False,
) -> None:
    """Start the local stack and wait until it is healthy. Other commands then use it by themselves."""
    paths.config_dir()  # one that is wrong is said here, and not in the log of a stack that does not start
    run = paths.run_dir()
    run.mkdir(parents=True, exist_ok=True)
    log = run / "stack.log"
    with _alone(run):
        record = state.read(state.state_file())
        if record is not None and record.alive():
            raise FailedPrecondition(
                f"a local stack is running (controller {record.addresses['controller']}); `quintain down` stops it"
            )
        for name, port in supervisor.ports(base_port).items():
            refuse_taken(name, port)
        state.state_file().unlink(missing_ok=True)
        process = _start_supervisor(base_port, data_dir or paths.data_dir(), None if foreground else log)
        try:
            with WaitingLine("starting the local stack"):
                addresses = _wait_started(process, log)
        except BaseException:
            _stop(process)
            raise
    tell(base_port, addresses, log)
    if foreground:
        wait_in_foreground(process)


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Raise FailedPrecondition while another `quintain up` is starting a stack."""
    with (run / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedPrecondition("another `quintain up` is starting a local stack; wait for it") from None
        yield


def _start_supervisor(base_port: int, data: Path, log: Path | None) -> subprocess.Popen[bytes]:
    """`log` None: in the foreground."""
    command = [sys.executable, "-m", "quintain_cli.stack.supervisor", str(base_port), str(data.resolve())]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if log is None:
        return subprocess.Popen(command, env=environment)
    with log.open("wb") as output:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def refuse_taken(name: str, port: int) -> None:
    """Raise InvalidArgument if something listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise InvalidArgument.of(
                "base-port",
                f"port {port} ({name}) is taken by another program; choose others with `quintain up --base-port N` "
                "(make up BASE_PORT=N)",
            ) from None


def _wait_started(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    """Wait as long as something moves: a start on a busy machine takes long."""
    moved, ticks = time.monotonic(), 0
    while not state.state_file().exists():
        code = process.poll()
        now = _ticks(process.pid)
        if now > ticks + _LEAST_TICKS:
            moved, ticks = time.monotonic(), now
        if code is not None or time.monotonic() > moved + _START_SECONDS:
            lines = culprit_lines(log.read_text(errors="replace") if log.exists() else "")
            problem = f"ended with exit code {code}" if code is not None else "did not become healthy in time"
            raise Unavailable("\n".join([f"the local stack {problem}", *(f"  {line}" for line in lines)]))
        time.sleep(_POLL_SECONDS)
    record = state.read(state.state_file())
    if record is None:
        raise Unavailable("the local stack ended as soon as it was up")
    return record.addresses


def _ticks(supervisor_pid: int) -> int:
    """Processor time of the supervisor and of what it has started, in clock ticks."""
    pids = [supervisor_pid]
    for file in paths.run_dir().glob("*.pid"):
        with suppress(ValueError):  # being written
            pids.append(int(file.read_text()))
    return sum(state.processor_ticks(pid) or 0 for pid in pids)


def culprit_lines(log: str) -> list[str]:
    """The last log lines of the process that stopped first, because of which honcho stopped the others; without one,
    the last lines of all."""
    lines = log.splitlines()
    stopped = re.search(r"^\S+ system +\| (\w+) stopped", log, re.MULTILINE)
    if stopped:
        lines = [line for line in lines if re.match(rf"\S+ {stopped[1]} +\|", line)]
    return lines[-LOG_LINES_SHOWN:]


def tell(base_port: int, addresses: dict[str, str], log: Path) -> None:
    for service, address in addresses.items():
        port = base_port + supervisor.METRICS_OFFSET + supervisor.PORT_OFFSETS[service]
        out.print(f"{service:<11} {address}   metrics http://127.0.0.1:{port}/metrics")
    prometheus = supervisor.ports(base_port).get(supervisor.PROMETHEUS)
    out.print(f"prometheus  http://127.0.0.1:{prometheus}" if prometheus else "prometheus  not installed")
    out.print(f"logs        {log}")
    command = "quintain" if shutil.which("quintain") else sys.argv[0]
    out.print(f"next: {command} search --suite paper-reference --backend offline --candidates 150 --minutes 4")


def wait_in_foreground(process: subprocess.Popen[bytes]) -> None:
    """Until the stack ends; Ctrl-C reaches it by the terminal, SIGTERM through here."""
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _stop(process)
        return
    if code:
        raise Unavailable(f"the local stack ended with exit code {code}; its log is above")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    process.wait()


def down() -> None:
    """Stop the local stack: exactly the processes that `quintain up` started."""
    record = state.read(state.state_file())
    alive = record.alive() if record is not None else {}
    if not alive:
        state.state_file().unlink(missing_ok=True)
        out.print("no local stack is running")
        return
    assert record is not None
    # If the supervisor was killed, what it started is left to us.
    for pid in [alive[state.SUPERVISOR]] if state.SUPERVISOR in alive else alive.values():
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    with WaitingLine("stopping the local stack"):
        while (alive := record.alive()) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    for name, pid in alive.items():
        errors.print(f"{name} (pid {pid}) did not stop in {_STOP_SECONDS:.0f} s and is killed")
        _signal(pid, signal.SIGKILL)
    state.state_file().unlink(missing_ok=True)
    out.print(f"stopped {', '.join(sorted(set(record.processes) - {state.SUPERVISOR}))}")


def _signal(pid: int, signum: int) -> None:
    with suppress(ProcessLookupError):  # it ended since we looked
        os.kill(pid, signum)
