"""How fast is the verifier? Throughput with one and two workers, and the latency of Verify under 16 clients.

    python -m benchmarks.verifier --requests 200 --clients 16

Every request is a policy of its own (a baseline with a comment), on the scenarios of a suite, over gRPC between real
processes in strict isolation. "Cached" repeats requests that were answered before.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.verifier import request, running_verifier

from quintain.clients.verifier import Verifier
from quintain.verifier.v1 import verifier_pb2 as pb

SIMULATOR, SUITE = "faas", "smoke"


@dataclass(frozen=True, slots=True)
class Measured:
    per_second: float
    p50_ms: float
    p99_ms: float

    def __str__(self) -> str:
        return f"{self.per_second:7.1f} verdicts/s   p50 {self.p50_ms:7.1f} ms   p99 {self.p99_ms:7.1f} ms"


def measure(client: Verifier, requests: int, clients: int, make: Callable[[int], pb.VerifyRequest]) -> Measured:
    latencies: list[float] = []
    lock = threading.Lock()

    def one(number: int) -> None:
        began = time.perf_counter()
        verdict = client.verify(make(number)).verdict
        took = time.perf_counter() - began
        assert verdict.status == pb.VERDICT_STATUS_OK, verdict.failure
        with lock:
            latencies.append(took)

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(requests)))
    took = time.perf_counter() - began
    percentiles = statistics.quantiles(latencies, n=100)
    return Measured(requests / took, 1000 * percentiles[49], 1000 * percentiles[98])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    by_workers: dict[int, Measured] = {}
    for workers in (1, 2):
        config = f'workers = {workers}\nsimulators = ["{SIMULATOR}"]\n'
        with (
            tempfile.TemporaryDirectory() as folder,
            running_verifier(Path(folder), config) as running,
            running.client() as client,
        ):
            described = client.get_simulator(pb.GetSimulatorRequest(name=SIMULATOR)).simulator
            source = described.baselines[-1].source

            def fresh(number: int, source: str = source) -> pb.VerifyRequest:
                return request(f"{source}\n# {number}\n", simulator=SIMULATOR, suite=SUITE)

            measure(client, 8, 4, lambda number: fresh(-1 - number))  # baselines and imports are warm from here on
            by_workers[workers] = measure(client, options.requests, options.clients, fresh)
            print(f"{workers} worker(s), {options.clients} clients, suite {SUITE}: {by_workers[workers]}")
            if workers == 2:
                cached = measure(client, options.requests, options.clients, fresh)
                print(f"the same requests, cached:                 {cached}")
    ratio = by_workers[2].per_second / by_workers[1].per_second
    print(f"two workers against one: {ratio:.2f} x")


if __name__ == "__main__":
    main()
