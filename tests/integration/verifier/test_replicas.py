"""Several verifiers behind one address: work goes past the one whose workers are busy."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.processes import until
from tests.support.verifier import ENDLESS, PERFECT, RunningVerifier, request, running_verifier, verify

from quintain.clients.channel import ClientSettings
from quintain.clients.verifier import Verifier
from quintain.verifier.v1 import verifier_pb2 as pb

REPLICAS = 3


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningVerifier]]:
    with ExitStack() as stack:
        folders = [tmp_path_factory.mktemp(f"replica{number}") for number in range(REPLICAS)]
        yield [stack.enter_context(running_verifier(folder, "workers = 1\n")) for folder in folders]


def counted(running: RunningVerifier, metric: str) -> float:
    text = urllib.request.urlopen(f"http://{running.metrics_address}/metrics", timeout=10).read().decode()
    return float(re.findall(rf"^{metric} (\S+)$", text, re.MULTILINE)[0])


def client_of(*replicas: RunningVerifier, **options: object) -> Verifier:
    address = "ipv4:" + ",".join(replica.address for replica in replicas)
    return Verifier(ClientSettings.model_validate({"address": address, "timeout_seconds": 100.0, **options}))


def endless(comment: str) -> pb.VerifyRequest:
    return request(f"{ENDLESS}# {comment}\n", scenarios=["short"], limits=pb.Limits(cpu_seconds=100))


def test_a_replica_with_a_looping_policy_holds_up_nobody(replicas: list[RunningVerifier]) -> None:
    """Without the clients' own retries: the refusals stay between gRPC and the replicas."""
    with replicas[0].client() as direct, client_of(*replicas, retries=False) as client:
        loop = direct.verify_stream(endless("stall"))
        next(loop)
        until(lambda: counted(replicas[0], "quintain_verifier_slots_busy_workers") == 1)
        began = time.monotonic()
        for number in range(6 * REPLICAS):
            assert verify(client, f"{PERFECT}# {number}\n").verdict.train.score == 1.0
        assert time.monotonic() - began < 60  # far below the 100 s of CPU time that the loop has
        assert counted(replicas[0], "quintain_verifier_sent_on_requests_total") >= 2
        assert counted(replicas[0], "quintain_verifier_queue_depth_requests") == 0
        loop.close()  # type: ignore[attr-defined]


def test_calls_that_wait_behind_a_looping_policy_are_given_back(replicas: list[RunningVerifier]) -> None:
    """More calls at a time than there are workers: some are queued where the loop is, and must not stay there."""
    with replicas[0].client() as direct, client_of(*replicas, retries=False) as client:
        loop = direct.verify_stream(endless("window"))
        next(loop)
        until(lambda: counted(replicas[0], "quintain_verifier_slots_busy_workers") == 1)
        began = time.monotonic()
        with ThreadPoolExecutor(12) as window:
            sources = [f"{PERFECT}# window {number}\n" for number in range(48)]
            assert all(r.verdict.train.score == 1.0 for r in window.map(lambda source: verify(client, source), sources))
        assert time.monotonic() - began < 60  # far below the 100 s of CPU time that the loop has
        assert counted(replicas[0], "quintain_verifier_queue_depth_requests") == 0
        loop.close()  # type: ignore[attr-defined]


def test_where_all_are_busy_the_last_one_asked_queues_it(replicas: list[RunningVerifier]) -> None:
    with ExitStack() as stack:
        loops = []
        for number, replica in enumerate(replicas):
            loops.append(stack.enter_context(replica.client()).verify_stream(endless(f"all {number}")))
            next(loops[-1])
        until(lambda: all(counted(r, "quintain_verifier_slots_busy_workers") == 1 for r in replicas))
        stream = stack.enter_context(client_of(*replicas, retries=False)).verify_stream(endless("late"))
        assert next(stream).progress.queue_position == 1
        for loop in [stream, *loops]:
            loop.close()  # type: ignore[attr-defined]


def test_a_large_request_is_sent_on_too(replicas: list[RunningVerifier]) -> None:
    """gRPC keeps 256 KiB of a call for its next attempt unless it is told otherwise."""
    with replicas[0].client() as direct, client_of(*replicas, retries=False) as client:
        loop = direct.verify_stream(endless("large"))
        next(loop)
        until(lambda: counted(replicas[0], "quintain_verifier_slots_busy_workers") == 1)
        before = counted(replicas[0], "quintain_verifier_sent_on_requests_total")
        filling = "#" + "x" * 600_000
        limits = pb.Limits(source_bytes=1 << 20)
        for number in range(10 * REPLICAS):  # the first few may come before all connections are made
            assert verify(client, f"{PERFECT}# {number}\n{filling}\n", limits=limits).verdict.train.score == 1.0
            if counted(replicas[0], "quintain_verifier_sent_on_requests_total") > before:
                break
        assert counted(replicas[0], "quintain_verifier_sent_on_requests_total") > before
        loop.close()  # type: ignore[attr-defined]


def test_a_draining_replica_sends_new_work_on(tmp_path: Path, replicas: list[RunningVerifier]) -> None:
    with ExitStack() as stack:
        leaving = stack.enter_context(running_verifier(tmp_path, "workers = 1\n"))
        client = stack.enter_context(client_of(leaving, replicas[1], retries=False))
        verify(client, PERFECT)  # both are connected
        loop = stack.enter_context(leaving.client()).verify_stream(endless("leaving"))
        next(loop)
        leaving.process.terminate()
        until(lambda: "draining" in leaving.log.read_text())
        for number in range(4):
            assert verify(client, f"{PERFECT}# leaving {number}\n").verdict.train.score == 1.0
        loop.close()  # type: ignore[attr-defined]
