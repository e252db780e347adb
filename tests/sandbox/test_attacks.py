"""Every hostile policy of attacks/index.csv: it must end as the table says, trip no wire, and leave the jail as it was.

What an attack says of itself is not believed: tripwires outside (listeners, files, an environment variable, a string in
this process) are looked at too. ``ends``: ``answer`` (finished, harmless), ``blocked`` (finished, says that it was
refused), or the name of a FailureKind.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from quintain.plugins.simulator import PolicyError
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import MIB, Limits

ATTACKS = Path(__file__).parent / "attacks"
LIMITS = Limits(
    wall_seconds=120, step_seconds=120, cpu_seconds=1, memory_bytes=256 * MIB, messages=20_000, output_bytes=16 * MIB
)
IMPATIENT = replace(LIMITS, step_seconds=1.5)  # for those that only a wall deadline ends
ROUNDS = 3
HONEST = "def act(obs):\n    return {'x': obs['t'] * 2 + query(1)}"

# where the attacks look: they have these by heart
RUN_FOLDER = Path("/tmp/attack-run")
TCP_PORT, UDP_PORT = 47101, 47102
SECRET = "CANARY-FILE-17"
ENGINE_SECRET = "CANARY-SIM-99"


with (ATTACKS / "index.csv").open(newline="") as _file:
    ENDS = {row["attack"]: row["ends"].split("|") for row in csv.DictReader(_file)}


class Tripwires:
    def __init__(self, listeners: list[socket.socket]) -> None:
        self._listeners = listeners

    def tripped(self) -> list[str]:
        """What an attack reached."""
        found = []
        for listener in self._listeners:
            try:
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(1)
                else:
                    listener.accept()[0].close()
            except BlockingIOError:
                continue
            found.append(f"reached {listener.getsockname()}")
        found += [f"made {path}" for path in RUN_FOLDER.iterdir() if path.name not in ("secret.txt", "canary.sock")]
        if (RUN_FOLDER / "secret.txt").read_text() != SECRET:
            found.append("changed the secret file")
        return found


def _listener(stack: ExitStack, family: int, kind: int, address: object) -> socket.socket:
    made = stack.enter_context(socket.socket(family, kind))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(address)  # type: ignore[arg-type]
    if kind == socket.SOCK_STREAM:
        made.listen()
    made.setblocking(False)
    return made


def _empty_run_folder() -> None:
    for path in RUN_FOLDER.iterdir():
        path.unlink()


@pytest.fixture
def tripwires() -> Iterator[Tripwires]:
    """One user at a time on this machine: ports and paths are fixed."""
    with ExitStack() as stack:
        lock = stack.enter_context(open(__file__, "rb"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        RUN_FOLDER.mkdir(exist_ok=True)
        if RUN_FOLDER.stat().st_uid == os.getuid():
            RUN_FOLDER.chmod(0o777)
        _empty_run_folder()
        stack.callback(_empty_run_folder)
        (RUN_FOLDER / "secret.txt").write_text(SECRET)
        yield Tripwires(
            [
                _listener(stack, socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", TCP_PORT)),
                _listener(stack, socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", UDP_PORT)),
                _listener(stack, socket.AF_UNIX, socket.SOCK_STREAM, str(RUN_FOLDER / "canary.sock")),
                _listener(stack, socket.AF_UNIX, socket.SOCK_STREAM, "\0h_canary"),
            ]
        )


def _attack(jail: Jail, name: str) -> tuple[str, list[str]]:
    """-> (how it ended, all that it said)"""
    engine_state = [ENGINE_SECRET]
    limits = IMPATIENT if "wall_limit" in ENDS[name] else LIMITS
    said: list[str] = []
    try:
        with jail.open((ATTACKS / f"{name}.py").read_text(), guest_module="act_guest", limits=limits) as run:
            policy = run.open_policy({"step": 0})
            for t in range(ROUNDS):
                said.append(json.dumps(policy.ask({"t": t}, lambda question: question)))
    except PolicyError as error:
        said.append(str(error))
        return error.failure.kind.value, said
    assert engine_state == [ENGINE_SECRET]
    return "blocked" if "BLOCKED" in said[-1] else "answer", said


@pytest.mark.parametrize("name", ENDS)
def test_attack(jail: Jail, tripwires: Tripwires, name: str) -> None:
    server = jail.server_pids
    end, said = _attack(jail, name)
    assert tripwires.tripped() == []
    assert not [text for text in said if "PWNED" in text or "CANARY" in text]
    assert end in ENDS[name], said
    assert jail.server_pids == server, "the fork server was lost"
    with jail.open(HONEST, guest_module="act_guest", limits=LIMITS) as run:
        policy = run.open_policy({})
        assert [policy.ask({"t": t}, lambda question: 10 if question == 1 else 0) for t in range(ROUNDS)] == [
            {"x": 10},
            {"x": 12},
            {"x": 14},
        ]


def test_every_attack_is_in_the_table() -> None:
    assert sorted(ENDS) == sorted(path.stem for path in ATTACKS.glob("*.py"))


def test_the_tripwires_work(tripwires: Tripwires) -> None:
    """What the attacks try, done from outside the jail, is noticed."""
    with socket.create_connection(("127.0.0.1", TCP_PORT)), socket.socket(socket.AF_UNIX) as unix:
        unix.connect("\0h_canary")
        (RUN_FOLDER / "pwned").write_text("x")
        (RUN_FOLDER / "secret.txt").write_text("x")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"x", ("127.0.0.1", UDP_PORT))
        assert len(tripwires.tripped()) == 5
