"""`quintain up`, work against it from another command, `quintain down`."""

from __future__ import annotations

import random
import socket
import subprocess
from pathlib import Path

import pytest
from tests.e2e.conftest import clean_environment, command, processes_of, run
from tests.support.services import eventually

from quintain_cli.stack import supervisor

pytestmark = pytest.mark.xdist_group("e2e")


def free_base_port() -> int:
    """A base from which all ports of a stack are free now."""
    for _ in range(100):
        base = random.randrange(20000, 28000, 10)
        probes = []
        try:
            for port in supervisor.ports(base).values():
                probes.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        else:
            return base
        finally:
            for probe in probes:
                probe.close()
    raise AssertionError("no free ports")


def test_what_is_started_is_found_by_other_commands_and_stopped_to_the_last_process(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path)
    base = free_base_port()
    try:
        started = run(environment, "up", "--base-port", str(base))
        assert started.code == 0, started.err
        assert f"controller  127.0.0.1:{base}" in started.out
        detached = run(environment, "search", "--suite", "smoke", "--candidates", "1", "--detach", "--json")
        assert detached.code == 0, detached.err
        watched = run(environment, "watch", detached.lines[0]["search_id"], "--json")
        assert watched.lines[-1]["state"] == "SEARCH_STATE_FINISHED"
    finally:
        stopped = run(environment, "down")
    assert stopped.out.startswith("stopped controller, generator")
    assert processes_of(tmp_path) == []
    assert run(environment, "down").out == "no local stack is running\n"


def test_a_start_that_is_interrupted_at_its_first_process_leaves_none(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path)
    up = subprocess.Popen(command("up", "--base-port", str(free_base_port())), env=environment)
    try:
        eventually(lambda: any(children(child) for child in children(up.pid)), "the supervisor starts a process")
        up.terminate()
        assert up.wait(60) == 130
    finally:
        up.kill()
        up.wait()
    eventually(lambda: processes_of(tmp_path) == [], "everything has ended")


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []
