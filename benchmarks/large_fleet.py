"""A fleet that this machine does not have, reckoned from what is measured here: ``python -m benchmarks.large_fleet``.

What a verdict, a candidate and a connection cost is measured on real processes (`benchmarks.cost`, and connections to a
verifier). From that follows how busy each part is with so many verifiers, controllers and verdicts a day, and how many
verdicts a day it would take to fill it. How calls find a free worker is simulated: round robin, five attempts, then a
queue, as in docs/adr/0011. Nothing here was measured on a fleet.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import os
import random
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

import grpc
from benchmarks.cost import DAY_SECONDS, UTILISATION, SearchCost, SuiteCost, search_cost, suite_cost
from benchmarks.fleet import Fleet, cpu_seconds
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quintain.wire.balancing import ATTEMPTS

CONNECTION_AGE_SECONDS = 3.0  # `server.max_connection_age_seconds`: then a client connects anew, and asks for the name
RESOLUTION_SECONDS = 1.0  # a client asks for a name at most so often
A_RECORD_BYTES, UDP_BYTES = 16, 1232
FSYNCS_A_SECOND = 170.0  # of the disk here; commits that come together share one


@dataclass(frozen=True, slots=True)
class ConnectionCost:
    """CPU seconds of one connection, made and closed, on each side."""

    client: float
    server: float


@dataclass(frozen=True, slots=True)
class Load:
    """Of one part. `full_at`: verdicts a day at which it is at the autoscaler's utilisation, None: that is not what
    fills it."""

    part: str
    busy: float
    full_at: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """How calls found workers. Shares of the calls; waits in mean service times."""

    utilisation: float
    attempts: float
    queued: float
    mean_wait: float
    p99_wait: float


def connection_cost(connections: int) -> ConnectionCost:
    with Fleet() as fleet:
        fleet.start(1)
        server = fleet.replicas[0]
        own, other = cpu_seconds(os.getpid()), cpu_seconds(server.pid)
        for _ in range(connections):
            with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
        own, other = cpu_seconds(os.getpid()) - own, cpu_seconds(server.pid) - other
    return ConnectionCost(own / connections, other / connections)


def loads(
    verifiers: int, controllers: int, day: float, suite: SuiteCost, search: SearchCost, connection: ConnectionCost
) -> list[Load]:
    """Each part's share of what it has. A controller's loop and a verifier's service have one core each."""
    rate = day / DAY_SECONDS

    def part(name: str, busy: float, note: str, *, with_verdicts: bool = True) -> Load:
        return Load(name, busy, day * UTILISATION / busy if with_verdicts else None, note)

    reconnects = verifiers / CONNECTION_AGE_SECONDS
    answer = A_RECORD_BYTES * verifiers
    return [
        part("verifiers' workers", rate * suite.cpu_seconds / verifiers, f"{suite.cpu_seconds:.2f} CPU s a verdict"),
        part(
            "a controller's loop, candidates",
            rate / controllers * search.controller_cpu_seconds,
            f"{1000 * search.controller_cpu_seconds:.1f} ms a candidate",
        ),
        part(
            "a controller's loop, connections",
            reconnects * connection.client,
            f"{reconnects:.0f} a second to {verifiers} verifiers, {1000 * connection.client:.1f} ms each",
            with_verdicts=False,
        ),
        part(
            "a verifier's service, connections",
            controllers / CONNECTION_AGE_SECONDS * connection.server,
            f"{controllers / CONNECTION_AGE_SECONDS:.0f} a second, {1000 * connection.server:.1f} ms each",
            with_verdicts=False,
        ),
        part(
            "database, one write on disk at a time",
            rate * search.wal_syncs / FSYNCS_A_SECOND,
            f"{search.wal_syncs:.1f} a candidate, {rate * search.wal_syncs:.0f} a second;"
            f" {search.commits:.1f} transactions a candidate, reads too",
        ),
        part(
            "name service, answers",
            controllers / RESOLUTION_SECONDS * answer / 1e6,
            f"MB a second; an answer has {answer} bytes"
            + (", more than a datagram: asked for again by TCP" if answer > UDP_BYTES else ""),
            with_verdicts=False,
        ),
    ]


def spread(verifiers: int, utilisation: float, calls: int, seed: int = 0) -> Spread:
    """Poisson arrivals at verifiers with one worker; runs are exponential with mean 1. A call begins anywhere and goes
    round; the last one asked queues it, first come first served."""
    draw = random.Random(seed)
    queues: list[deque[float]] = [deque() for _ in range(verifiers)]
    busy = [False] * verifiers
    ends: list[tuple[float, int, int]] = []
    serial = itertools.count()
    waits: list[float] = []
    attempts = queued = 0
    now = 0.0

    def start(verifier: int, time: float, arrived: float) -> None:
        busy[verifier] = True
        waits.append(time - arrived)
        heapq.heappush(ends, (time + draw.expovariate(1.0), next(serial), verifier))

    for _ in range(calls):
        now += draw.expovariate(utilisation * verifiers)
        while ends and ends[0][0] <= now:
            end, _, verifier = heapq.heappop(ends)
            busy[verifier] = False
            if queues[verifier]:
                start(verifier, end, queues[verifier].popleft())
        first = draw.randrange(verifiers)
        for attempt in range(ATTEMPTS):
            attempts += 1
            verifier = (first + attempt) % verifiers
            if not busy[verifier]:
                start(verifier, now, now)
                break
        else:
            queued += 1
            queues[verifier].append(now)
    waits.sort()
    return Spread(utilisation, attempts / calls, queued / calls, sum(waits) / len(waits), waits[int(0.99 * len(waits))])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verifiers", type=int, default=1000)
    parser.add_argument("--controllers", type=int, default=50)
    parser.add_argument("--verdicts-a-day", type=float, default=10e6)
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--calls", type=int, default=200_000, help="that are simulated at each utilisation")
    options = parser.parse_args()
    connection, suite, search = connection_cost(300), suite_cost(options.suite, 5), search_cost(60)
    verifiers, controllers, day = options.verifiers, options.controllers, options.verdicts_a_day
    print(f"{verifiers} verifiers, {controllers} controllers, {day:,.0f} verdicts a day")
    for load in loads(verifiers, controllers, day, suite, search, connection):
        full = f"full at {load.full_at:12,.0f} a day" if load.full_at is not None else " " * 26
        print(f"  {load.part:<34} {load.busy:8.3f}  {full}  {load.note}")
    print(f"how calls find one of {verifiers} workers (simulated; waits in mean runs)")
    for utilisation in (0.3, 0.5, 0.7, 0.8, 0.9):
        found = spread(verifiers, utilisation, options.calls)
        print(
            f"  {found.utilisation:.0%} busy: {found.attempts:.2f} attempts, {found.queued:.1%} queued,"
            f" mean wait {found.mean_wait:.3f}, p99 {found.p99_wait:.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
