"""The embedded stack: services that do not start, that die, and that must never be left behind. Its services here are
small programs; the real ones are in tests/e2e."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from quintain_cli.connect import Connection
from quintain_cli.stack import stack, state
from quintain_cli.stack.stack import Stack, StackError
from quintain_cli.target import Target

# A service that is healthy until it is told to stop.
HEALTHY = """
import json, os, pathlib, signal, sys
import grpc
from concurrent import futures
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
name = sys.argv[1].upper()
server = grpc.server(futures.ThreadPoolExecutor(1))
servicer = health.HealthServicer()
servicer.set("", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
port = server.add_insecure_port(os.environ[f"QUINTAIN_{name}__SERVER__LISTEN"])
server.start()
file = pathlib.Path(os.environ[f"QUINTAIN_{name}__SERVER__ADDRESS_FILE"])
partial = file.with_suffix(".partial")
partial.write_text(json.dumps({"address": f"127.0.0.1:{port}", "metrics_address": ""}))
partial.replace(file)
signal.sigwait({signal.SIGTERM})
"""
FAILING = "import sys; print('the disk is full', file=sys.stderr); sys.exit(3)"
SILENT = "import signal; signal.sigwait({signal.SIGTERM})"

Services = Callable[[str], None]


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    """Make every service run a program."""

    def run(program: str) -> None:
        monkeypatch.setattr(stack, "service_command", lambda service: [sys.executable, "-c", program, service])

    return run


def test_a_stack_is_healthy_once_it_is_started_and_gone_once_it_is_stopped(
    home: Path, services: Services, tmp_path: Path
) -> None:
    services(HEALTHY)
    with Stack(data=tmp_path / "data") as running:
        assert set(running.addresses) == set(stack.SERVICES)
        assert all(stack.is_serving(address) for address in running.addresses.values())
        pids = [process.process.pid for process in running._processes]
    assert [state.process_start_time(pid) for pid in pids] == [None, None, None]


def test_a_service_that_does_not_start_is_told_with_its_last_log_lines(
    home: Path, services: Services, tmp_path: Path
) -> None:
    services(FAILING)
    with pytest.raises(StackError, match=r"(?s)exit code 3.*the disk is full"), Stack(data=tmp_path):
        pass


def test_a_service_that_never_says_where_it_listens_is_given_up_and_stopped(
    home: Path, services: Services, tmp_path: Path
) -> None:
    services(SILENT)
    starting = Stack(["verifier"], data=tmp_path, start_seconds=0.1)
    with pytest.raises(StackError, match="did not say where it listens in time"):
        starting.start()
    assert starting._processes == []


def test_a_service_that_dies_is_noticed(home: Path, services: Services, tmp_path: Path) -> None:
    services(HEALTHY)
    with Stack(["generator"], data=tmp_path) as running:
        (process,) = running._processes
        process.process.kill()
        process.process.wait()
        with pytest.raises(StackError, match="the generator ended with exit code -9"):
            running.check()


def test_no_service_outlives_a_command_that_is_killed(home: Path, tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from quintain_cli.stack import stack
stack.service_command = lambda service: [sys.executable, "-c", {HEALTHY!r}, service]
running = stack.Stack(["generator"], data=Path({str(tmp_path)!r}))
running.start()
print(running._processes[0].process.pid, flush=True)
sys.stdin.read()
"""
    command = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    pid = int(command.stdout.readline())
    start = state.process_start_time(pid)
    watch = os.pidfd_open(pid)
    os.kill(command.pid, signal.SIGKILL)
    command.communicate()
    poll = select.poll()
    poll.register(watch)
    assert poll.poll(10_000), "the service still runs 10 s after its parent was killed"
    os.close(watch)
    assert state.process_start_time(pid) != start


def test_the_users_configuration_file_wins_over_the_stacks_defaults(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = home / "config"
    config.mkdir()
    monkeypatch.setenv("QUINTAIN_CONFIG", str(config))
    (config / "generator.toml").write_text('store_url = "postgresql://mine"\n[server]\ndrain_seconds = 1\n')
    settings = {"store_url": "sqlite:///x", "server.drain_seconds": "10", "server.listen": "127.0.0.1:0"}
    environment = stack.service_environment("generator", settings)
    assert "QUINTAIN_GENERATOR__STORE_URL" not in environment
    assert "QUINTAIN_GENERATOR__SERVER__DRAIN_SECONDS" not in environment
    assert environment["QUINTAIN_GENERATOR__SERVER__LISTEN"] == "127.0.0.1:0"
    assert stack.service_command("generator")[-2:] == ["--config", str(config / "generator.toml")]


def test_the_users_environment_wins_over_the_stacks_defaults(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTAIN_CONTROLLER__STORE_URL", "postgresql://mine")
    environment = stack.service_environment("controller", {"store_url": "sqlite:///x"})
    assert environment["QUINTAIN_CONTROLLER__STORE_URL"] == "postgresql://mine"


def test_the_time_that_a_stack_may_take_to_stop_is_bounded(home: Path, services: Services, tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    services(deaf + HEALTHY.replace("signal.sigwait({signal.SIGTERM})", "signal.pause()"))
    running = Stack(["generator"], data=tmp_path, stop_seconds=0.2)
    running.start()
    (process,) = running._processes
    begun = time.monotonic()
    running.stop()
    assert process.process.returncode == -signal.SIGKILL
    assert time.monotonic() - begun < 10


def test_a_command_that_only_looks_does_not_run_interrupted_searches(
    home: Path, services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    services(HEALTHY)
    given: dict[bool, str | None] = {}
    environment_of = stack.service_environment

    def remember(service: str, settings: Mapping[str, str]) -> dict[str, str]:
        if service == "controller":
            given[runs] = settings.get("runner.max_searches")
        return environment_of(service, settings)

    monkeypatch.setattr(stack, "service_environment", remember)
    for runs in (False, True):
        with Connection(Target(data_dir=tmp_path), "controller", runs_searches=runs):
            pass
    assert given == {False: "0", True: None}
