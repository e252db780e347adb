from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from quintain_cli.stack.stack import Stack

COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Quintain = Callable[..., Ran]


def clean_environment(folder: Path) -> dict[str, str]:
    """Nothing of the person who runs the tests; data and state in `folder`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("QUINTAIN_", "XDG_", "COLUMNS"))}
    return {
        **kept,
        "QUINTAIN_DATA": str(folder / "data"),
        "QUINTAIN_RUN": str(folder / "run"),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "quintain_cli.app", *arguments]


def run(environment: dict[str, str], *arguments: str, seconds: int = COMMAND_SECONDS) -> Ran:
    done = subprocess.run(
        command(*arguments), env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def processes_of(folder: Path) -> list[int]:
    """Every process, whoever its parent is, whose environment names `folder`: what a command started and left."""
    marker = f"QUINTAIN_DATA={folder / 'data'}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (process / "environ").read_bytes() + b"\0":
                found.append(int(process.name))
        except OSError:  # it ended while we looked
            continue
    return found


@pytest.fixture(scope="session")
def stack_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="session")
def stack(stack_folder: Path) -> Iterator[Stack]:
    """The three services as real processes, for all tests of this folder in one test process."""
    with Stack(data=stack_folder / "data") as running:
        yield running


@pytest.fixture
def environment(stack: Stack, stack_folder: Path) -> dict[str, str]:
    """Of a command that uses the running services."""
    addresses = {f"QUINTAIN_{service.upper()}": address for service, address in stack.addresses.items()}
    return clean_environment(stack_folder) | addresses


@pytest.fixture
def quintain(environment: dict[str, str]) -> Quintain:
    """Run the command line, a process of its own, against the running services."""
    return lambda *arguments, **options: run(environment, *arguments, **options)


@pytest.fixture
def killed(environment: dict[str, str]) -> Callable[..., bool]:
    """Run a command that is killed after so many moments (see `tests.support.killed_command`): whether it was."""

    def killed(moments: int, *arguments: str) -> bool:
        command = [sys.executable, "-m", "tests.support.killed_command", str(moments), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=COMMAND_SECONDS, check=False)
        assert done.returncode in (-signal.SIGKILL, 0, 1), done.stderr.decode()
        return done.returncode == -signal.SIGKILL

    return killed
