"""SIGTERM at any moment of a service's life ends it at once, also where it is process 1, as in a container."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.processes import children_of, command_of, is_dead, until

SERVICES = ("generator", "verifier", "controller")
# Seconds after exec: within the interpreter's start, the imports, the start of the service, and while it serves.
MOMENTS = (0.0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
# What a process 1 does with a signal that it does not handle. No preexec_fn: Python between fork and exec can hang
# where gRPC has threads.
IGNORED = ["env", "--ignore-signal=TERM"]
# As the images do it.
BLOCKED = ["env", "--block-signal=TERM"]


def namespace() -> list[str]:
    """What makes a command process 1 of a namespace of its own; empty where that is not allowed."""
    for command in (["unshare", "-p", "--fork"], ["unshare", "-Ur", "-p", "--fork"]):
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return []


class Life:
    """One service from exec to its end, in `folder`."""

    def __init__(self, service: str, folder: Path, wrapper: list[str]) -> None:
        self.log = folder / "log"
        environment = {
            **os.environ,
            f"QUINTAIN_{service.upper()}__SERVER__ADDRESS_FILE": str(folder / "address"),
            f"QUINTAIN_{service.upper()}__SERVER__DRAIN_SECONDS": "5",
        }
        if service != "verifier":
            environment[f"QUINTAIN_{service.upper()}__STORE_URL"] = f"sqlite:///{folder}/db"
        else:
            environment["QUINTAIN_VERIFIER__WORKERS"] = "1"
        self.process = subprocess.Popen(
            [*IGNORED, *wrapper, *BLOCKED, sys.executable, "-m", f"quintain_{service}.main"],
            env=environment, cwd=folder, stderr=self.log.open("wb"),
        )  # fmt: skip
        if wrapper:
            until(lambda: bool(children_of(self.process.pid)) or self.process.poll() is not None)
            assert self.process.poll() is None, self.log.read_text()
            self.pid = children_of(self.process.pid)[0]
        else:
            self.pid = self.process.pid
        until(lambda: command_of(self.pid).startswith(sys.executable.encode()) or is_dead(self.pid))

    def end(self, seconds: float) -> int:
        """Send SIGTERM and return the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                os.kill(self.pid, signal.SIGKILL)
                self.process.wait()


@pytest.mark.parametrize("service", SERVICES)
def test_sigterm_at_any_moment_ends_process_1_at_once(service: str, tmp_path: Path) -> None:
    wrapper, served = namespace(), False
    for number, moment in enumerate(MOMENTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        life = Life(service, folder, wrapper)
        deadline = time.monotonic() + moment
        while time.monotonic() < deadline and not served:
            time.sleep(0.005)
            served = (folder / "address").exists()
        assert life.end(20.0) == 0, (moment, life.log.read_text())
        assert "Traceback" not in life.log.read_text(), (moment, life.log.read_text())
        if served:
            break


@pytest.mark.parametrize("service", SERVICES)
def test_without_the_blocked_signal_only_the_interpreters_start_is_open(service: str, tmp_path: Path) -> None:
    """Who runs a service without our entry point: SIGTERM ends it from the first line of our code on."""
    environment = {**os.environ, "PYTHONSTARTUP": ""}
    code = f"import sys; print('begun', flush=True); from quintain_{service}.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [*IGNORED, sys.executable, "-c", code], env=environment, cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    code_of_end = None
    deadline = time.monotonic() + 20.0
    while code_of_end is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGTERM)  # until it is heard: the first may come before the handler
        try:
            code_of_end = process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    _, said = process.communicate()
    assert code_of_end == 0, said
    assert said.startswith(f"quintain-{service}: stopped by SIGTERM before it served".encode())


@pytest.mark.parametrize("service", ["generator", "controller"])
def test_a_database_that_never_answers_is_named_and_sigterm_ends_the_wait(service: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        url = f"postgresql+psycopg://me:secret-word@{host}/quintain"
        environment = {**os.environ, f"QUINTAIN_{service.upper()}__STORE_URL": url}
        log = tmp_path / "log"
        process = subprocess.Popen(
            [sys.executable, "-m", f"quintain_{service}.main"], env=environment, cwd=tmp_path, stderr=log.open("wb")
        )
        try:
            until(lambda: "opening the store" in log.read_text())
            silent.accept()[0].recv(8)  # it waits for an answer now
            process.terminate()
            assert process.wait(5) == 0
        finally:
            process.kill()
            process.wait()
    assert host in log.read_text()
    assert "secret-word" not in log.read_text()
