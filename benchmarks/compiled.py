"""What a compiled engine would buy: ``python -m benchmarks.compiled``. Needs a C compiler.

The engine's modules, compiled by mypyc in a copy, against the same modules as they are: CPU of engine and guest in one
process on a suite's scenarios, in turns. The decisions and metrics of both must be the same to the last bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.parent
PACKAGE = HERE / "simulators" / "faas" / "quintain_faas"


def measure(policy: str, suite: str) -> dict[str, Any]:
    """In a process of its own, with the engine that PYTHONPATH names."""
    from quintain.plugins.inprocess import in_process
    from quintain.plugins.simulator import RunOptions
    from quintain_faas.plugin import simulator

    source = next(b.source for b in simulator.describe().baselines if b.name == policy)
    scenarios = [simulator.scenario(entry.scenario) for entry in simulator.suite(suite).entries]
    sha = hashlib.sha256()
    for scenario in scenarios:  # once before the clock runs: scenarios keep what they were asked for
        outcome = simulator.run(scenario, in_process(simulator, source), RunOptions())
        sha.update(repr((outcome.decisions_digest, sorted(outcome.metrics.items()))).encode())
    begin = time.process_time()
    for scenario in scenarios:
        simulator.run(scenario, in_process(simulator, source), RunOptions())
    return {"cpu_seconds": time.process_time() - begin, "outcomes": sha.hexdigest()}


def measured(folder: Path, policy: str, suite: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{HERE}"}
    command = [sys.executable, "-m", "benchmarks.compiled", "--measure", "--policy", policy, "--suite", suite]
    answer = subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def compiled(folder: Path) -> None:
    """A copy of the package in `folder`, its engine compiled."""
    shutil.copytree(PACKAGE, folder / PACKAGE.name)
    shutil.copytree(HERE / "sdk" / "quintain", folder / "quintain")
    modules = sorted(str(file.relative_to(folder)) for file in (folder / PACKAGE.name / "engine").glob("*.py"))
    mypyc = Path(sys.executable).with_name("mypyc")
    subprocess.run([mypyc, "--ignore-missing-imports", *modules], cwd=folder, check=True, capture_output=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="priority", help="a baseline")
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.policy, options.suite)))
        return 0
    with tempfile.TemporaryDirectory(prefix="quintain-compiled-") as name:
        folder = Path(name)
        compiled(folder)
        turns = [
            (measured(PACKAGE.parent, options.policy, options.suite), measured(folder, options.policy, options.suite))
            for _ in range(options.turns)
        ]
    if len({side["outcomes"] for turn in turns for side in turn}) != 1:
        print("the compiled engine does not decide the same", file=sys.stderr)
        return 1
    plain, fast = (min(turn[side]["cpu_seconds"] for turn in turns) for side in (0, 1))
    print(
        f"{options.policy} on {options.suite}, CPU of engine and guest in one process, the least of {options.turns}:"
        f" {plain:.2f} s as it is, {fast:.2f} s with a compiled engine, ratio {fast / plain:.2f}; the same outcomes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
