"""How long the command line takes, each command in a process of its own and with services of its own.

``python -m benchmarks.cli [--repeats 5]``: wall time (best and median) and processor time of a command and its
services, beside the goal on an idle machine. Modules come from bytecode, as for whoever has run a command before: each
command is run once that is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

POLICY = Path(__file__).parents[1] / "simulators/faas/quintain_faas/baselines/fifo.py"
# Arguments and the goal in seconds; None: measured only.
COMMANDS: list[tuple[list[str], float | None]] = [
    (["--version"], 0.3),
    (["--help"], 0.3),
    (["verify", "--help"], None),
    (["suites"], 0.8),
    (["simulators"], 0.8),
    (["backends"], None),
    (["strategies"], None),
    (["searches"], None),
    (["verify", str(POLICY), "--suite", "smoke"], 1.5),
]


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of one run of a command; `processor` with all the processes that it started."""

    wall: float
    processor: float


def measure(arguments: list[str], folder: str) -> Run:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("QUINTAIN_", "PYTHON"))}
    environment |= {"QUINTAIN_DATA": f"{folder}/data", "QUINTAIN_RUN": f"{folder}/run", "XDG_CONFIG_HOME": folder}
    before, begun = os.times(), time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "quintain_cli.app", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    after, wall = os.times(), time.monotonic() - begun
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(wall, processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(f"{'quintain':<28} {'best s':>7} {'median':>7} {'cpu s':>7} {'goal':>5}   load {os.getloadavg()[0]:.1f}")
    for arguments, goal in COMMANDS:
        runs = []
        for _ in range(1 + repeats):
            with tempfile.TemporaryDirectory() as folder:  # no verdict of the run before
                runs.append(measure(arguments, folder))
        name = " ".join("POLICY" if argument == str(POLICY) else argument for argument in arguments)
        wall = [run.wall for run in runs[1:]]
        cpu = min(run.processor for run in runs[1:])
        print(f"{name:<28} {min(wall):>7.2f} {statistics.median(wall):>7.2f} {cpu:>7.2f} {goal or '':>5}")


if __name__ == "__main__":
    main()
