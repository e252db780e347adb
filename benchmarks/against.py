"""CPU of this checkout against that of another one, measured in turns in one run.

    python -m benchmarks.against CHECKOUT [--turns 3]

CHECKOUT is a working tree of the same repository at another commit (``git worktree add CHECKOUT COMMIT``). CPU is that
of the engine and the guest together (for a verdict, of the service as well), which other work on the machine disturbs
less than the time on the wall. Of the turns the least counts. The decisions of both must be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.parent
CASES = (  # policy, calling mode, traces
    ("fifo (guard)", "", 10),
    ("priority (guard)", "", 10),
    ("priority queue without a guard", "", 5),
    ("fifo (guard)", "every_tick", 2),
    ("priority (guard)", "every_tick", 2),
    ("a jailed run", "", 200),
    ("a verdict of standard", "", 2),
)


def measure(policy: str, calling_mode: str, count: int) -> dict[str, Any]:
    """In the process of one checkout."""
    engine: Any = import_module("benchmarks.engine")  # of the checkout that PYTHONPATH names

    if policy == "a jailed run":
        return {"cpu_seconds": jailed_cpu_seconds(count), "decisions": ""}
    if policy == "a verdict of standard":
        cost: Any = import_module("benchmarks.cost")
        return {"cpu_seconds": cost.suite_cost("standard", count).cpu_seconds, "decisions": ""}
    params = [engine.reference_params(number % 5, 10 + number // 5) for number in range(count)]
    traces = [(p, engine.Workload.generated(p)) for p in params]
    for p, workload in traces:
        workload.batches(p)
    _, cpu, results = engine.measure(engine.policies()[policy], traces, calling_mode, True)
    return {"cpu_seconds": cpu, "decisions": "".join(result.decisions_digest for result in results)}


def jailed_cpu_seconds(runs: int) -> float:
    """Of the policy's process from its fork to its end, for a policy that answers once: the median."""
    sandbox: Any = import_module("benchmarks.sandbox")

    used: list[float] = []
    with sandbox.Jail([], isolation="required") as jail:
        for _ in range(runs):
            with jail.open(sandbox.POLICY, guest_source=sandbox.GUEST, limits=sandbox.LIMITS) as run:
                run.open_policy(None).ask(sandbox.MESSAGE)
            used.append(run.usage.cpu_seconds)
    return statistics.median(used)


def measured_by(checkout: Path, case: tuple[str, str, int]) -> dict[str, Any]:
    roots = (".", "sdk", "simulators/faas", "services/verifier")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(checkout / root) for root in roots)}
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", *map(str, case)]
    ran = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        policy, calling_mode, count = arguments.measure
        print(json.dumps(measure(policy, calling_mode, int(count))))
        return
    if arguments.checkout is None:
        parser.error("name the other checkout")
    other = arguments.checkout.resolve()
    print(f"{'policy':32}{'mode':12}{'traces':>7}{'there, s':>10}{'here, s':>10}{'here/there':>12}")
    for case in CASES:
        pairs = [(measured_by(other, case), measured_by(HERE, case)) for _ in range(arguments.turns)]
        assert all(there["decisions"] == here["decisions"] for there, here in pairs), f"{case} decides differently"
        there, here = (min(pair[side]["cpu_seconds"] for pair in pairs) for side in (0, 1))
        print(f"{case[0]:32}{case[1] or 'chosen':12}{case[2]:7}{there:10.4f}{here:10.4f}{here / there:12.2f}")


if __name__ == "__main__":
    main()
