"""One embedded stack for a data folder: the command that runs it, and the others that use it meanwhile.

Three files in the data folder: the owner holds ``embedded.lock`` as long as its services run and writes
``embedded.json`` once they answer; who uses them holds ``embedded.users``, shared, and the owner waits for it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from quintain_cli.stack import state
from quintain_cli.waiting import WaitingLine

COMMAND = "command"  # the owner, among the record's processes


class StackOwnership:
    """The right to run the services of a data folder. Close it once they have stopped."""

    def __init__(self, data: Path, lock: IO[str]) -> None:
        self._data, self._lock = data, lock

    def announce(self, addresses: Mapping[str, str]) -> None:
        """Let other commands use the services."""
        state.write(_state_file(self._data), {COMMAND: os.getpid()}, self._data, addresses)

    def wait_for_users(self) -> None:
        """Take no new users and wait until the last one is done; Ctrl-C ends the waiting."""
        _state_file(self._data).unlink(missing_ok=True)
        users = _open(self._data, "users")
        with users, WaitingLine("another command still uses the services of this one; Ctrl-C stops them"):
            fcntl.flock(users, fcntl.LOCK_EX)

    def close(self) -> None:
        _state_file(self._data).unlink(missing_ok=True)
        self._lock.close()


def own(data: Path) -> StackOwnership | None:
    """Become the owner; None if another command is."""
    lock = _open(data, "lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return StackOwnership(data, lock)


@dataclass(frozen=True, slots=True)
class Use:
    """The embedded stack of another command, in use: it goes on until this is closed, unless a person stops it."""

    record: state.StackRecord
    lock: IO[str]

    def close(self) -> None:
        self.lock.close()


def use_running(data: Path) -> Use | None:
    """The embedded stack that another command runs on a data folder; None if none does."""
    if not _state_file(data).exists():
        return None
    users = _open(data, "users")
    try:
        fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
        record = state.read(_state_file(data))
        if record is not None and COMMAND in record.alive():
            return Use(record, users)
    except BlockingIOError:  # its owner is about to stop it
        pass
    users.close()
    return None


def _state_file(data: Path) -> Path:
    return data / "embedded.json"


def _open(data: Path, name: str) -> IO[str]:
    data.mkdir(parents=True, exist_ok=True)
    return (data / f"embedded.{name}").open("w")
