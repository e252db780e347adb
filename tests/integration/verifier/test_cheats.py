"""Policies that cheat, on the built-in simulator through the real service: each ends as a rejected or failed policy, or
gets to the last bit what the honest one gets. None changes what anybody gets afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.support.verifier import RunningVerifier, request, running_verifier

from quintain.clients.verifier import Verifier
from quintain.errors import NotFound
from quintain.verifier.v1 import verifier_pb2 as pb

PLACE = "    whole_pipeline ="  # in the baseline's function, on every call that may decide


@pytest.fixture(scope="module")
def faas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVerifier]:
    with running_verifier(tmp_path_factory.mktemp("faas"), 'workers = 1\nsimulators = ["faas"]\n') as running:
        yield running


@pytest.fixture(scope="module")
def client(faas: RunningVerifier) -> Iterator[Verifier]:
    with faas.client() as made:
        yield made


@pytest.fixture(scope="module")
def fifo(client: Verifier) -> str:
    described = client.get_simulator(pb.GetSimulatorRequest(name="faas")).simulator
    source: str = described.baselines[0].source
    assert PLACE in source
    return source


@pytest.fixture(scope="module")
def honest(client: Verifier, fifo: str) -> pb.Verdict:
    verdict = judged(client, fifo)
    assert verdict.status == pb.VERDICT_STATUS_OK
    return verdict


def judged(client: Verifier, source: str, **fields: object) -> pb.Verdict:
    named = {"simulator": "faas", "suite": "smoke", **fields}
    return client.verify(request(source, **named)).verdict


def with_cheat(source: str, cheat: str) -> str:
    """`cheat` at the beginning of every decision; exceptions in it are kept quiet."""
    body = "".join(f"        {line}\n" for line in cheat.splitlines())
    return source.replace(PLACE, f"    try:\n{body}    except ImportError:\n        pass\n{PLACE}", 1)


def truth(verdict: pb.Verdict) -> list[pb.ScenarioVerdict]:
    """All that was measured."""
    return list(verdict.scenarios)


EDITS = {
    "pools": "for p in scheduler.executor.pools:\n    p.num_completed = 10 ** 6\n    p.cost = -1\n    p.i = 0",
    "room in pools": "for p in scheduler.executor.pools:\n    p.avail_ram_pool = p.avail_cpu_pool = 10 ** 6",
    "containers": (
        "for p in scheduler.executor.pools:\n    p.container_tick_times.append(0)\n    p.active_containers.clear()"
    ),
    "clock": "scheduler.clock._tick = 0\nscheduler.clock.ticks_per_second = 10 ** 9",
    "states": (
        "for p in pipelines:\n    for o in p.values:\n        for s in ('ASSIGNED', 'RUNNING', 'COMPLETED'):\n"
        "            o.transition(getattr(OperatorState, s))"
    ),
    "status": (
        "for p in pipelines:\n    p.runtime_status().finish_tick = 0\n    p.runtime_status().max_job_ticks = 10 ** 9"
    ),
    "results": "for r in results:\n    r.error = None\n    r.ops.clear()",
    "parameters": "scheduler.params['ram_gb_per_pool'] = 10 ** 6",
    "negative room": "for p in scheduler.executor.pools:\n    p.avail_ram_pool = -p.avail_ram_pool",
    "caches": (
        "import gc\nfor found in gc.get_objects():\n    if hasattr(found, 'cache_clear'):\n        found.cache_clear()"
    ),
    "guest": (
        "import sys\nfor name, module in list(sys.modules.items()):\n    if name.startswith('quintain_faas'):\n"
        "        module.NO_POOL = 0\n        module.STATE_FACTOR = 1"
    ),
    "session": (
        "import gc\nfor found in gc.get_objects():\n    if type(found).__name__ == 'Session':\n"
        "        found.info = {'calling_mode': 'every_tick'}\n"
        "        type(found).answer = lambda self, m: {'tick': m['tick'], 'score': 1e9, 'completed': 10 ** 6}"
    ),
    "codec": (
        "import json\nencode = json.JSONEncoder.encode\n"
        "json.JSONEncoder.encode = lambda self, o: encode(self, o).replace('\"tick\"', '\"score\":1e9,\"tick\"')"
    ),
    "channel": (
        "import os\nbody = b'[\"answer\",{\"tick\":0,\"assignments\":[[[0],1e9,1e9,1,0]]}]'\n"
        "os.write(3, len(body).to_bytes(4, 'little') + body)"
    ),
    "huge amounts": (
        "import os\nbody = b'[\"answer\",{\"tick\":0,\"assignments\":[[[0],1' + b'0' * 400 + b',1,1,0]]}]'\n"
        "os.write(3, len(body).to_bytes(4, 'little') + body)\nos._exit(0)"
    ),
    "memory of earlier runs": (
        "import math, os\nmath.runs = getattr(math, 'runs', 0)\nassert math.runs == 0 or scheduler.seen\n"
        "scheduler.seen = True\nmath.runs += 1\nassert not os.environ.get('SEEN')\nos.environ['SEEN'] = ''"
    ),
}  # fmt: skip


@pytest.mark.parametrize("cheat", EDITS.values(), ids=EDITS)
def test_a_cheat_is_refused_or_has_no_effect(client: Verifier, fifo: str, honest: pb.Verdict, cheat: str) -> None:
    verdict = judged(client, with_cheat(fifo, cheat))
    if verdict.status == pb.VERDICT_STATUS_OK:
        for got, fair in zip(truth(verdict), truth(honest), strict=True):
            misled = got.decisions_digest != fair.decisions_digest  # itself, by its own edits
            assert got == fair or (misled and got.normalized <= fair.normalized)
    else:
        assert verdict.status == pb.VERDICT_STATUS_POLICY_FAILED
        assert verdict.train.normalized <= honest.train.normalized
    again = judged(client, f"{fifo}\n# after {cheat!r}\n")
    assert truth(again) == truth(honest)
    assert again.train == honest.train


def test_a_fresh_process_has_no_memory_of_the_last(client: Verifier, fifo: str, honest: pb.Verdict) -> None:
    source = with_cheat(fifo, EDITS["memory of earlier runs"]).replace(
        "scheduler.waiting = []", "scheduler.waiting, scheduler.seen = [], False"
    )
    assert truth(judged(client, source)) == truth(honest)


def _hash_in_the_second_run() -> str:
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    program = [sys.executable, "-c", "print(hash('which run?'))"]
    return subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("then", "status", "kind"),
    [
        ("scheduler.waiting.reverse()", pb.VERDICT_STATUS_NONDETERMINISTIC, pb.FAILURE_KIND_NONDETERMINISTIC),
        ("raise ValueError", pb.VERDICT_STATUS_NONDETERMINISTIC, pb.FAILURE_KIND_NONDETERMINISTIC),
        ("__import__('os')._exit(0)", pb.VERDICT_STATUS_NONDETERMINISTIC, pb.FAILURE_KIND_NONDETERMINISTIC),
        ("while True: pass", pb.VERDICT_STATUS_POLICY_FAILED, pb.FAILURE_KIND_CPU_LIMIT),
        ("k = __import__('_thread').allocate_lock(); k.acquire(); k.acquire()", None, pb.FAILURE_KIND_WALL_LIMIT),
        ("pass", pb.VERDICT_STATUS_OK, pb.FAILURE_KIND_UNSPECIFIED),
    ],
)
def test_who_recognises_the_second_run_gains_nothing(
    client: Verifier, fifo: str, then: str, status: pb.VerdictStatus.ValueType | None, kind: pb.FailureKind.ValueType
) -> None:
    source = fifo.replace(PLACE, f"    if hash('which run?') == {_hash_in_the_second_run()}:\n        {then}\n{PLACE}")
    wall = 2.0 if kind == pb.FAILURE_KIND_WALL_LIMIT else 0.0
    limits = pb.Limits(cpu_seconds=1, wall_seconds=wall)
    scenario = client.list_suites(pb.ListSuitesRequest(simulator="faas")).suites[0].entries[0].scenario
    verdict = judged(client, source, suite="", scenarios=[scenario], limits=limits, check_determinism=True)
    assert verdict.failure.kind == kind, verdict.failure
    assert verdict.status == (status or pb.VERDICT_STATUS_POLICY_FAILED)
    if kind == pb.FAILURE_KIND_WALL_LIMIT:  # retryable, so not kept
        with pytest.raises(NotFound):
            client.get_verdict(pb.GetVerdictRequest(digest=verdict.digest))
