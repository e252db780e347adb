"""What a running stack writes down so that other commands find it: its addresses and its processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from quintain.errors import FailedPrecondition
from quintain_cli.stack import paths

SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class StackRecord:
    """A stack as it was written down. `processes`: name to (pid, start time), which together name one process for
    ever, because a pid alone is reused. `addresses` by service; `data` is the folder of the databases."""

    processes: dict[str, tuple[int, str]]
    data: str
    addresses: dict[str, str]

    def alive(self) -> dict[str, int]:
        """Pids of the very processes that were started and still run."""
        return {name: pid for name, (pid, start) in self.processes.items() if process_start_time(pid) == start}


def state_file() -> Path:
    """Of the local stack (`quintain up`)."""
    return paths.run_dir() / "stack.json"


def process_start_time(pid: int) -> str | None:
    """When the process started, in the kernel's clock ticks since boot; None if it does not run."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else fields[19]


def processor_ticks(pid: int) -> int | None:
    """Processor time that the process and the children it has waited for have used, in clock ticks; None if unknown."""
    fields = _stat(pid)
    return None if fields is None else sum(int(field) for field in fields[11:15])


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()  # the command before ')' may hold anything


def write(file: Path, pids: Mapping[str, int], data: Path, addresses: Mapping[str, str]) -> None:
    processes = {name: (pid, process_start_time(pid) or "") for name, pid in pids.items()}
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(StackRecord(processes, str(data.resolve()), dict(addresses)))))
    partial.replace(file)


def read(file: Path) -> StackRecord | None:
    """What a state file says, whether the stack still runs or not. Raises FailedPrecondition if it says nothing."""
    try:
        document = json.loads(file.read_text())
        document["processes"] = {name: (int(pid), str(start)) for name, (pid, start) in document["processes"].items()}
        return StackRecord(**document)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise FailedPrecondition(
            f"{file} is not the state of a running stack any more: delete it, after stopping the supervisor "
            "(python -m quintain_cli.stack.supervisor) if it runs"
        ) from None


def running_addresses(data: Path | None) -> dict[str, str]:
    """Addresses of the running local stack; none if it keeps its data elsewhere than in `data`, when that is given."""
    record = read(state_file())
    if record is None or SUPERVISOR not in record.alive():
        return {}
    return record.addresses if data is None or str(data.resolve()) == record.data else {}
