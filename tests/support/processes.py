"""Other processes as /proc shows them, and waiting for what they do. Who looks may find them gone: that is no error."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 120.0  # seconds; only a test that fails ever waits so long, so it is generous to busy machines


def until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def children_of(pid: int) -> list[int]:
    """Direct children, dead ones that nobody has waited for included."""
    found: list[int] = []
    for task in _entries(f"/proc/{pid}/task"):
        try:
            found += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended
    return found


def descendants_of(pid: int) -> list[int]:
    direct = children_of(pid)
    return direct + [grandchild for child in direct for grandchild in descendants_of(child)]


def descriptors_of(pid: int) -> int:
    """How many it has open."""
    return len(_entries(f"/proc/{pid}/fd"))


def command_of(pid: int) -> bytes:
    """Empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def is_dead(pid: int) -> bool:
    """Gone, or dead and not yet waited for."""
    return _stat(pid)[0] == "Z"


def cpu_seconds_of(pid: int) -> float:
    """What it has used so far, 0 for one that is gone."""
    return (int(_stat(pid)[11]) + int(_stat(pid)[12])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["Z", *["0"] * 20]


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError):
        return []
