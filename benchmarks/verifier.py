"""How fast is the verifier? Throughput with one and two workers, and the latency of Verify under 16 clients.

    python -m benchmarks.verifier --requests 200 --clients 16

Every request is a policy of its own (a baseline with a comment), on the scenarios of a suite, over gRPC between real
processes in strict isolation. "Cached" repeats requests that were answered before. The processor time of a verdict is
told by who uses it: where two workers have two cores, client and service take theirs from them, and two workers can be
at most 2 W / (W + rest) times as fast as one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fleet import cpu_seconds
from tests.support.verifier import RunningVerifier, request, running_verifier

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


@dataclass(frozen=True, slots=True)
class Processor:
    """Seconds used so far: by this process, by the service's own, and by its workers with their policies."""

    client: float
    service: float
    workers: float

    @classmethod
    def used(cls, running: RunningVerifier) -> Processor:
        fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
        service = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
        return cls(time.process_time(), service, cpu_seconds(running.process.pid) - service)

    def since(self, before: Processor, verdicts: int) -> str:
        spent = (self.client - before.client, self.service - before.service, self.workers - before.workers)
        client, service, workers = (1000 * seconds / verdicts for seconds in spent)
        return (
            f"processor time of a verdict: client {client:.1f} ms, service {service:.1f} ms, worker and policy "
            f"{workers:.1f} ms; two workers on two cores at most {2 * workers / (workers + client + service):.2f} x"
        )


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
            before = Processor.used(running)
            by_workers[workers] = measure(client, options.requests, options.clients, fresh)
            spent = Processor.used(running).since(before, options.requests)
            print(f"{workers} worker(s), {options.clients} clients, suite {SUITE}: {by_workers[workers]}\n  {spent}")
            if workers == 2:
                cached = measure(client, options.requests, options.clients, fresh)
                print(f"the same requests, cached:                 {cached}")
    ratio = by_workers[2].per_second / by_workers[1].per_second
    print(f"two workers against one: {ratio:.2f} x")


if __name__ == "__main__":
    main()
