"""How fast the FaaS engine is, on the paper's reference experiment, as a ratio to the oracle in the same run.

    python -m benchmarks.engine [--json] [--foreign | --million]

Ten traces of 600 s at 1000 ticks/s on one pool. The oracle (tests/unit/faas_engine/oracle.py) executes every tick and
every container, so it runs on the first --oracle-seconds of each trace only and its time is scaled to the whole; the
engine runs all of it. "two processes" puts the guest into a forked child behind a pipe (msgpack frames, no sandbox), a
fresh child for each run; its CPU is the sum of both. --million: 1 M operators in a day on 1,000 pools (two minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from tests.unit.faas_engine.oracle import Oracle

from quintain.plugins.inprocess import InProcessPolicy
from quintain.plugins.simulator import JsonValue, OpenPolicy
from quintain_faas import Params, PipelineSpec, Workload, guest
from quintain_faas.run import RunResult, run
from quintain_faas.workload.model import OperatorSpec

BASELINES = Path(guest.__file__).parent.parent / "baselines"
FOREIGN = Path(__file__).parent.parent / "tests" / "golden" / "policies" / "foreign" / "original_priority.py"
IDLE_GUARD = "    if not results and not pipelines:\n        return [], []\n"
LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Row:
    policy: str
    calling_mode: str
    where: str
    wall_seconds_for_all: float
    wall_ms_per_trace: float
    cpu_ms_per_trace: float
    oracle_cpu_ratio: float


def reference_params(burst: int, seed: int) -> Params:
    return Params(
        duration=600,
        ticks_per_second=1000,
        num_operators=10,
        num_pipelines=10 * 2**burst,
        waiting_seconds_mean=10.0 * 2**burst,
        random_seed=seed,
        num_pools=1,
        cpus_per_pool=64,
        ram_gb_per_pool=500,
        multi_operator_containers=False,
    )


def policies() -> dict[str, str]:
    priority = (BASELINES / "priority.py").read_text()
    assert IDLE_GUARD in priority
    return {
        "fifo (guard)": (BASELINES / "fifo.py").read_text(),
        "priority (guard)": priority,
        "priority queue without a guard": priority.replace(IDLE_GUARD, ""),
    }


# ------------------------------------------------------------------------------------------------------- two processes


class PipePolicy:
    """A guest in a forked child; frames are a 4-byte length and msgpack. Call `open` once before `ask`."""

    def __init__(self, source: str) -> None:
        to_child, to_parent = os.pipe(), os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(to_child[1])
            os.close(to_parent[0])
            serve(Channel(to_child[0], to_parent[1]), source)
        os.close(to_child[0])
        os.close(to_parent[1])
        self.channel = Channel(to_parent[0], to_child[1])
        self.info: JsonValue = None

    def open(self, setup: JsonValue) -> PipePolicy:
        self.channel.send(setup)
        self.info = self.channel.receive()
        return self

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        self.channel.send(message)
        while True:
            kind, body = self.channel.receive()
            if kind == "answer":
                return body  # type: ignore[no-any-return]
            assert on_query is not None
            self.channel.send(on_query(body))

    def close(self) -> None:
        self.channel.close()
        os.waitpid(self.child, 0)


class Channel:
    def __init__(self, read_from: int, write_to: int) -> None:
        self._read, self._write = read_from, write_to
        self._encoder, self._decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()
        self._buffer = b""

    def send(self, message: Any) -> None:
        data = self._encoder.encode(message)
        data = LENGTH.pack(len(data)) + data
        while data:
            data = data[os.write(self._write, data) :]

    def receive(self) -> Any:
        while True:
            if len(self._buffer) >= 4:
                end = LENGTH.unpack_from(self._buffer)[0] + 4
                if len(self._buffer) >= end:
                    body, self._buffer = self._buffer[4:end], self._buffer[end:]
                    return self._decoder.decode(body)
            data = os.read(self._read, 1 << 16)
            if not data:
                raise EOFError
            self._buffer += data

    def close(self) -> None:
        os.close(self._write)
        os.close(self._read)


def serve(channel: Channel, source: str) -> None:
    """The child's life: never returns."""

    def query(question: Any) -> Any:
        channel.send(["query", question])
        return channel.receive()

    status = 1
    try:
        session = guest.load(source, channel.receive(), query)
        channel.send(session.info)
        while True:
            channel.send(["answer", session.answer(channel.receive())])
    except EOFError:
        status = 0
    finally:
        os._exit(status)


# ------------------------------------------------------------------------------------------------------------ measuring


@contextmanager
def opener(source: str, two_processes: bool) -> Iterator[OpenPolicy]:
    """The child is forked here: what the caller makes afterwards is not in its memory, as in the sandbox."""
    if not two_processes:
        yield lambda setup: InProcessPolicy(guest.load, source, setup)
        return
    policy = PipePolicy(source)
    try:
        yield policy.open
    finally:
        policy.close()


def cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measure(
    source: str, traces: list[tuple[Params, Workload]], calling_mode: str, two_processes: bool
) -> tuple[float, float, list[RunResult]]:
    results = []
    wall, cpu = time.perf_counter(), cpu_seconds()
    for params, workload in traces:
        with opener(source, two_processes) as open_policy:
            results.append(run(params, workload, open_policy, calling_mode=calling_mode))
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    for result in results:
        assert result.failure is None, result.failure
    return wall, cpu, results


