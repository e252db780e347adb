"""What the controller itself costs: CPU for each candidate, and memory, as a search grows.

    python benchmarks/controller.py --candidates 100 1000 10000

The backend answers at once and the verifier's verdict is arithmetic, both in this process, so what remains is the
controller: strategy, ledger, making the request, events and the store (SQLite, durable writes). Each size is a search
of its own in a fresh process; CPU is user + system of that process from creation to the end of the search.

With BENCH_PEERS=1 OpenEvolve is installed from PyPI into a throw-away environment and does the same toy, 100 and 300
iterations. It is one program: its figure has the building of prompts in it, which here is the generator's work; and it
writes its state every 100 iterations, whereas the controller's figure has every step in it, durably.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from quintain.errors import NotFound
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_controller.adapters.generator import decode_generation, encode_request
from quintain_controller.adapters.store.sql import SqlStore
from quintain_controller.adapters.verifier import decode_verification
from quintain_controller.config import RunnerSettings
from quintain_controller.domain.model import (
    Aggregation,
    BackendProfile,
    Budget,
    Charge,
    Direction,
    Generation,
    GenerationRequest,
    SearchContext,
    SearchSpec,
    ToolUse,
    Verification,
)
from quintain_controller.domain.tools import PolicyRun
from quintain_controller.usecases.async_store import AsyncStore
from quintain_controller.usecases.dependencies import Dependencies
from quintain_controller.usecases.manage import SearchManager
from quintain_controller.usecases.notifier import Notifier
from quintain_controller.usecases.runner import SearchRunner

SCENARIOS = tuple(f"scenario-{index}" for index in range(12))
PADDING = "# a line of a policy of ordinary size\n" * 100  # about 4 kB
PEER = "openevolve==0.4.0"
PEER_ITERATIONS = (100, 300)
GUIDE = "A sentence of the guide to the policy interface. " * 300  # about 15 kB


class InstantGenerator:
    """Moves a number in the parent's source a little."""

    async def backends(self, names: Sequence[str]) -> tuple[BackendProfile, ...]:
        return (BackendProfile("instant", ("full", "diff", "crossover", "repair"), True, 0),)

    def encode(self, context: SearchContext, order: GenerationRequest) -> bytes:
        return encode_request(context, order)

    async def generate(
        self, request: bytes, spent: Callable[[Charge], None], uses: Sequence[ToolUse] = ()
    ) -> Generation:
        message = generator_pb2.GenerateRequest.FromString(request)
        x = number(message.task.parents[0].source) + random.Random(message.task.seed).gauss(0.0, 0.05)
        return decode_generation(
            generator_pb2.Generation(
                request_id=message.request_id,
                outcome=generator_pb2.OUTCOME_OK,
                source=f"x = {min(1.0, max(0.0, x))!r}\n{PADDING}",
            )
        )

    async def give_up(self, request_id: str) -> Generation:
        raise NotFound(request_id)


