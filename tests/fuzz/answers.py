"""A guest that lies: answers and questions spoilt at random. The engine must call it a failure, or run on; never break.

python -m tests.fuzz.answers --cases 1000 --seed 1
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from tests.unit.faas_engine.cases import make_case

from quintain.plugins.inprocess import InProcessPolicy
from quintain_faas import Workload, guest
from quintain_faas.run import RunResult, run

JUNK: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 7, 2**63, -(2**63), 10**30, 0.5, 1e308, 5e-324, float("nan"), float("inf"), "", "c1",
    "x" * 500, [], {}, [[]], [0], [0, 0], [0.0, 0], ["c1", 0], [1, 0], [1, -1], [1, 99], {"tick": 0}, [[0], 1, 1, 1, 0],
    [[0], float("nan"), 1, 1, 0], [[0] * 50, 1, 1, 1, 0], [[1.5], 1, 1, 1, 0], [[True], 1, 1, 1, 0],
    [[0], True, 1, 1, 0], [[0], 1, 1, True, 0], [[0], 1, 1, 1, False],
)  # fmt: skip
ANSWER_KEYS = ("tick", "suspensions", "assignments", "sleep", "malformed")


def spoil(random: Random, value: Any) -> Any:
    if random.random() < 0.5 or not isinstance(value, dict | list) or not value:
        return random.choice(JUNK)
    if isinstance(value, dict):
        key = random.choice([*value, *ANSWER_KEYS])
        return value | {key: spoil(random, value.get(key))}
    position = random.randrange(len(value))
    return [*value[:position], spoil(random, value[position]), *value[position + 1 :]]


class Liar:
    """An honest guest whose messages are spoilt now and then."""

    def __init__(self, honest: InProcessPolicy, random: Random) -> None:
        self.info = honest.info
        self._honest = honest
        self._random = random
        self._rate = random.choice([0.02, 0.2, 1.0])

    def ask(self, message: Any, on_query: Callable[[Any], Any] | None = None) -> Any:
        random, tick = self._random, message["tick"]
        if random.random() >= self._rate:
            return self._honest.ask(message, on_query)
        assert on_query is not None
        for _ in range(random.randrange(3)):
            question = random.choice([{"memory": 0, "tick": tick}, {"container": 1, "tick": tick}, {"raised_at": tick}])
            on_query(spoil(random, question) if random.random() < 0.5 else question)
        plausible = {"tick": tick, "suspensions": [[1, 0]], "assignments": [[[0], 1, 1, 1, 0]]}
        return spoil(random, plausible if random.random() < 0.5 else self._honest.ask(message, on_query))


def run_with_a_liar(seed: int) -> RunResult:
    random = Random(seed)
    case = make_case(random)

    def open_policy(setup: Any) -> Liar:
        return Liar(InProcessPolicy(guest.load, case.policy, setup), random)

    return run(case.params, Workload.from_trace_text(case.trace, strict=False), open_policy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case; the next ones count up")
    arguments = parser.parse_args()
    ends: Counter[str] = Counter()
    for seed in range(arguments.seed, arguments.seed + arguments.cases):
        try:
            failure = run_with_a_liar(seed).failure
        except Exception:
            print(f"seed {seed} breaks the engine")
            raise
        ends[failure.rule or failure.kind.value if failure else "ran to the end"] += 1
    print(f"{arguments.cases} runs: " + ", ".join(f"{end} {count}" for end, count in ends.most_common()))


if __name__ == "__main__":
    main()
