"""The embedded stack: services that do not start, that die, and that must never be left behind. Its services here are
small programs; the real ones are in tests/e2e."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import sqlalchemy
from tests.support.services import eventually
from tests.unit.cli.conftest import Run

from quintain_cli import connect, waiting
from quintain_cli.connect import Connection, Embedded
from quintain_cli.stack import paths, service_process, settings, sharing, stack, state
from quintain_cli.stack.service_process import StackError, is_serving
from quintain_cli.stack.stack import Stack
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
        monkeypatch.setattr(settings, "service_command", lambda service: [sys.executable, "-c", program, service])

    return run


def test_a_stack_is_healthy_once_it_is_started_and_gone_once_it_is_stopped(
    home: Path, services: Services, tmp_path: Path
) -> None:
    services(HEALTHY)
    with Stack(data=tmp_path / "data") as running:
        assert set(running.addresses) == set(stack.SERVICES)
        assert all(is_serving(address) for address in running.addresses.values())
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
import threading
from pathlib import Path
from quintain_cli.stack import settings, stack
settings.service_command = lambda service: [sys.executable, "-c", {HEALTHY!r}, service]
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
    given = {"store_url": "sqlite:///x", "server.drain_seconds": "10", "server.listen": "127.0.0.1:0"}
    environment = settings.service_environment("generator", given)
    assert "QUINTAIN_GENERATOR__STORE_URL" not in environment
    assert "QUINTAIN_GENERATOR__SERVER__DRAIN_SECONDS" not in environment
    assert environment["QUINTAIN_GENERATOR__SERVER__LISTEN"] == "127.0.0.1:0"
    assert settings.service_command("generator")[-2:] == ["--config", str(config / "generator.toml")]


def test_the_users_environment_wins_over_the_stacks_defaults(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTAIN_CONTROLLER__STORE_URL", "postgresql://mine")
    environment = settings.service_environment("controller", {"store_url": "sqlite:///x"})
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
    environment_of = settings.service_environment

    def remember(service: str, added: Mapping[str, str]) -> dict[str, str]:
        if service == "controller":
            given[runs] = added.get("runner.max_searches")
        return environment_of(service, added)

    monkeypatch.setattr(settings, "service_environment", remember)
    for runs in (False, True):
        with Connection(Target(data_dir=tmp_path), "controller", embedded=Embedded.RUNS if runs else Embedded.READS):
            pass
    assert given == {False: "0", True: None}


def test_a_command_that_only_reads_starts_a_controller_alone(home: Path, services: Services, tmp_path: Path) -> None:
    services(HEALTHY)
    with Connection(Target(data_dir=tmp_path), "controller") as connection:
        assert set(connection.addresses) == {"controller"}
        assert connection.alone


def test_beside_a_command_with_an_embedded_stack_others_use_its_services(
    home: Path, services: Services, tmp_path: Path
) -> None:
    services(HEALTHY)
    with Connection(Target(data_dir=tmp_path), "controller", embedded=Embedded.RUNS) as owner:
        for embedded in Embedded:
            with Connection(Target(data_dir=tmp_path), "controller", "verifier", embedded=embedded) as other:
                assert other.addresses == owner.addresses
                assert other.embedded
                assert not other.alone
    with Connection(Target(data_dir=tmp_path), "controller") as later:
        assert later.addresses != owner.addresses


def test_services_go_on_until_the_last_command_that_uses_them_is_done(
    home: Path, services: Services, tmp_path: Path
) -> None:
    services(HEALTHY)
    owner = Connection(Target(data_dir=tmp_path), "controller", embedded=Embedded.RUNS)
    owner.__enter__()
    user = Connection(Target(data_dir=tmp_path), "verifier")
    user.__enter__()
    served = []

    def use_a_little_longer() -> None:
        eventually(lambda: not (tmp_path / "embedded.json").exists(), "the owner takes no new users")
        served.append(is_serving(user.addresses["verifier"]))
        user.__exit__(None, None, None)

    using = threading.Thread(target=use_a_little_longer)
    using.start()
    owner.__exit__(None, None, None)
    using.join()
    assert served == [True]
    assert not is_serving(owner.addresses["verifier"])


def test_the_stack_of_a_command_that_was_killed_is_not_used(home: Path, services: Services, tmp_path: Path) -> None:
    services(HEALTHY)
    dead = subprocess.Popen(["true"])
    state.write(tmp_path / "embedded.json", {sharing.COMMAND: dead.pid}, tmp_path, {"controller": "127.0.0.1:1"})
    dead.wait()
    with Connection(Target(data_dir=tmp_path), "controller", embedded=Embedded.RUNS) as connection:
        assert connection.alone
        assert "127.0.0.1:1" not in connection.addresses.values()


def test_a_start_that_goes_on_is_waited_for_and_said(
    home: Path, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "SAID_EVERY_SECONDS", 0.3)
    monkeypatch.setattr(service_process, "_LEAST_TICKS", 0)
    busy = "import time\nwhile time.process_time() < 2.2: pass\n"
    services(busy + HEALTHY)
    with Stack(["verifier"], data=tmp_path, start_seconds=2.0):
        pass
    assert "waiting for the verifier to start (" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["what?", "a%41b", "with space#1"])
def test_data_lands_in_the_folder_that_was_named(tmp_path: Path, name: str) -> None:
    url = sqlalchemy.make_url(settings.default_settings("controller", tmp_path / name, {})["store_url"])
    assert url.database == str(tmp_path / name / "controller.db")
    assert not url.query


def test_data_belongs_to_the_nearest_project(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "project/notebooks"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    users = paths.data_dir()
    (tmp_path / "project/.quintain").mkdir()
    assert users == Path(os.environ["XDG_DATA_HOME"]) / "quintain"
    assert paths.data_dir() == tmp_path / "project/.quintain/data"
    assert paths.run_dir() == tmp_path / "project/.quintain/run"
    assert paths.config_dir() == Path(os.environ["XDG_CONFIG_HOME"]) / "quintain"


@pytest.mark.parametrize(("text", "told"), [(b"[server\n", "not valid TOML: "), (b"\xff", "not UTF-8 text at byte 0")])
def test_a_spoilt_configuration_file_is_one_clear_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, quintain: Run, text: bytes, told: str
) -> None:
    monkeypatch.setenv("QUINTAIN_CONFIG", str(home))
    (home / "generator.toml").write_bytes(text)
    ran = quintain("backends")
    assert ran.code == 2
    assert ran.err.startswith(f"error: {home}/generator.toml: {told}")
    assert len(ran.err.splitlines()) == 1


def test_a_controller_that_cannot_work_is_said_to_who_follows_a_search(
    home: Path, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "_CHECK_SECONDS", 0.05)
    monkeypatch.setattr(connect, "_HEALTH_SECONDS", 0.1)
    fills = HEALTHY.replace(
        "signal.sigwait({signal.SIGTERM})",
        'signal.sigwait({signal.SIGUSR1}); servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)\n'
        "signal.sigwait({signal.SIGTERM})",
    )
    services("import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})\n" + fills)
    with Connection(Target(data_dir=tmp_path), "controller") as connection:
        following = connection.follow(iter(threading.Event().wait, True))  # a stream in which nothing comes
        next(following)
        assert connection.trouble == ""
        assert connection._stack is not None
        os.kill(connection._stack._processes[0].process.pid, signal.SIGUSR1)
        while not connection.trouble:
            next(following)
        assert connection.trouble == connect.NOT_READY["controller"]
