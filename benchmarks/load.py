"""Verifier replicas under load: even shares, a neighbour's loops, a new replica, kill -9, a rolling restart.

``make load``, ``--json``.

Real processes on loopback, found by DNS (a name server of our own) and balanced by the sdk's client, as behind a
headless service. Every verification is a new request (another seed), so that no cache answers; every verdict is
compared with the first.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.fleet import Fleet, cpu_seconds, memory_bytes

from quintain.clients.channel import ClientSettings
from quintain.clients.verifier import AsyncVerifier
from quintain.errors import QuintainError
from quintain.verifier.v1 import verifier_pb2 as pb

SCENARIO = "smoke_deadline"
REPLICAS = (1, 2, 4)
IN_FLIGHT_FOR_EACH = 3  # a worker is busy, and somebody waits
NEW_REPLICA_SECONDS = 5.0
TIMEOUT_SECONDS = 300.0
SEARCH_WINDOW = 8  # verifications that a controller has in flight
# It blocks and burns no CPU: on this machine the replicas share the cores, on a cluster they do not.
NEIGHBOUR = """\
import _thread
from eudoxia.scheduler.decorators import register_scheduler, register_scheduler_init

@register_scheduler_init(key="neighbour")
def init(s):
    pass

@register_scheduler(key="neighbour")
def step(s, failures, pipelines):
    lock = _thread.allocate_lock()
    lock.acquire()
    lock.acquire()
"""


@dataclass(slots=True)
class Load:
    """Verifications as fast as the replicas answer, `in_flight` at a time, over one channel."""

    client: AsyncVerifier
    source: str
    seeds: Iterator[int]
    decisions: str = ""  # of the first verdict; every other must be equal
    done: int = 0
    problems: list[str] = field(default_factory=list)

    async def one(self) -> None:
        seed = next(self.seeds)
        request = pb.VerifyRequest(simulator="faas", scenarios=[SCENARIO], seed=seed)
        request.policy.source = self.source
        try:
            verdict = (await self.client.verify(request)).verdict
        except QuintainError as error:
            self.problems.append(f"seed {seed}: lost: {error}")
            return
        decisions = verdict.scenarios[0].decisions_digest
        self.decisions = self.decisions or decisions
        if verdict.status != pb.VERDICT_STATUS_OK or decisions != self.decisions:
            self.problems.append(f"seed {seed}: wrong: {pb.VerdictStatus.Name(verdict.status)}")
        self.done += 1

    async def count(self, verifications: int, in_flight: int) -> float:
        """So many verifications; returns seconds."""
        left = iter(range(verifications))

        async def take_turns() -> None:
            for _ in left:
                await self.one()

        begin = time.monotonic()
        await asyncio.gather(*(take_turns() for _ in range(in_flight)))
        return time.monotonic() - begin

    @asynccontextmanager
    async def running(self, in_flight: int) -> AsyncIterator[None]:
        """Load for as long as the block runs; then what is in flight is waited for."""
        stopping = asyncio.Event()

        async def go_on() -> None:
            while not stopping.is_set():
                await self.one()

        tasks = [asyncio.create_task(go_on()) for _ in range(in_flight)]
        try:
            yield
        finally:
            stopping.set()
            await asyncio.gather(*tasks)

    async def progresses(self, more: int) -> None:
        """Wait until `more` verifications have ended."""
        await until(lambda target=self.done + more: self.done >= target or bool(self.problems))  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `shares`: verifications of each replica."""

    what: str
    replicas: int
    verifications: int
    seconds: float
    shares: tuple[int, ...] = ()
    cpu_seconds_per_verification: float | None = None
    memory_mib_per_replica: float | None = None
    note: str = ""