def oracle_seconds(source: str, traces: list[tuple[Params, Workload]], seconds: float) -> float:
    """CPU seconds that the oracle would need for the whole of all traces, by the first `seconds` of each."""
    started = cpu_seconds()
    for params, workload in traces:
        Oracle(replace(params, duration=seconds), workload.pipelines(), strip_imports(source)).run()
    return (cpu_seconds() - started) * traces[0][0].duration / seconds


RECORDS = """
class WaitingQueueJob:
    def __init__(self, priority, p=None, ops=None, retry_stats=None):
        self.priority, self.pipeline, self.ops, self.retry_stats = priority, p, ops, retry_stats

class RetryStats:
    def __init__(self, old_ram, old_cpu, error, container_id, pool_id):
        self.old_ram, self.old_cpu, self.error, self.container_id, self.pool_id = (
            old_ram, old_cpu, error, container_id, pool_id)

class Pipeline: pass
class ExecutionResult: pass
"""


def strip_imports(source: str) -> str:
    """For the oracle, which brings the names itself, but for some records."""
    lines = [line for line in source.splitlines() if not line.startswith("from eudoxia")]
    return (RECORDS if "WaitingQueueJob" in source else "") + "\n".join(lines)


def foreign(oracle_time: float) -> list[Row]:
    """A priority policy in the manner of the original's, on two traces: on every tick it would take most of an hour."""
    source = FOREIGN.read_text(encoding="utf-8")
    traces = [(p, Workload.generated(p)) for p in (reference_params(0, 10), reference_params(4, 11))]
    for params, workload in traces:
        workload.batches(params)
    reference_cpu = oracle_seconds(source, traces, oracle_time)
    wall, cpu, results = measure(source, traces, "", True)
    mode = results[0].calling_mode
    return [Row("original's priority", mode, "two processes", wall, 500 * wall, 500 * cpu, reference_cpu / cpu)]


def reference(oracle_time: float) -> list[Row]:
    traces = [(p, Workload.generated(p)) for p in (reference_params(b, s) for b in range(5) for s in (10, 11))]
    for params, workload in traces:
        workload.batches(params)  # generating them is not the engine's work
    rows = []
    for name, source in policies().items():
        reference_cpu = oracle_seconds(source, traces, oracle_time)
        digests = set()
        for calling_mode in ("", "every_tick"):
            for two_processes in (False, True):
                wall, cpu, results = measure(source, traces, calling_mode, two_processes)
                digests.add(tuple(result.decisions_digest for result in results))
                rows.append(
                    Row(
                        name,
                        results[0].calling_mode,
                        "two processes" if two_processes else "in process",
                        wall,
                        1000 * wall / len(traces),
                        1000 * cpu / len(traces),
                        reference_cpu / cpu,
                    )
                )
        assert len(digests) == 1, "the calling modes decide differently"
    return rows


MILLION_POLICY = """
@register_scheduler_init(key="spread")
def init(s):
    s.next_pool = 0
    s.waiting = []

@register_scheduler(key="spread")
def schedule(s, results, pipelines):
    if not results and not pipelines:
        return [], []
    s.waiting.extend(pipelines)
    done = [r.ops[0].pipeline for r in results]
    out = []
    rest = []
    for p in s.waiting + done:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            pool = s.executor.pools[s.next_pool]
            if pool.avail_ram_pool >= 16 and pool.avail_cpu_pool >= 1:
                out.append(Assignment([op], 1, 8, p.priority, s.next_pool, p.pipeline_id))
            else:
                rest.append(p)
            s.next_pool = (s.next_pool + 1) % 1000
    s.waiting = rest
    return [], out
"""


def million_operators() -> Workload:
    needs = [(float(5 + k % 40), "linear3", None, float(1 + k % 7)) for k in range(280)]
    pipelines = []
    for number in range(200_000):
        operators = tuple(
            OperatorSpec(f"op{i + 1}", () if i == 0 else (i - 1,), *needs[(number * 5 + i) % 280]) for i in range(5)
        )
        arrival = number * 86000 / 200_000
        pipelines.append(PipelineSpec(f"p{number}", arrival, "BATCH_PIPELINE", operators, (0, 1, 2, 3, 4)))
    return Workload(trace=tuple(pipelines))


def million() -> dict[str, float]:
    """1 M operators in 200,000 pipelines over a day at 10 ticks/s on 1,000 pools, in two processes."""
    params = Params(duration=86400, ticks_per_second=10, num_pools=1000, cpus_per_pool=16, ram_gb_per_pool=64)
    with opener(MILLION_POLICY, two_processes=True) as open_policy:
        workload = million_operators()
        wall, cpu = time.perf_counter(), cpu_seconds()
        result = run(params, workload, open_policy)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    assert result.failure is None, result.failure
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "containers": result.stats.containers_completed,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "engine_peak_mb": own,
        "guest_peak_mb": child,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--million", action="store_true", help="the case of 1 M operators instead")
    parser.add_argument("--foreign", action="store_true", help="a priority policy in the original's manner instead")
    parser.add_argument("--oracle-seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    if arguments.million:
        print(json.dumps(million(), indent=1))
        return
    rows = foreign(arguments.oracle_seconds) if arguments.foreign else reference(arguments.oracle_seconds)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    print(f"{'policy':32}{'mode':13}{'where':15}{'all 10, s':>10}{'wall ms':>9}{'CPU ms':>9}{'x oracle':>10}")
    for row in rows:
        print(
            f"{row.policy:32}{row.calling_mode:13}{row.where:15}{row.wall_seconds_for_all:10.2f}"
            f"{row.wall_ms_per_trace:9.1f}{row.cpu_ms_per_trace:9.1f}{row.oracle_cpu_ratio:10.0f}"
        )


if __name__ == "__main__":
    main()
