"""Calls through the providers' batch interfaces: handed in once, paid once at the batch price, whatever happens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.fault_server.server import FaultServer
from tests.support.generator import BATCH_WIRES, Stack, request, stack

from quintain.clients.generator import AsyncGenerator
from quintain.errors import FailedPrecondition, NotFound, QuintainError, Unavailable
from quintain.generator.v1 import generator_pb2 as pb

WIRE = pytest.mark.parametrize("wire", sorted(BATCH_WIRES))
USD = (2.0e-6 / 2, 10.0e-6 / 2)  # a token of input and output, by the tests' prices at the batch price


async def once(s: Stack, message: pb.GenerateRequest) -> pb.Generation | pb.Waiting:
    async with AsyncGenerator(s.address, retries=False) as client:
        async for event in client.generate_stream(message, timeout=8.0):
            if event.WhichOneof("event") == "waiting":
                return event.waiting
            if event.WhichOneof("event") == "result":
                return event.result
    raise AssertionError("the stream said nothing")


async def answered(s: Stack, message: pb.GenerateRequest) -> pb.Generation:
    """Ask as a controller does, until there is a result."""
    async with asyncio.timeout(20.0):
        while isinstance(came := await once(s, message), pb.Waiting):
            await asyncio.sleep(came.after_seconds)
    return came


def bill(server: FaultServer) -> float:
    return sum(c.input_tokens * USD[0] + c.output_tokens * USD[1] for c in server.seen if c.completed)


@WIRE
async def test_an_answer_comes_later_at_half_the_price(wire: str, tmp_path: Path) -> None:
    async with stack(tmp_path, wire, faults=FaultServer(batch_looks=2)) as s:
        first = await once(s, request("s1/1"))
        assert isinstance(first, pb.Waiting)
        assert (first.batch_id, first.after_seconds) == (s.server.seen[0].request_id, 0.05)
        with pytest.raises(FailedPrecondition) as nothing_yet:
            await s.client.get_generation(pb.GetGenerationRequest(request_id="s1/1"))
        assert nothing_yet.value.reason == "NO_RESULT_YET"
        assert float(nothing_yet.value.metadata["at_risk_usd"]) > 0
        found = await answered(s, request("s1/1"))
        assert found.outcome == pb.OUTCOME_OK
        assert found.cost.usd == pytest.approx(bill(s.server))
        assert found.cost.usd > 0
        assert "batches at 50%" in found.cost.price_source
        assert [(c.outcome, c.provider_request_id) for c in found.calls] == [("ok", s.server.seen[0].request_id)]
        again = await once(s, request("s1/1"))
        assert isinstance(again, pb.Generation)
        assert again.recorded
        assert len(s.server.seen) == 1
        (listed,) = [b for b in (await s.client.list_backends(pb.ListBackendsRequest())).backends if b.name == "llm"]
        assert listed.batch


@WIRE
@pytest.mark.parametrize(
    ("script", "calls", "outcome"),
    [
        (["batch_unanswered"], ["ok"], "OK"),
        (["batch_lost"], ["connection", "ok"], "OK"),
        (["batch_mixed"], ["ok"], "OK"),
        (["batch_expired"], ["overloaded", "ok"], "OK"),
        (["batch_cancelled"], ["server_error", "ok"], "OK"),
        (["batch_errored"], ["server_error", "ok"], "OK"),
        (["rate_limited_now"], ["rate_limited", "ok"], "OK"),
        (["batch_unanswered", "batch_lost", "batch_expired"], ["ok"], "OK"),
        (["truncated"], ["truncated"], "TRUNCATED"),
        (["refusal"], ["refusal"], "REFUSED"),
        (["bad_diff"], ["ok", "ok"], "OK"),
    ],
)
async def test_whatever_becomes_of_a_batch(
    wire: str, script: list[str], calls: list[str], outcome: str, tmp_path: Path
) -> None:
    async with stack(tmp_path, wire, faults=FaultServer(script)) as s:
        found = await answered(s, request("s1/1"))
        assert pb.Outcome.Name(found.outcome) == f"OUTCOME_{outcome}"
        assert [c.outcome for c in found.calls] == calls
        assert found.cost.usd == pytest.approx(bill(s.server))
        assert found.cost.at_risk_usd == 0
        assert sum(seen.completed for seen in s.server.seen) == sum(c.HasField("usage") for c in found.calls)


async def test_a_batch_that_never_begins_is_a_refusal(tmp_path: Path) -> None:
    async with stack(tmp_path, "openai-batch", faults=FaultServer(["batch_failed"])) as s:
        assert isinstance(await once(s, request("s1/1")), pb.Waiting)
        with pytest.raises(FailedPrecondition) as refused:
            await answered(s, request("s1/1"))
        assert refused.value.reason == "BACKEND_REFUSED_REQUEST"
        assert "told to fail" in refused.value.message
        assert float(refused.value.metadata["spent_usd"]) == 0


@WIRE
async def test_expired_again_and_again_is_said_after_as_many_calls_as_allowed(wire: str, tmp_path: Path) -> None:
    faults = FaultServer(default="batch_expired")
    async with stack(tmp_path, wire, faults=faults, backend={"max_calls": 3}) as s:
        with pytest.raises(Unavailable) as down:
            await answered(s, request("s1/1"))
        assert down.value.reason == "BACKEND_DOWN"
        assert len(s.server.seen) == 3


@WIRE
async def test_batches_of_many_requests_are_told_apart_though_nobody_heard_of_them(wire: str, tmp_path: Path) -> None:
    names = [f"s1/{n}" for n in range(1, 7)]
    async with stack(tmp_path, wire, faults=FaultServer(["batch_unanswered"] * 6, batch_looks=3)) as s:
        found = await asyncio.gather(*(answered(s, request(name, mark=name[3:])) for name in names))
        assert len(s.server.seen) == 6
        marks = {seen.request_id: seen.mark for seen in s.server.seen}
        assert [marks[g.calls[0].provider_request_id] for g in found] == [name[3:] for name in names]
        assert sum(g.cost.usd for g in found) == pytest.approx(bill(s.server))


@WIRE
async def test_a_provider_that_is_away_costs_nothing_that_was_handed_in(wire: str, tmp_path: Path) -> None:
    async with stack(tmp_path, wire) as s:
        assert isinstance(await once(s, request("s1/1")), pb.Waiting)
        port = s.server.port
        await s.server.stop()
        with pytest.raises(QuintainError) as away:
            await once(s, request("s1/1"))
        assert away.value.reason == "BACKEND_DOWN"
        await s.server.start(port)
        found = await answered(s, request("s1/1"))
        assert (found.outcome, len(found.calls), len(s.server.seen)) == (pb.OUTCOME_OK, 1, 1)


@WIRE
async def test_a_cancelled_request_ends_its_batch_and_costs_nothing(wire: str, tmp_path: Path) -> None:
    async with stack(tmp_path, wire, faults=FaultServer(batch_looks=1000)) as s:
        assert isinstance(await once(s, request("s1/1")), pb.Waiting)
        wanted = pb.CancelGenerationRequest(request_id="s1/1")
        ended = (await s.client.cancel_generation(wanted, timeout=10.0)).generation
        assert ended.outcome == pb.OUTCOME_CANCELLED
        assert (ended.cost.usd, ended.cost.at_risk_usd, bill(s.server)) == (0, 0, 0)
        assert (await s.client.cancel_generation(wanted)).generation == ended
        later = await once(s, request("s1/1"))
        assert isinstance(later, pb.Generation)
        assert later.outcome == pb.OUTCOME_CANCELLED
        assert len(s.server.seen) == 1


@WIRE
async def test_an_answer_that_was_faster_than_the_cancellation_is_paid_for(wire: str, tmp_path: Path) -> None:
    async with stack(tmp_path, wire, faults=FaultServer(["batch_too_late"], batch_looks=1000)) as s:
        assert isinstance(await once(s, request("s1/1")), pb.Waiting)
        wanted = pb.CancelGenerationRequest(request_id="s1/1")
        ended = (await s.client.cancel_generation(wanted, timeout=10.0)).generation
        assert ended.outcome == pb.OUTCOME_CANCELLED
        assert ended.cost.usd == pytest.approx(bill(s.server))
        assert ended.cost.usd > 0
        assert ended.response_text


async def test_a_batch_that_does_not_end_in_time_is_at_risk_until_somebody_asks_again(tmp_path: Path) -> None:
    async with stack(tmp_path, "anthropic-batch", faults=FaultServer(["batch_unanswered"], batch_looks=1000)) as s:
        assert isinstance(await once(s, request("s1/1")), pb.Waiting)
        with pytest.raises(FailedPrecondition) as waits:  # whose it is cannot be known before it ends
            await s.client.cancel_generation(pb.CancelGenerationRequest(request_id="s1/1"), timeout=2.0)
        assert waits.value.reason == "NO_RESULT_YET"
        assert float(waits.value.metadata["at_risk_usd"]) > 0
        with pytest.raises(NotFound):
            await s.client.cancel_generation(pb.CancelGenerationRequest(request_id="s1/2"))
        s.server.batches.finish()
        wanted = pb.CancelGenerationRequest(request_id="s1/1")
        ended = (await s.client.cancel_generation(wanted, timeout=10.0)).generation
        assert (ended.outcome, ended.cost.at_risk_usd) == (pb.OUTCOME_CANCELLED, 0)
        assert ended.cost.usd == pytest.approx(bill(s.server))
        assert ended.cost.usd > 0


async def test_a_request_without_a_batch_is_left_alone(tmp_path: Path) -> None:
    async with stack(tmp_path, "anthropic") as s:
        found = await s.generate_once(request("s1/1"))
        kept = (await s.client.cancel_generation(pb.CancelGenerationRequest(request_id="s1/1"))).generation
        assert (kept.outcome, kept.source) == (pb.OUTCOME_OK, found.source)


async def test_batches_that_are_turned_off_are_not_forgotten(tmp_path: Path) -> None:
    async with stack(tmp_path, "openai-batch", faults=FaultServer(batch_looks=1000)) as s:
        assert isinstance(await once(s, request("s1/1")), pb.Waiting)
    async with stack(tmp_path, "openai") as s:
        with pytest.raises(FailedPrecondition, match="set batch = true"):
            await s.generate_once(request("s1/1"))
        assert not s.server.seen


async def test_a_plain_client_is_told_to_come_back(tmp_path: Path) -> None:
    async with stack(tmp_path, "openai-batch") as s:
        with pytest.raises(Unavailable) as later:
            await s.client.generate(request("s1/1"), timeout=5.0)
        assert (later.value.reason, later.value.retry_after_seconds) == ("ANSWER_LATER", 0.05)