async def until(condition: Callable[[], bool], seconds: float = TIMEOUT_SECONDS) -> float:
    """Poll; returns how long it took. Raises TimeoutError."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise TimeoutError(f"not within {seconds} s")
        await asyncio.sleep(0.02)
    return time.monotonic() - begin


@asynccontextmanager
async def loaded(fleet: Fleet, seeds: Iterator[int]) -> AsyncIterator[Load]:
    settings = ClientSettings(address=fleet.target, timeout_seconds=TIMEOUT_SECONDS)
    async with AsyncVerifier(settings) as client:
        described = await client.get_simulator(pb.GetSimulatorRequest(name="faas"))
        source = next(b.source for b in described.simulator.baselines if b.name == "fifo")
        load = Load(client, source, seeds)
        await load.count(2 * len(fleet.replicas), 2)  # references are computed, channels connected
        yield load


async def even_shares(replicas: int, verifications: int, seeds: Iterator[int]) -> tuple[Row, list[str]]:
    with Fleet() as fleet:
        fleet.start(replicas)
        async with loaded(fleet, seeds) as load:
            before = [replica.runs() for replica in fleet.replicas]
            cpu = sum(cpu_seconds(replica.pid) for replica in fleet.replicas)
            seconds = await load.count(verifications, IN_FLIGHT_FOR_EACH * replicas)
            shares = tuple(r.runs() - b for r, b in zip(fleet.replicas, before, strict=True))
            cpu = sum(cpu_seconds(replica.pid) for replica in fleet.replicas) - cpu
            memory = sum(memory_bytes(replica.pid) for replica in fleet.replicas) / replicas / 2**20
    row = Row("even shares", replicas, verifications, seconds, shares, cpu / verifications, memory)
    problems = load.problems
    if max(shares) - min(shares) > 0.2 * verifications / replicas:
        problems.append(f"shares are uneven: {shares}")
    return row, problems


async def looping_neighbour(verifications: int, seeds: Iterator[int]) -> tuple[Row, list[str]]:
    """Four replicas, one of them with two policies of somebody else that do not end, against three that are free."""
    with Fleet() as fleet:
        fleet.start(4)
        held, *free = fleet.replicas
        async with loaded(fleet, seeds) as load:
            fleet.publish(*free)
            async with loaded(fleet, seeds) as alone:
                three = await alone.count(verifications, SEARCH_WINDOW)
            fleet.publish(*fleet.replicas)
            async with AsyncVerifier(
                ClientSettings(address=held.address, timeout_seconds=TIMEOUT_SECONDS)
            ) as neighbour:
                loops = [asyncio.create_task(hold(neighbour, number)) for number in range(2)]
                await until(lambda: held.gauge("quintain_verifier_queue_depth_requests") == 1)
                seconds = await load.count(verifications, SEARCH_WINDOW)
                problems = ["the neighbour's loops ended too early"] if any(loop.done() for loop in loops) else []
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
    share = three / seconds
    note = f"{share:.0%} of three free replicas' {verifications / three:.1f}/s"
    problems += [*load.problems, *alone.problems]
    if share < 0.9:
        problems.append(f"the neighbour's loops cost more than a tenth: {note}")
    return Row("looping neighbour", 4, verifications, seconds, note=note), problems


async def hold(client: AsyncVerifier, number: int) -> None:
    """Verify a policy that never answers: until it has waited as long for one answer as the verifier allows."""
    request = pb.VerifyRequest(simulator="faas", scenarios=[SCENARIO], seed=number)
    request.policy.source = NEIGHBOUR
    await client.verify(request)


async def new_replica(seeds: Iterator[int]) -> tuple[Row, list[str]]:
    with Fleet() as fleet:
        fleet.start(2)
        async with loaded(fleet, seeds) as load:
            begin = time.monotonic()
            async with load.running(2 * IN_FLIGHT_FOR_EACH):
                added = fleet.launch()
                await asyncio.to_thread(added.wait_serving)
                fleet.publish(*fleet.replicas)
                took = await until(lambda: added.runs() > 0)
            row = Row("new replica", 3, load.done, time.monotonic() - begin, note=f"gets work after {took:.1f} s")
    if took > NEW_REPLICA_SECONDS:
        load.problems.append(f"the new replica got work after {took:.1f} s; allowed are {NEW_REPLICA_SECONDS:.0f}")
    return row, load.problems


async def kill_9(seeds: Iterator[int]) -> tuple[Row, list[str]]:
    with Fleet() as fleet:
        fleet.start(3)
        async with loaded(fleet, seeds) as load:
            begin = time.monotonic()
            async with load.running(3 * IN_FLIGHT_FOR_EACH):
                await load.progresses(6)
                fleet.kill(fleet.replicas[0])
                await load.progresses(20)
            row = Row("kill -9", 3, load.done, time.monotonic() - begin, note="one of three killed in mid-run")
    return row, load.problems


async def rolling_restart(seeds: Iterator[int]) -> tuple[Row, list[str]]:
    with Fleet() as fleet:
        fleet.start(2)
        async with loaded(fleet, seeds) as load:
            begin = time.monotonic()
            async with load.running(2 * IN_FLIGHT_FOR_EACH):
                for old in tuple(fleet.replicas):
                    fresh = fleet.launch()
                    await asyncio.to_thread(fresh.wait_serving)
                    fleet.publish(*fleet.replicas)
                    await asyncio.to_thread(fleet.retire, old)
                    await load.progresses(6)
            row = Row("rolling restart", 2, load.done, time.monotonic() - begin, note="both replaced, one by one")
    return row, load.problems


async def run(verifications: int) -> tuple[list[Row], list[str]]:
    seeds = itertools.count(1)
    parts: list[Coroutine[Any, Any, tuple[Row, list[str]]]] = [
        *(even_shares(replicas, verifications, seeds) for replicas in REPLICAS),
        looping_neighbour(verifications, seeds),
        new_replica(seeds),
        kill_9(seeds),
        rolling_restart(seeds),
    ]
    rows, problems = [], []
    for part in parts:
        row, found = await part
        rows.append(row)
        problems += [f"{row.what}, {row.replicas} replicas: {problem}" for problem in found]
        print(line(row), file=sys.stderr, flush=True)
    return rows, problems


def line(row: Row) -> str:
    cost = row.cpu_seconds_per_verification
    cpu = f"{cost:.3f} CPU s each, {row.memory_mib_per_replica:.0f} MiB a replica" if cost is not None else row.note
    shares = f"shares {'/'.join(map(str, row.shares))}, " if row.shares else ""
    rate = row.verifications / row.seconds
    return f"{row.what:<17} {row.replicas} replicas {row.verifications:>5} verdicts {rate:>6.1f}/s   {shares}{cpu}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verifications", type=int, default=200, help="for each number of replicas")
    parser.add_argument("--json", action="store_true", help="the rows as one JSON document on standard output")
    options = parser.parse_args()
    rows, problems = asyncio.run(run(options.verifications))
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "problems": problems}, indent=1))
    for problem in problems:
        print(problem, file=sys.stderr)
    print("nothing was lost, nothing was wrong" if not problems else f"{len(problems)} problems", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
