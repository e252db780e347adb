"""Compare the engine with the oracle on as many random cases as wanted.

python -m tests.fuzz.engine --cases 1000 --seed 1
"""

from __future__ import annotations

import argparse
import time
from random import Random

from tests.unit.faas_engine.cases import STYLES, check, make_case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case; the next ones count up")
    arguments = parser.parse_args()
    started = time.perf_counter()
    totals: dict[str, int] = dict.fromkeys(STYLES, 0)
    for seed in range(arguments.seed, arguments.seed + arguments.cases):
        case = make_case(Random(seed))
        totals[case.style] += 1
        try:
            counts = check(case)
        except Exception:
            print(f"seed {seed} differs: {case.params}\n{case.trace}\n{case.policy}")
            raise
        for name, count in counts.items():
            totals[name] = totals.get(name, 0) + count
    summary = ", ".join(f"{name} {count}" for name, count in totals.items())
    print(f"{arguments.cases} cases equal in {time.perf_counter() - started:.0f} s: {summary}")


if __name__ == "__main__":
    main()
