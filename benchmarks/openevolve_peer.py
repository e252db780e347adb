"""What OpenEvolve itself costs; run by `benchmarks/controller.py` with BENCH_PEERS=1 in an environment of its own.

    python benchmarks/openevolve_peer.py 100

The same toy as for the controller: policies of 4 kB, an instant model and an instant evaluator, both in its own
processes (no HTTP), four at a time, whole answers instead of diffs. Everything else is OpenEvolve's default, but it
logs errors only. CPU is user + system of this process and its workers, without the start of Python and the imports.
"""

from __future__ import annotations

import json
import random
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from openevolve.api import run_evolution
from openevolve.config import Config, LLMModelConfig
from openevolve.llm.base import LLMInterface

PADDING = "# a line of a policy of ordinary size\n" * 100
EVALUATOR = """
def evaluate(path):
    with open({count!r}, "a") as file:
        file.write(".")
    with open(path) as file:
        return {{"combined_score": float(file.readline().removeprefix("x = "))}}
"""


def policy(x: float) -> str:
    return f"x = {x!r}\n# EVOLVE-BLOCK-START\n{PADDING}# EVOLVE-BLOCK-END\n"


class InstantModel(LLMInterface):  # type: ignore[misc]  # installed by the benchmark alone
    """Moves the first number of the prompt a little."""

    def __init__(self) -> None:
        self.model = "instant"  # read by the ensemble

    async def generate(self, prompt: str, **options: Any) -> str:
        return await self.generate_with_context("", [{"role": "user", "content": prompt}], **options)

    async def generate_with_context(self, system_message: str, messages: list[dict[str, str]], **options: Any) -> str:
        found = re.search(r"x = ([-0-9.e]+)", messages[0]["content"])
        x = (float(found[1]) if found else 0.0) + random.gauss(0.0, 0.05)
        return f"```python\n{policy(x)}```"


def instant_model(_settings: LLMModelConfig) -> LLMInterface:
    return InstantModel()


def cpu_seconds() -> float:
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def measure(iterations: int) -> dict[str, float]:
    """The figures of one run. Raises ValueError if iterations came to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        evaluator, count = Path(folder) / "evaluator.py", Path(folder) / "count"
        evaluator.write_text(EVALUATOR.format(count=str(count)))
        config = Config(log_level="ERROR", language="python", diff_based_evolution=False)
        config.llm.models = [LLMModelConfig(name="instant", init_client=instant_model, max_tokens=4096)]
        config.evaluator.parallel_evaluations = 4
        config.evaluator.cascade_evaluation = False
        cpu, wall = cpu_seconds(), time.monotonic()
        result = run_evolution(policy(0.0), evaluator, config, iterations=iterations, output_dir=f"{folder}/out")
        cpu, wall = cpu_seconds() - cpu, time.monotonic() - wall
        evaluations = count.stat().st_size
        if evaluations != iterations + 1 or result.best_score <= 0.0:
            raise ValueError(f"{evaluations} evaluations in {iterations} iterations, best score {result.best_score}")
        return {"iterations": iterations, "cpu_ms": 1000.0 * cpu / iterations, "wall_ms": 1000.0 * wall / iterations}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
