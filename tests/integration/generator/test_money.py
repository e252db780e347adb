"""What is charged, what is at risk, and what is refused before it costs anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fault_server.answers import DEFAULT_POLICY
from tests.fault_server.server import FaultServer
from tests.support.generator import MODEL, WIRES, request, stack

from quintain.errors import FailedPrecondition, QuintainError, ResourceExhausted
from quintain.generator.v1 import generator_pb2 as pb
from quintain.plugins.backend import BackendReply, CallOutcome, Usage


@pytest.mark.parametrize("wire", WIRES)
async def test_cached_tokens_are_counted_once_and_priced_as_cached_in_every_protocol(tmp_path: Path, wire: str) -> None:
    async with stack(tmp_path, wire, faults=FaultServer(default="cached")) as s:
        g = await s.client.generate(request("r1", "llm"))
    usage = g.usage
    assert usage.cached_input_tokens > 0
    assert abs(usage.input_tokens - usage.cached_input_tokens) <= 1  # the server cached half
    expected = (usage.input_tokens * 2.0 + usage.cached_input_tokens * 0.2 + usage.output_tokens * 10.0) / 1e6
    assert g.cost.usd == pytest.approx(expected)
    assert g.cost.price_source == "priced-model, effective 2026-01-01, invented for tests"


@pytest.mark.parametrize(
    ("model", "reply", "settled"),
    [
        (MODEL, BackendReply(CallOutcome.OK, text="x", usage=Usage(1_000_000, output_tokens=100_000)), (3.0, 0.0)),
        (MODEL, BackendReply(CallOutcome.OK, text="x"), (0.0, 9.0)),
        (MODEL, BackendReply(CallOutcome.OK, text="x", usage=Usage(5, output_tokens=-1)), (0.0, 9.0)),
        (MODEL, BackendReply(CallOutcome.OK, text="x", usage=Usage(0, output_tokens=0)), (0.0, 9.0)),
        (MODEL, BackendReply(CallOutcome.CONTENT_FILTER, usage=Usage()), (0.0, 0.0)),
        (MODEL, BackendReply(CallOutcome.OVERLOADED), (0.0, 0.0)),
        (MODEL, BackendReply(CallOutcome.OVERLOADED, usage=Usage(100)), (0.0, 9.0)),
        (MODEL, BackendReply(CallOutcome.TIMEOUT), (0.0, 9.0)),
        (MODEL, BackendReply(CallOutcome.CONNECTION, sent=False), (0.0, 0.0)),
        ("nobody-knows", BackendReply(CallOutcome.OK, text="x", usage=Usage(5, output_tokens=5)), (None, 0.0)),
        ("nobody-knows", BackendReply(CallOutcome.TIMEOUT), (None, 0.0)),
        ("nobody-knows", BackendReply(CallOutcome.CONTENT_FILTER, usage=Usage()), (0.0, 0.0)),
    ],
)
async def test_every_reply_is_charged_at_risk_unpriced_or_free(
    tmp_path: Path, model: str, reply: BackendReply, settled: tuple[float | None, float]
) -> None:
    async with stack(tmp_path, model=model) as s:
        endpoint = s.service._endpoints["llm"]
        reserved = None if endpoint.price is None else 9.0
        assert endpoint.settle(endpoint.clean_reply(reply), reserved) == settled


async def test_a_model_without_a_price_is_unpriced_not_free(tmp_path: Path) -> None:
    async with stack(tmp_path, model="nobody-knows") as s:
        g = await s.client.generate(request("r1", "llm"))
        (llm,) = [b for b in (await s.client.list_backends(pb.ListBackendsRequest())).backends if b.name == "llm"]
        with pytest.raises(FailedPrecondition, match="no price") as refused:
            await s.client.generate(request("r2", "llm", allowance=pb.Allowance(max_cost_usd=5.0)))
    assert g.cost.unpriced
    assert not llm.priced
    assert not llm.HasField("max_request_cost_usd")
    assert refused.value.reason == "UNPRICED_MODEL"
    assert len(s.server.seen) == 1


async def test_a_call_that_could_cost_more_than_allowed_is_not_made(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        with pytest.raises(ResourceExhausted) as refused:
            await s.generate_once(request("r1", "llm", allowance=pb.Allowance(max_cost_usd=0.0001)))
        assert refused.value.reason == "COST_LIMIT"
        assert s.server.seen == []
        enough = pb.Allowance(max_cost_usd=0.05, max_output_tokens=1000)
        g = await s.client.generate(request("r2", "llm", allowance=enough))
    assert 0 < g.cost.usd <= 0.05
    assert s.server.seen[0].max_tokens == 1000


async def test_a_prompt_beyond_its_budget_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with stack(tmp_path, prompt_tokens=100) as s:
        with pytest.raises(FailedPrecondition, match="prompt_tokens is 100") as refused:
            await s.generate_once(request("r1", "llm"))
    assert refused.value.reason == "PROMPT_TOO_LARGE"
    assert s.server.seen == []


async def test_money_at_risk_counts_against_the_allowance(tmp_path: Path) -> None:
    """One call's reserve fits, two do not: after a call that broke off there is no second one."""
    async with stack(tmp_path, faults=FaultServer(default="cut_mid_stream")) as s:
        allowance = pb.Allowance(max_cost_usd=0.015, max_output_tokens=1000)
        with pytest.raises(ResourceExhausted) as refused:
            await s.generate_once(request("r1", "llm", allowance=allowance))
    assert refused.value.reason == "COST_LIMIT"
    assert float(refused.value.metadata["at_risk_usd"]) > 0
    assert len(s.server.seen) == 1


