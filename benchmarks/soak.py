"""Many verifications by hostile and honest callers, with faults: no wrong verdict, no hang, nothing leaked.

    python -m benchmarks.soak --verifications 10000 --seconds 3600

Sixteen clients; one policy in five is hostile; one call in ten is given up by its caller; a fork server is killed
every 30 s. Every verdict is compared with what the policy must end as; the honest ones with a run in this process, by
the digest of all decisions. Processes, descriptors and memory of the service are counted before and after. Exits with 1
if anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import children_of, descendants_of
from tests.support.verifier import RunningVerifier, request, running_verifier

from quintain.clients.verifier import Verifier
from quintain.errors import QuintainError
from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import RunOptions
from quintain.verifier.v1 import verifier_pb2 as pb

SIMULATOR, SUITE = "faas", "smoke"
KILL_EVERY_SECONDS = 30.0
SLACK_DESCRIPTORS, SLACK_MEMORY_BYTES = 16, 64 << 20

# What a hostile policy does when it is loaded, and what it may end as.
HOSTILE: dict[str, tuple[str, set[pb.FailureKind.ValueType]]] = {
    "endless": ("while True:\n    pass\n", {pb.FAILURE_KIND_CPU_LIMIT}),
    "exit": ("import os\nos._exit(0)\n", {pb.FAILURE_KIND_DIED, pb.FAILURE_KIND_LOAD}),
    "memory": ("hoard = []\nwhile True:\n    hoard.append(bytearray(1 << 24))\n", {pb.FAILURE_KIND_MEMORY_LIMIT}),
    "raises": ("raise RuntimeError('x' * 100000)\n", {pb.FAILURE_KIND_LOAD}),
    "syntax": ("def (:\n", {pb.FAILURE_KIND_LOAD}),
    "deep": ("def f():\n    return f()\nf()\n", {pb.FAILURE_KIND_LOAD}),
    "reads": ("open('/etc/passwd').read()\n", {pb.FAILURE_KIND_LOAD}),
    "forks": ("import os\nos.fork()\n", {pb.FAILURE_KIND_LOAD, pb.FAILURE_KIND_FORBIDDEN}),
    "signals": ("import os\nos.kill(os.getppid(), 9)\n", {pb.FAILURE_KIND_LOAD, pb.FAILURE_KIND_FORBIDDEN}),
}


@dataclass(slots=True)
class Tally:
    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, wrong: str = "") -> None:
        with self.lock:
            self.ended[what] += 1
            if wrong:
                self.wrong.append(wrong)


@dataclass(frozen=True, slots=True)
class Resources:
    processes: int
    descriptors: int
    memory_bytes: int

    @classmethod
    def of(cls, running: RunningVerifier) -> Resources:
        pids = [running.process.pid, *descendants_of(running.process.pid)]
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
        descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
        return cls(len(pids), descriptors, pages * os.sysconf("SC_PAGE_SIZE"))

    def __str__(self) -> str:
        return f"{self.processes} processes, {self.descriptors} descriptors, {self.memory_bytes / 1e6:.0f} MB resident"


class Soak:
    def __init__(self, client: Verifier, seed: int, deadline: float) -> None:
        self.tally = Tally()
        self._client, self._seed, self._deadline = client, seed, deadline
        simulator = SIMULATORS.load(SIMULATOR)
        self._scenarios = [e.scenario for e in simulator.suite(SUITE).entries]
        self._sources = [b.source for b in simulator.describe().baselines]
        self._expected = {
            (source, name): simulator.run(
                simulator.scenario(name), in_process(simulator, source), RunOptions()
            ).decisions_digest
            for source in self._sources
            for name in self._scenarios
        }

    def one(self, number: int) -> None:
        if time.monotonic() > self._deadline:
            self.tally.add("not asked: the time was up", "fewer verifications than wanted")
            return
        chance = random.Random(f"{self._seed}/{number}")
        scenario = chance.choice(self._scenarios)
        leaves = chance.random() < 0.1
        try:
            if chance.random() < 0.2:
                self._hostile(number, scenario, chance.choice(sorted(HOSTILE)), leaves)
            else:
                self._honest(number, scenario, chance.choice(self._sources), leaves)
        except QuintainError as error:
            self.tally.add(f"error {error.code} {error.reason}", f"request {number}: {error.code}: {error.message}")

    def _honest(self, number: int, scenario: str, source: str, leaves: bool) -> None:
        verdict = self._verify(f"{source}\n# {number}\n", scenario, leaves)
        if verdict is None:
            return
        (ran,) = verdict.scenarios
        right = verdict.status == pb.VERDICT_STATUS_OK and ran.decisions_digest == self._expected[source, scenario]
        self.tally.add(
            "honest", "" if right else f"request {number} on {scenario}: {verdict.failure or 'other decisions'}"
        )

    def _hostile(self, number: int, scenario: str, attack: str, leaves: bool) -> None:
        source, ends = HOSTILE[attack]
        verdict = self._verify(f"{source}# {number}\n", scenario, leaves)
        if verdict is None:
            return
        right = verdict.status == pb.VERDICT_STATUS_POLICY_FAILED and verdict.failure.kind in ends
        self.tally.add(f"hostile: {attack}", "" if right else f"request {number}, {attack}: {verdict.failure}")

    def _verify(self, source: str, scenario: str, leaves: bool) -> pb.Verdict | None:
        limits = pb.Limits(cpu_seconds=1, memory_bytes=256 << 20)
        wanted = request(source, simulator=SIMULATOR, scenarios=[scenario], limits=limits)
        stream = self._client.verify_stream(wanted)
        for event in stream:
            if leaves:
                stream.close()  # type: ignore[attr-defined]  # a generator: this cancels the call
                self.tally.add("given up by the caller")
                return None
            if event.WhichOneof("event") == "result":
                return event.result.verdict
        raise AssertionError("the stream ended without a result")


def kill_fork_servers(running: RunningVerifier, stop: threading.Event, tally: Tally) -> None:
    while not stop.wait(KILL_EVERY_SECONDS):
        servers = [server for worker in running.worker_pids() for server in children_of(worker)]
        if servers:
            os.kill(random.choice(servers), signal.SIGKILL)
            tally.add("fork servers killed")


def settled(running: RunningVerifier, at_most: int) -> Resources:
    """The resources when no policy runs any more (or after 10 s, whatever they are)."""
    deadline = time.monotonic() + 10.0
    while (found := Resources.of(running)).processes > at_most and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verifications", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop asking after this time")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    config = f'workers = {options.workers}\nsimulators = ["{SIMULATOR}"]\n[records]\nmemory_bytes = 4194304\n'
    with (
        tempfile.TemporaryDirectory() as folder,
        running_verifier(Path(folder), config) as running,
        running.client(timeout_seconds=300.0) as client,
    ):
        soak = Soak(client, options.seed, time.monotonic() + options.seconds)
        with ThreadPoolExecutor(options.clients) as pool:
            list(pool.map(soak.one, range(-20 * options.clients, 0)))  # warm: every worker has seen everything
        idle = 1 + options.workers + len([s for w in running.worker_pids() for s in children_of(w)])
        before = settled(running, idle)
        stop = threading.Event()
        killer = threading.Thread(target=kill_fork_servers, args=(running, stop, soak.tally))
        killer.start()
        began = time.monotonic()
        with ThreadPoolExecutor(options.clients) as pool:
            list(pool.map(soak.one, range(options.verifications)))
        took = time.monotonic() - began
        stop.set()
        killer.join()
        after = settled(running, before.processes)
    report(soak.tally, took, before, after)


def report(tally: Tally, took: float, before: Resources, after: Resources) -> None:
    for what, count in sorted(tally.ended.items()):
        print(f"{count:7d}  {what}")
    print(f"in {took:.0f} s, warm-up included in the counts")
    print(f"before: {before}\nafter:  {after}")
    problems = list(dict.fromkeys(tally.wrong))[:20]
    if after.processes > before.processes:
        problems.append("processes are left")
    if after.descriptors > before.descriptors + SLACK_DESCRIPTORS:
        problems.append("descriptors are left")
    if after.memory_bytes > before.memory_bytes + SLACK_MEMORY_BYTES:
        problems.append("memory is not given back")
    print("wrong: " + ("nothing" if not problems else "\n  ".join(["", *problems])))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
