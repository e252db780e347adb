"""The running local stack: a state file with the addresses and the process that started it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from quintain_controller.cli import paths


@dataclass(frozen=True, slots=True)
class LocalStack:
    """What `quintain up` wrote down: addresses by service and its data folder. `pid` and `start_time` name one process
    for ever: a pid alone is reused."""

    pid: int
    start_time: str
    data: str
    addresses: dict[str, str]


def state_file() -> Path:
    return paths.run_dir() / "stack.json"


def process_start_time(pid: int) -> str | None:
    """When the process started, in the kernel's own clock ticks since boot; None if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None
    fields = stat.rpartition(")")[2].split()  # the command before ')' may hold anything
    return None if fields[0] == "Z" else fields[19]


def write(pid: int, data: Path, addresses: dict[str, str]) -> None:
    """Say that the process `pid` is the local stack."""
    record = LocalStack(pid, process_start_time(pid) or "", str(data.resolve()), addresses)
    partial = state_file().with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record)))
    partial.replace(state_file())


def running() -> LocalStack | None:
    """The local stack, if the very process that wrote the state file still runs."""
    try:
        record = LocalStack(**json.loads(state_file().read_text()))
    except FileNotFoundError:
        return None
    return record if process_start_time(record.pid) == record.start_time else None


def running_addresses(data: Path | None) -> dict[str, str]:
    """Addresses of the running local stack; none if it keeps its data elsewhere than in `data`, when that is given."""
    record = running()
    if record is None or (data is not None and str(data.resolve()) != record.data):
        return {}
    return record.addresses
