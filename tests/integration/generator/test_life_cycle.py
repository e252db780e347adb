"""Callers that leave, services that stop, endpoints that are down: what happens to the call in flight."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from tests.fault_server.server import FaultServer
from tests.support.generator import Stack, request, stack, until

from quintain.errors import QuintainError, Unavailable
from quintain.generator.v1 import generator_pb2 as pb
from quintain.generator.v1.generator_pb2_grpc import GeneratorStub
from quintain_generator.backends import wire as backend_wire
from quintain_generator.usecases import readiness, waiting


async def _call_and_leave(s: Stack, request_id: str) -> None:
    """Start a generation, wait until the provider has the call, and hang up."""
    before = len(s.server.seen)
    async with grpc.aio.insecure_channel(s.address) as channel:
        call = GeneratorStub(channel).Generate(request(request_id, "llm"), timeout=60.0)
        reading = asyncio.ensure_future(anext(aiter(call)))
        await until(lambda: len(s.server.seen) > before)
        call.cancel()
        await asyncio.wait([reading])


async def test_a_caller_that_leaves_and_comes_back_finds_the_answer_it_paid_for(tmp_path: Path) -> None:
    async with stack(tmp_path, faults=FaultServer(delay_seconds=0.5)) as s:
        await _call_and_leave(s, "r1")
        g = await s.generate_once(request("r1", "llm"))
        assert g.outcome == pb.OUTCOME_OK
        assert len(s.server.seen) == 1


async def test_when_nobody_comes_back_the_socket_is_closed_and_the_call_is_at_risk(tmp_path: Path) -> None:
    async with stack(tmp_path, faults=FaultServer(["hang"]), abandoned_call_seconds=0.1) as s:
        await _call_and_leave(s, "r1")
        await until(lambda: s.server.seen[0].gone)
        g = await s.generate_once(request("r1", "llm"))
        assert g.outcome == pb.OUTCOME_UNKNOWN
        assert g.cost.at_risk_usd > 0
        assert len(s.server.seen) == 1


@pytest.mark.parametrize("wire", ["openai", "compatible", "anthropic"])
async def test_a_call_that_broke_off_keeps_the_providers_id_of_it(tmp_path: Path, wire: str) -> None:
    async with stack(tmp_path, wire, faults=FaultServer(["cut_mid_stream"])) as s:
        g = await s.generate_once(request("r1", "llm"))
    names = [(call.outcome, call.provider_request_id) for call in g.calls]
    assert names == [("connection", "req_000001"), ("ok", "req_000002")]


async def test_no_further_call_is_made_for_a_caller_that_has_left(tmp_path: Path) -> None:
    faults = FaultServer(["overloaded"], delay_seconds=0.2)
    async with stack(tmp_path, faults=faults) as s:
        await _call_and_leave(s, "r1")
        await until(lambda: not s.service._generations._runs)
        assert len(s.server.seen) == 1


async def test_the_deadline_closes_the_socket(tmp_path: Path) -> None:
    async with stack(tmp_path, faults=FaultServer(["drip"])) as s:
        with pytest.raises(QuintainError) as error:
            await s.generate_once(request("r1", "llm"), timeout=2.0)
        await until(lambda: s.server.seen[0].gone)
    assert error.value.code == "DEADLINE_EXCEEDED"
    assert error.value.metadata["call_outcome"] == "timeout"
    assert error.value.metadata["provider_request_id"] == "req_000001"  # of a call that may have been charged


async def test_a_stopping_generator_finishes_and_records_the_call_in_flight(tmp_path: Path) -> None:
    server = FaultServer(delay_seconds=0.3)
    async with stack(tmp_path, faults=server) as s:
        waiting = asyncio.create_task(s.generate_once(request("r1", "llm"), timeout=30.0))
        await until(lambda: len(server.seen) == 1)
        draining = asyncio.create_task(s.service.drain())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await s.generate_once(request("r2", "llm"))
        assert refused.value.reason == "DRAINING"
        assert (await waiting).outcome == pb.OUTCOME_OK
        await draining
    async with stack(tmp_path) as s:
        assert (await s.generate_once(request("r1", "llm"))).recorded


async def test_an_endpoint_that_is_down_opens_the_breaker_and_is_not_called_any_more(tmp_path: Path) -> None:
    backend = {"breaker_failures": 4, "breaker_cooldown_seconds": 60.0, "max_calls": 10}
    async with stack(tmp_path, faults=FaultServer(default="server_error"), backend=backend) as s:
        reasons = []
        for number in range(5):
            with pytest.raises(Unavailable) as error:
                await s.generate_once(request(f"r{number}", "llm"))
            reasons.append((error.value.reason, error.value.retry_after_seconds))
        (llm,) = [b for b in (await s.client.list_backends(pb.ListBackendsRequest())).backends if b.name == "llm"]
    assert len(s.server.seen) == 4
    assert {reason for reason, _ in reasons} == {"BACKEND_DOWN"}
    assert all(retry is not None and 50 < retry <= 60 for _, retry in reasons)
    assert not llm.available
    assert "circuit open" in llm.unavailable_reason


async def test_an_open_breaker_lets_one_probe_through_and_nobody_else_while_it_hangs(tmp_path: Path) -> None:
    backend = {"breaker_failures": 2, "breaker_cooldown_seconds": 0.05, "max_calls": 2, "max_concurrency": 8}
    faults = FaultServer(["server_error"] * 2, default="hang")
    async with stack(tmp_path, faults=faults, backend=backend, abandoned_call_seconds=0.0) as s:
        breaker = s.service._endpoints["llm"].breaker
        with pytest.raises(Unavailable):
            await s.generate_once(request("r0", "llm"))
        await until(lambda: breaker.wait_seconds() == 0)
        asked = [asyncio.create_task(s.generate_once(request(f"r{n}", "llm", seed=n))) for n in range(1, 6)]
        await until(lambda: sum(task.done() for task in asked) == 4)
        errors = [task.exception() for task in asked if task.done()]
        assert [isinstance(error, Unavailable) and error.reason == "BACKEND_DOWN" for error in errors] == [True] * 4
        await until(lambda: len(s.server.seen) == 3)
        (probe,) = [task for task in asked if not task.done()]
        probe.cancel()  # says nothing about the endpoint: the breaker stays open, and there is room for another probe
        await asyncio.wait([probe])
        await until(lambda: breaker.wait_seconds() == 0)
        assert breaker.is_open
        s.server.default = "ok"
        assert (await s.generate_once(request("r9", "llm"))).outcome == pb.OUTCOME_OK
        assert not breaker.is_open
        assert len(s.server.seen) == 4


async def test_callers_that_leave_at_any_moment_leave_no_place_and_no_turn_taken(tmp_path: Path) -> None:
    backend = {"max_concurrency": 2, "tokens_per_minute": 10_000_000}
    faults = FaultServer(delay_seconds=0.01)
    async with stack(tmp_path, faults=faults, backend=backend, abandoned_call_seconds=0.0) as s:
        rng = random.Random(5)

        async def hurried(number: int) -> None:
            with suppress(TimeoutError, QuintainError):
                await asyncio.wait_for(s.generate_once(request(f"r{number}", "llm", seed=number)), rng.uniform(0, 0.2))

        await asyncio.gather(*(hurried(n) for n in range(60)))
        await until(lambda: not s.service._generations._runs)
        endpoint = s.service._endpoints["llm"]
        assert endpoint.bucket is not None
        assert not endpoint.bucket.turn.locked()
        async with asyncio.timeout(5):
            for _ in range(2):
                await endpoint.places.acquire()
        assert endpoint.places.locked()


async def test_nobody_listening_is_down_too_and_costs_nothing(tmp_path: Path) -> None:
    options = {"base_url": "http://127.0.0.1:9/v1"}
    async with stack(tmp_path, backend={"options": options}) as s:
        with pytest.raises(Unavailable) as error:
            await s.generate_once(request("r1", "llm"))
    assert error.value.reason == "BACKEND_DOWN"
    assert float(error.value.metadata["at_risk_usd"]) == 0


@pytest.mark.parametrize("wire", ["openai", "compatible-whole", "anthropic"])
async def test_a_connection_that_never_comes_about_is_given_up_soon_and_costs_nothing(
    tmp_path: Path, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_wire, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:  # the kernel takes one, then ignores the others
        address = deaf.getsockname()
        with socket.create_connection(address):
            options = {"base_url": f"http://{address[0]}:{address[1]}/v1", "api_key_file": str(tmp_path / "key")}
            async with stack(tmp_path, wire, backend={"options": options, "max_calls": 2}) as s:
                with pytest.raises(Unavailable) as error:
                    await s.generate_once(request("r1", "llm"), timeout=30.0)
    assert error.value.metadata["call_outcome"] == "connection"
    assert error.value.metadata["calls"] == "2"
    assert float(error.value.metadata["at_risk_usd"]) == 0


async def test_all_callers_of_a_backend_share_its_places(tmp_path: Path) -> None:
    async with stack(tmp_path, faults=FaultServer(delay_seconds=0.1), backend={"max_concurrency": 2}) as s:
        highest = 0

        async def watch() -> None:
            nonlocal highest
            while True:
                highest = max(highest, sum(not seen.completed for seen in s.server.seen))
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(s.client.generate(request(f"r{n}", "llm", seed=n)) for n in range(8)))
        watching.cancel()
    assert highest == 2


async def test_the_tokens_of_a_minute_are_shared_and_a_wait_beyond_the_deadline_is_refused(tmp_path: Path) -> None:
    backend = {"tokens_per_minute": 3000, "max_output_tokens": 2000}
    async with stack(tmp_path, faults=FaultServer(["hang"]), backend=backend, abandoned_call_seconds=1.5) as s:
        await _call_and_leave(s, "r1")  # holds its reserve while it hangs
        with pytest.raises(QuintainError) as error:
            await s.generate_once(request("r2", "llm", seed=2), timeout=3.0)
        assert error.value.code == "RESOURCE_EXHAUSTED"
        assert error.value.reason == "RATE_LIMITED"
        assert error.value.retry_after_seconds is not None
        assert error.value.retry_after_seconds > 3.0
        assert len(s.server.seen) == 1


async def test_progress_is_told_while_the_answer_arrives(tmp_path: Path) -> None:
    long = "def decide(state):\n" + "".join(f"    x{n} = {n}\n" for n in range(400)) + "    return state\n"
    async with stack(tmp_path, faults=FaultServer(["rate_limited_soon"], policies=[long])) as s:
        stages = []
        async for response in s.client.generate_stream(request("r1", "llm")):
            stages.append(response.progress.stage if response.HasField("progress") else "result")
    assert stages[:5] == ["queued", "calling", "retrying", "queued", "calling"]
    assert "streaming" in stages
    assert stages[-2:] == ["extracting", "result"]


@pytest.mark.parametrize(
    ("faults", "backend", "words"),
    [
        (["hang"], {}, "waiting for priced-model: nothing so far, at most"),
        (["rate_limited_soon", "ok"], {"retry_base_seconds": 1.0}, "again in"),
        (["hang"], {"max_concurrency": 1}, "waiting for one of 1 places (max_concurrency)"),
    ],
)
async def test_nobody_waits_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: list[str], backend: dict[str, object], words: str
) -> None:
    monkeypatch.setattr(waiting, "SILENCE_SECONDS", 0.02)
    async with stack(tmp_path, faults=FaultServer(faults), backend=backend, abandoned_call_seconds=0.0) as s:
        if "max_concurrency" in backend:
            await _call_and_keep(s, "r0")
        notes: list[str] = []

        async def listen() -> None:
            async for event in s.client.generate_stream(request("r1", "llm", seed=2), timeout=20.0):
                notes.append(event.progress.note)

        listening = asyncio.create_task(listen())
        await until(lambda: any(words in note for note in notes))
        listening.cancel()
        await asyncio.wait([listening])


async def _call_and_keep(s: Stack, request_id: str) -> None:
    """Start a generation that takes the one place there is; its caller leaves when the test does."""
    call = asyncio.create_task(s.generate_once(request(request_id, "llm"), timeout=20.0))
    _KEPT.add(call)
    call.add_done_callback(lambda done: (_KEPT.discard(done), done.cancelled() or done.exception()))
    await until(lambda: bool(s.server.seen))


_KEPT: set[asyncio.Task[pb.Generation]] = set()


async def test_a_generator_whose_store_cannot_be_written_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_BELIEVED_SECONDS", 0.0)
    folder = tmp_path / "data"
    async with stack(tmp_path, store_url=f"sqlite:///{folder}/generator.db") as s:
        assert await s.service.unready_reason() == ""
        folder.rename(tmp_path / "moved")
        assert "the store cannot be written: the file" in await s.service.unready_reason()
        (tmp_path / "moved").rename(folder)
        assert await s.service.unready_reason() == ""
