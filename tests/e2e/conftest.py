from __future__ import annotations

import json
import os
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
def quintain(stack: Stack, stack_folder: Path) -> Quintain:
    """Run the command line, a process of its own, against the running services."""
    environment = clean_environment(stack_folder)
    for service, address in stack.addresses.items():
        environment[f"QUINTAIN_{service.upper()}"] = address
    return lambda *arguments, **options: run(environment, *arguments, **options)
