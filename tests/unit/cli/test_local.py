"""`quintain up` and `down`: ports, and the state file that names exactly what was started."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run

from quintain_cli.commands import local
from quintain_cli.stack import paths, settings, state, supervisor


@pytest.fixture
def run_dir(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = home / "run"
    folder.mkdir()
    monkeypatch.setenv("QUINTAIN_RUN", str(folder))
    return folder


def test_a_taken_port_is_named_with_what_to_do(run_dir: Path, quintain: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setattr(supervisor, "ports", lambda base: {"verifier": port})
        ran = quintain("up")
    assert ran.code == 2
    assert (
        f"port {port} (verifier) is taken by another program; choose others with `quintain up --base-port N`" in ran.err
    )


def test_a_running_stack_is_not_started_again(run_dir: Path, quintain: Run) -> None:
    state.write(state.state_file(), {state.SUPERVISOR: os.getpid()}, run_dir, {"controller": "127.0.0.1:7070"})
    ran = quintain("up")
    assert ran.code == 2
    assert "a local stack is running (controller 127.0.0.1:7070)" in ran.err


def test_down_never_touches_a_process_that_only_has_the_same_pid(run_dir: Path, quintain: Run) -> None:
    state.write(state.state_file(), {state.SUPERVISOR: os.getpid()}, run_dir, {"controller": "127.0.0.1:7070"})
    text = state.state_file().read_text()
    start = state.process_start_time(os.getpid())
    state.state_file().write_text(text.replace(f'"{start}"', '"1"'))
    ran = quintain("down")
    assert (ran.code, ran.out) == (0, "no local stack is running\n")
    assert state.running_addresses(None) == {}


def test_a_running_stack_is_used_unless_the_data_folder_is_another(run_dir: Path) -> None:
    addresses = {"controller": "127.0.0.1:7070"}
    state.write(state.state_file(), {state.SUPERVISOR: os.getpid()}, run_dir, addresses)
    assert state.running_addresses(None) == addresses
    assert state.running_addresses(run_dir) == addresses
    assert state.running_addresses(run_dir / "other") == {}


def test_the_run_folder_is_the_users_state_folder(home: Path) -> None:
    assert paths.run_dir() == home / "xdg_state_home" / "quintain"


def test_what_failed_first_is_shown_not_what_was_stopped_because_of_it() -> None:
    log = """09:00:01 verifier   | serving
09:00:02 generator  | quintain-generator: colour: not permitted
09:00:02 system     | generator stopped (rc=2)
09:00:03 verifier   | a long story about being stopped
09:00:03 system     | verifier stopped (rc=0)
"""
    assert local.culprit_lines(log) == ["09:00:02 generator  | quintain-generator: colour: not permitted"]
    assert local.culprit_lines("09:00:01 verifier   | starting") == ["09:00:01 verifier   | starting"]


@pytest.mark.parametrize("text", ['{"proc', "{}", "[]", '{"processes": {"supervisor": 1}}'])
@pytest.mark.parametrize("command", ["up", "down", "searches"])
def test_a_spoilt_state_file_is_named_with_what_to_do(run_dir: Path, quintain: Run, text: str, command: str) -> None:
    state.state_file().write_text(text)
    ran = quintain(command)
    assert ran.code == 2
    assert f"{state.state_file()} is not the state of a running stack any more: delete it" in ran.err.replace("\n", "")


def test_a_stack_that_another_command_is_starting_is_left_alone(run_dir: Path, quintain: Run) -> None:
    with (run_dir / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = quintain("up")
    assert ran.code == 2
    assert "another `quintain up` is starting a local stack" in ran.err
    assert not (run_dir / "stack.log").exists()


def test_a_process_that_ends_while_it_is_being_stopped_is_no_error(
    run_dir: Path, quintain: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    state.write(state.state_file(), {state.SUPERVISOR: os.getpid()}, run_dir, {})
    alive = iter([{state.SUPERVISOR: ended.pid}, {}])
    monkeypatch.setattr(state.StackRecord, "alive", lambda record: next(alive))
    assert quintain("down").code == 0


def test_the_stack_gives_its_services_the_time_that_they_may_take_to_drain() -> None:
    assert settings.DRAIN_SECONDS < supervisor._KILL_SECONDS < local._STOP_SECONDS


def test_what_a_killed_supervisor_left_behind_is_stopped(run_dir: Path, quintain: Run) -> None:
    with subprocess.Popen(["true"]) as supervisor_process:
        pass
    with subprocess.Popen(["sleep", "600"]) as left:
        state.write(state.state_file(), {state.SUPERVISOR: supervisor_process.pid, "verifier": left.pid}, run_dir, {})
        ran = quintain("down")
    assert (ran.code, ran.out) == (0, "stopped verifier\n")
    assert left.returncode == -signal.SIGTERM
    assert not state.state_file().exists()
