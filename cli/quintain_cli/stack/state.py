"""The local stack's state file: its addresses and the processes that it is made of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from quintain.errors import FailedPrecondition
from quintain_cli.stack import paths

SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class LocalStack:
    """What `quintain up` wrote down. `processes`: name to (pid, start time), which together name one process for
    ever, because a pid alone is reused. `addresses` by service; `data` is the folder of the databases."""

    processes: dict[str, tuple[int, str]]
    data: str
    addresses: dict[str, str]

    def alive(self) -> dict[str, int]:
        """Pids of the very processes that were started and still run."""
        return {name: pid for name, (pid, start) in self.processes.items() if process_start_time(pid) == start}


def state_file() -> Path:
    return paths.run_dir() / "stack.json"


def process_start_time(pid: int) -> str | None:
    """When the process started, in the kernel's clock ticks since boot; None if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the command before ')' may hold anything
    return None if fields[0] == "Z" else fields[19]


def write(pids: dict[str, int], data: Path, addresses: dict[str, str]) -> None:
    processes = {name: (pid, process_start_time(pid) or "") for name, pid in pids.items()}
    partial = state_file().with_suffix(".partial")
    partial.write_text(json.dumps(asdict(LocalStack(processes, str(data.resolve()), addresses))))
    partial.replace(state_file())


def read() -> LocalStack | None:
    """What the state file says, whether the stack still runs or not. Raises FailedPrecondition if it says nothing."""
    try:
        document = json.loads(state_file().read_text())
        document["processes"] = {name: (int(pid), str(start)) for name, (pid, start) in document["processes"].items()}
        return LocalStack(**document)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise FailedPrecondition(
            f"{state_file()} is not the state of a local stack any more: delete it, after stopping the supervisor "
            "(python -m quintain_cli.stack.supervisor) if it runs"
        ) from None


def running_addresses(data: Path | None) -> dict[str, str]:
    """Addresses of the running local stack; none if it keeps its data elsewhere than in `data`, when that is given."""
    record = read()
    if record is None or SUPERVISOR not in record.alive():
        return {}
    return record.addresses if data is None or str(data.resolve()) == record.data else {}