class TrivialVerifier:
    """The score is the number itself."""

    async def context(
        self,
        simulator: str,
        suite: str,
        objective: str,
        backends: tuple[BackendProfile, ...],
        suite_files: bytes = b"",
        hints: bool = False,
        further_objectives: Sequence[str] = (),
    ) -> tuple[str, SearchContext]:
        return "o", SearchContext(
            simulator=type_pb2.SimulatorDescription(name=simulator, policy_guide=GUIDE).SerializeToString(),
            objective=b"",
            simulator_build="",
            suite_description="",
            direction=Direction.MAXIMIZE,
            aggregation=Aggregation.MEAN_NORMALIZED,
            train=SCENARIOS,
            held_out=(),
            descriptors=(("x", tuple(i / 50 for i in range(1, 50))),),
            backends=backends,
            default_policy="x = 0.0\n",
        )

    async def verify(
        self,
        spec: SearchSpec,
        source: str,
        parts: Sequence[str],
        *,
        check_determinism: bool = False,
        confirm: bool = False,
        ignore_cache: bool = False,
        scenarios: Sequence[str] = (),
        stop_below: float | None = None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Verification:
        x = number(source)
        verdict = verifier_pb2.Verdict(
            digest=f"{x!r}",
            status=verifier_pb2.VERDICT_STATUS_OK,
            behavior_digest=f"{x!r}",
            train=verifier_pb2.PartScore(score=x, normalized=x, bound_score=1.0, scenarios=len(SCENARIOS)),
            determinism_checked=check_determinism,
            confirmed=confirm,
        )
        for index, name in enumerate(SCENARIOS):
            value = x * (1.0 - index / 100)
            verdict.scenarios.add(
                scenario=name,
                part=type_pb2.PART_TRAIN,
                value=value,
                normalized=value,
                metrics=[type_pb2.Metric(name=metric, value=x) for metric in ("x", "y", "z")],
            )
        feedback = verifier_pb2.Feedback(text="A line of feedback.\n" * 50)
        return decode_verification(verifier_pb2.VerifyResult(verdict=verdict, feedback=feedback))

    async def run(
        self, spec: SearchSpec, source: str, scenarios: Sequence[str], *, detail: bool, ignore_cache: bool = False
    ) -> PolicyRun:
        raise NotImplementedError  # no backend here calls tools

    def decode(self, record: bytes) -> Verification:
        return decode_verification(verifier_pb2.VerifyResult.FromString(record))


def number(source: str) -> float:
    return float(source.split("\n", 1)[0].removeprefix("x = "))


async def search(candidates: int, strategy: str, url: str) -> None:
    store, notifier, settings = AsyncStore(SqlStore(url)), Notifier(), RunnerSettings()
    generator, verifier = InstantGenerator(), TrivialVerifier()
    dependencies = Dependencies(
        store, generator, verifier, notifier, settings, asyncio.Semaphore(16), asyncio.Semaphore(16)
    )
    runner = SearchRunner(dependencies, "benchmark")
    runner.start()
    manager = SearchManager(store, generator, verifier, runner.on_search_changed)
    record = await manager.create("benchmark", "digest", spec(candidates, strategy))
    needs_owner = True
    while needs_owner:
        await asyncio.sleep(0.05)
        ((_, needs_owner),) = (await store(store.blocking.positions, [record.search_id])).values()
    await runner.close()
    store.close()


def spec(candidates: int, strategy: str) -> SearchSpec:
    return SearchSpec(
        simulator="benchmark",
        suite="benchmark",
        objective="",
        strategy=strategy,
        strategy_options={},
        backends=(),
        budget=Budget(candidates=candidates),
        seed=1,
        seed_policies=(),
        parallel_generations=4,
        parallel_verifications=4,
        window=0,
    )


def measure(candidates: int, strategy: str) -> dict[str, float]:
    """In this process; the figures of a search minus what it takes to start Python and open the store."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder)}/store.db"
        SqlStore(url).close()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cpu, wall = time.process_time(), time.monotonic()
        asyncio.run(search(candidates, strategy, url))
        return {
            "candidates": candidates,
            "cpu_ms": 1000.0 * (time.process_time() - cpu) / candidates,
            "wall_ms": 1000.0 * (time.monotonic() - wall) / candidates,
            "memory_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024,
            "store_kb": sum(p.stat().st_size for p in Path(folder).iterdir()) / 1024 / candidates,
        }


def in_fresh_process(candidates: int, strategy: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--here", "--strategy", strategy, "--candidates", str(candidates)]
    (row,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return dict(row)


def compare_with_peer(strategy: str) -> None:
    """Both on the same machine, one after the other."""
    print(f"\n| iterations | quintain, CPU each | {PEER}, CPU each | ratio |\n| --- | --- | --- | --- |")
    script = Path(__file__).with_name("openevolve_peer.py")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PEER], check=True)
        for count in PEER_ITERATIONS:
            own = in_fresh_process(count, strategy)["cpu_ms"]
            run = subprocess.run([python, script, str(count)], check=True, capture_output=True, text=True)
            peer = json.loads(run.stdout)["cpu_ms"]
            print(f"| {count} | {own:.2f} ms | {peer:.2f} ms | {peer / own:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--strategy", default="evolve")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    args = parser.parse_args()
    if args.here:
        print(json.dumps([measure(count, args.strategy) for count in args.candidates]))
        return
    rows = []
    print("| candidates | CPU each | wall each | memory grown | store each |\n| --- | --- | --- | --- | --- |")
    for count in args.candidates:
        row = in_fresh_process(count, args.strategy)
        rows.append(row)
        print(
            f"| {count} | {row['cpu_ms']:.2f} ms | {row['wall_ms']:.1f} ms | {row['memory_mb']:.1f} MB "
            f"| {row['store_kb']:.1f} kB |",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    if os.environ.get("BENCH_PEERS") == "1":
        compare_with_peer(args.strategy)


if __name__ == "__main__":
    main()
