"""The verifier when it is full, when callers leave, when processes die, and when it is stopped."""

from __future__ import annotations

import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from tests.support.processes import (
    PATIENCE,
    children_of,
    cpu_seconds_of,
    descendants_of,
    descriptors_of,
    is_dead,
    until,
)
from tests.support.verifier import ENDLESS, PERFECT, RunningVerifier, request, running_verifier, verify

from quintain.verifier.v1 import verifier_pb2 as pb
from quintain.verifier.v1 import verifier_pb2_grpc
from quintain.wire.status import from_rpc_error


def endless(number: int, **fields: object) -> pb.VerifyRequest:
    """A policy of its own for each number, which computes until it is stopped."""
    return request(f"{ENDLESS}# {number}\n", scenarios=["short"], **fields)


class Call:
    """One Verify in a thread; knows its last progress and how it ended."""

    def __init__(self, stub: verifier_pb2_grpc.VerifierStub, wanted: pb.VerifyRequest, caller: str = "") -> None:
        self.heard: list[pb.VerifyProgress] = []
        self.result: pb.VerifyResult | None = None
        self.error: grpc.RpcError | None = None
        metadata = (("quintain-caller", caller),) if caller else ()
        self._call = stub.Verify(wanted, timeout=2 * PATIENCE, metadata=metadata)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for event in self._call:
                if event.WhichOneof("event") == "progress":
                    self.heard.append(event.progress)
                else:
                    self.result = event.result
        except grpc.RpcError as error:
            self.error = error

    @property
    def progress(self) -> pb.VerifyProgress | None:
        return self.heard[-1] if self.heard else None

    @property
    def position(self) -> int | None:
        return None if self.progress is None else self.progress.queue_position

    def cancel(self) -> None:
        self._call.cancel()
        self.wait()

    def wait(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def one_worker(tmp_path: Path) -> Iterator[RunningVerifier]:
    with running_verifier(tmp_path, "workers = 1\nmost_waiting = 2\n") as running:
        yield running


@pytest.fixture
def stub(one_worker: RunningVerifier) -> Iterator[verifier_pb2_grpc.VerifierStub]:
    with grpc.insecure_channel(one_worker.address) as channel:
        grpc.channel_ready_future(channel).result(PATIENCE)
        yield verifier_pb2_grpc.VerifierStub(channel)


def jailed_policies(running: RunningVerifier) -> list[int]:
    """Processes below the fork servers: policies that run now."""
    servers = [server for worker in running.worker_pids() for server in children_of(worker)]
    return [policy for server in servers for policy in children_of(server)]


def pause_policy(running: RunningVerifier) -> int:
    """Wait until the one policy computes, and stop it until it gets SIGCONT: its run lasts as long as a test needs."""
    until(lambda: [cpu_seconds_of(policy) > 0.1 for policy in jailed_policies(running)] == [True])
    (policy,) = jailed_policies(running)
    os.kill(policy, signal.SIGSTOP)
    return policy


def test_cancellation_kills_the_policy_and_frees_the_worker(
    one_worker: RunningVerifier, stub: verifier_pb2_grpc.VerifierStub
) -> None:
    call = Call(stub, endless(1))
    until(lambda: len(jailed_policies(one_worker)) == 1)
    before = one_worker.worker_pids()
    call.cancel()
    with one_worker.client() as client:
        assert verify(client, PERFECT).verdict.train.score == 1.0  # it would wait long behind the other one's limits
    assert one_worker.worker_pids() == before  # the worker itself was not lost
    until(lambda: not jailed_policies(one_worker))


def test_a_caller_whose_deadline_passes_frees_the_worker(
    one_worker: RunningVerifier, stub: verifier_pb2_grpc.VerifierStub
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        list(stub.Verify(endless(1), timeout=0.5))
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
    until(lambda: not jailed_policies(one_worker))


def test_a_full_queue_says_when_to_come_back(stub: verifier_pb2_grpc.VerifierStub) -> None:
    running = Call(stub, endless(0))
    until(lambda: running.position == 0)
    waiting = [Call(stub, endless(n)) for n in (1, 2)]
    until(lambda: sorted(c.position or 0 for c in waiting) == [1, 2])
    by_position = {c.position: c for c in waiting}
    refused = Call(stub, endless(3))
    refused.wait()
    assert refused.error is not None
    error = from_rpc_error(refused.error)
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
    assert error.retry_after_seconds
    other = Call(stub, endless(4), caller="somebody else")
    until(lambda: other.position is not None)  # a caller who fills the queue gives up a place: the newest
    evicted = by_position[2]
    evicted.wait()
    assert evicted.error is not None
    assert from_rpc_error(evicted.error).code == "RESOURCE_EXHAUSTED"
    assert by_position[1].error is None
    for call in (running, *waiting, other):
        call.cancel()
        assert all(a != b for a, b in pairwise(call.heard))  # nothing is said twice while others come and go


def test_the_same_request_in_flight_is_joined(
    one_worker: RunningVerifier, stub: verifier_pb2_grpc.VerifierStub
) -> None:
    limited = endless(1, limits=pb.Limits(cpu_seconds=1))
    first = Call(stub, limited)
    policy = pause_policy(one_worker)
    second = Call(stub, limited)
    until(lambda: second.progress is not None)
    os.kill(policy, signal.SIGCONT)
    for call in (first, second):
        call.wait()
    assert first.result is not None
    assert second.result is not None
    assert (first.result.execution.joined, second.result.execution.joined) == (False, True)
    assert first.result.verdict.SerializeToString() == second.result.verdict.SerializeToString()
    page = urllib.request.urlopen(f"http://{one_worker.metrics_address}/metrics").read().decode()
    assert 'quintain_verifier_answers_total{source="joined"} 1.0' in page
    assert 'quintain_verifier_verdicts_total{simulator="tiny",status="policy_failed"} 1.0' in page
    assert 'quintain_verifier_policy_kills_total{reason="cpu"} 1.0' in page


def test_a_run_goes_on_while_one_of_its_callers_is_left(
    one_worker: RunningVerifier, stub: verifier_pb2_grpc.VerifierStub
) -> None:
    limited = endless(1, limits=pb.Limits(cpu_seconds=1))
    first = Call(stub, limited)
    policy = pause_policy(one_worker)
    second = Call(stub, limited)
    until(lambda: second.position is not None)
    first.cancel()
    os.kill(policy, signal.SIGCONT)
    second.wait()
    assert second.result is not None
    assert second.result.verdict.failure.kind == pb.FAILURE_KIND_CPU_LIMIT


def test_a_worker_killed_in_the_middle_of_a_run_costs_a_retry_and_nothing_else(
    one_worker: RunningVerifier, stub: verifier_pb2_grpc.VerifierStub
) -> None:
    call = Call(stub, endless(1, limits=pb.Limits(cpu_seconds=1)))
    until(lambda: len(jailed_policies(one_worker)) == 1)
    orphans = descendants_of(one_worker.worker_pids()[0])
    os.kill(one_worker.worker_pids()[0], signal.SIGKILL)
    call.wait()
    assert call.result is not None
    assert call.result.verdict.failure.kind == pb.FAILURE_KIND_CPU_LIMIT  # and not DIED
    until(lambda: all(is_dead(pid) for pid in orphans))


def test_a_worker_killed_while_idle_is_replaced_before_anyone_notices(
    one_worker: RunningVerifier, stub: verifier_pb2_grpc.VerifierStub
) -> None:
    with one_worker.client() as client:
        verify(client, PERFECT)
        (dead,) = one_worker.worker_pids()
        os.kill(dead, signal.SIGKILL)
        assert verify(client, PERFECT + "# after\n").verdict.train.score == 1.0
        assert dead not in one_worker.worker_pids()


def test_a_killed_fork_server_costs_a_retry_and_nothing_else(
    one_worker: RunningVerifier, stub: verifier_pb2_grpc.VerifierStub
) -> None:
    call = Call(stub, endless(1, limits=pb.Limits(cpu_seconds=1)))
    until(lambda: len(jailed_policies(one_worker)) == 1)
    (worker,) = one_worker.worker_pids()
    (server,) = children_of(worker)
    os.kill(server, signal.SIGKILL)
    call.wait()
    assert call.result is not None, call.error
    assert call.result.verdict.failure.kind == pb.FAILURE_KIND_CPU_LIMIT
    # the same worker, or another one if its next fork server was too slow on a busy machine
    assert len(one_worker.worker_pids()) == 1
    assert server not in children_of(*one_worker.worker_pids())


def test_a_stopping_service_finishes_its_runs_and_refuses_new_ones(
    one_worker: RunningVerifier, stub: verifier_pb2_grpc.VerifierStub
) -> None:
    limited = endless(1, limits=pb.Limits(cpu_seconds=1))
    call = Call(stub, limited)
    policy = pause_policy(one_worker)
    one_worker.process.send_signal(signal.SIGTERM)

    def refused() -> bool:
        late = Call(stub, endless(2))
        until(lambda: late.error is not None or late.progress is not None)
        late.cancel()
        return late.error is not None and from_rpc_error(late.error).reason == "DRAINING"

    until(refused)
    joined = Call(stub, limited)  # a caller who comes back
    until(lambda: joined.progress is not None)
    workers = one_worker.worker_pids()
    os.kill(policy, signal.SIGCONT)
    for each in (call, joined):
        each.wait()
    assert call.result is not None
    assert joined.result is not None
    assert joined.result.execution.joined
    assert one_worker.process.wait(PATIENCE) == 0
    until(lambda: all(is_dead(pid) for pid in workers))


def test_a_stopping_service_ends_runs_that_nobody_waits_for(
    one_worker: RunningVerifier, stub: verifier_pb2_grpc.VerifierStub
) -> None:
    call = Call(stub, endless(3, limits=pb.Limits(cpu_seconds=1000, wall_seconds=3000)))
    until(lambda: bool(jailed_policies(one_worker)))
    one_worker.process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in (one_worker.log.read_text()))
    assert one_worker.process.poll() is None
    call.cancel()
    assert one_worker.process.wait(20) == 0


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Hostile and honest policies, callers who stay and callers who leave: the same processes and descriptors after."""
    with running_verifier(tmp_path, "workers = 2\n") as running, running.client() as client:

        def one(number: int) -> None:
            source = (PERFECT, "import os\nos._exit(3)\n", "def decide(n):\n    return []\n")[number % 3]
            if number % 5 == 0:
                stream = client.verify_stream(endless(number))
                next(stream)
                stream.close()  # type: ignore[attr-defined]
            else:
                verify(client, f"{source}# {number}\n")

        def measured() -> tuple[int, int]:
            processes = [running.process.pid, *descendants_of(running.process.pid)]
            return len(processes), sum(descriptors_of(pid) for pid in processes)

        def batch(begin: int) -> None:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(one, range(begin, begin + 60)))

        batch(0)
        until(lambda: not jailed_policies(running))
        processes, descriptors = measured()
        batch(60)
        until(lambda: measured() <= (processes, descriptors + 2))  # a connection may be open in between