async def test_a_request_that_failed_goes_on_with_its_calls_and_costs_when_it_is_repeated(tmp_path: Path) -> None:
    script = ["cut_mid_stream", "cut_mid_stream"]
    async with stack(tmp_path, faults=FaultServer(script)) as s:
        with pytest.raises(Exception, match="connection after 2 calls"):
            await s.generate_once(request("r1", "llm"))
        g = await s.generate_once(request("r1", "llm"))
    assert [call.outcome for call in g.calls] == ["connection", "connection", "ok"]
    assert g.cost.usd > 0
    assert g.cost.at_risk_usd > 0


async def test_a_diff_that_does_not_apply_is_asked_again_once_with_the_reason(tmp_path: Path) -> None:
    diff = {"operator": pb.OPERATOR_DIFF}
    async with stack(tmp_path, faults=FaultServer(["bad_diff", "diff", "bad_diff", "bad_diff"])) as s:
        mended = await s.client.generate(request("r1", "llm", **diff))
        failed = await s.client.generate(request("r2", "llm", **diff))
    assert mended.outcome == pb.OUTCOME_OK
    assert "sorted(state)[::-1]" in mended.source
    assert [m.role for m in mended.prompt][-2:] == ["assistant", "user"]
    assert "is not in the source" in mended.prompt[-1].content
    assert failed.outcome == pb.OUTCOME_DIFF_FAILED
    assert "SEARCH part is not in the source" in failed.detail
    assert [len(g.calls) for g in (mended, failed)] == [2, 2]


async def test_the_parents_own_program_is_a_duplicate(tmp_path: Path) -> None:
    other_words = '# mine\ndef decide(state):\n    """Sorts."""\n    return sorted( state )\n'
    async with stack(tmp_path, faults=FaultServer(default="constant")) as s:
        g = await s.client.generate(request("r1", "llm", parent=other_words))
    assert g.outcome == pb.OUTCOME_DUPLICATE
    assert g.detail == "the same program as candidate c1"
    assert g.source == DEFAULT_POLICY


@pytest.mark.parametrize("wire", WIRES)
async def test_a_call_that_never_got_a_connection_is_not_at_risk_however_short_its_time(
    tmp_path: Path, wire: str
) -> None:
    """The server never answers the TLS handshake."""
    async with FaultServer() as server:
        path = "" if wire == "anthropic" else "/v1"
        options = {
            **WIRES[wire][1],
            "base_url": f"https://127.0.0.1:{server.port}{path}",
            "api_key_file": tmp_path / "key",
        }
        async with stack(tmp_path, wire, backend={"options": options}) as s:
            with pytest.raises(QuintainError) as error:
                await s.generate_once(request("r1", "llm"), timeout=1.0)
    assert error.value.metadata["call_outcome"] == "connection"
    assert error.value.metadata["at_risk_usd"] == "0.000000"
