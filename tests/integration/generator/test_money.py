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
        g = await s.generate_once(request("r1", "llm", allowance=allowance))
    assert g.outcome == pb.OUTCOME_UNKNOWN
    assert "max_cost_usd is 0.015" in g.detail
    assert g.cost.at_risk_usd > 0
    assert len(s.server.seen) == 1


async def test_a_request_that_failed_goes_on_with_its_calls_and_costs_when_it_is_repeated(tmp_path: Path) -> None:
    script = ["cut_mid_stream", "overloaded"]
    async with stack(tmp_path, faults=FaultServer(script), backend={"max_calls": 2}) as s:
        with pytest.raises(QuintainError, match="overloaded after 2 calls") as failed:
            await s.generate_once(request("r1", "llm"))
        with pytest.raises(FailedPrecondition) as asked:
            await s.client.get_generation(pb.GetGenerationRequest(request_id="r1"))
        assert asked.value.reason == "NO_RESULT_YET"
        names = ("calls", "spent_usd", "at_risk_usd")
        assert [asked.value.metadata[name] for name in names] == [failed.value.metadata[name] for name in names]
        assert failed.value.metadata["calls"] == "2"
        assert float(failed.value.metadata["at_risk_usd"]) > 0
        g = await s.generate_once(request("r1", "llm"))
    assert [call.outcome for call in g.calls] == ["connection", "overloaded", "ok"]
    assert g.cost.usd > 0
    assert g.cost.at_risk_usd > 0


@pytest.mark.parametrize("fault", ["cut_mid_stream", "clean_cut", "malformed", "error_event"])
@pytest.mark.parametrize("max_calls", [1, 5])
async def test_an_endpoint_that_breaks_every_answer_off_is_not_called_without_end(
    tmp_path: Path, fault: str, max_calls: int
) -> None:
    """However often the request is asked for: it ends, with what may have been charged, and the caller can book it."""
    async with stack(tmp_path, faults=FaultServer(default=fault), backend={"max_calls": max_calls}) as s:
        results = [await s.generate_once(request("r1", "llm")) for _ in range(4)]
        found = (await s.client.get_generation(pb.GetGenerationRequest(request_id="r1"))).generation
    most = min(max_calls, 2)
    assert len(s.server.seen) == most
    assert {r.outcome for r in results} == {pb.OUTCOME_UNKNOWN}
    assert [r.recorded for r in results] == [False, True, True, True]
    assert found.cost.usd == 0
    assert found.cost.at_risk_usd == pytest.approx(sum(r.cost.at_risk_usd for r in results) / 4)
    assert f"{most} calls broke off and may have been charged" in found.detail


async def test_calls_that_cost_nothing_are_not_held_against_a_request(tmp_path: Path) -> None:
    """A provider that is down for hours ends no request."""
    async with stack(tmp_path, faults=FaultServer(default="overloaded"), backend={"max_calls": 2}) as s:
        for _ in range(4):
            with pytest.raises(QuintainError) as error:
                await s.generate_once(request("r1", "llm"))
        assert (error.value.reason, error.value.metadata["calls"]) == ("BACKEND_DOWN", "8")
        s.server.default = "ok"
        assert (await s.generate_once(request("r1", "llm"))).outcome == pb.OUTCOME_OK


async def test_progress_says_what_the_request_has_cost_so_far(tmp_path: Path) -> None:
    async with stack(tmp_path, faults=FaultServer(["cut_mid_stream", "ok"])) as s:
        events = [event async for event in s.client.generate_stream(request("r1", "llm"), timeout=30.0)]
    spends = [(e.progress.spend.calls, e.progress.spend.at_risk_usd > 0) for e in events if e.HasField("progress")]
    assert (spends[0], spends[-1]) == ((0, False), (2, True))
    assert events[-1].result.cost.at_risk_usd == pytest.approx(events[-2].progress.spend.at_risk_usd)


async def test_every_error_of_a_request_without_a_result_says_what_it_has_cost(tmp_path: Path) -> None:
    """Also those that have nothing to do with its calls."""
    script = ["cut_mid_stream", "overloaded"]
    async with stack(tmp_path, faults=FaultServer(script), backend={"max_calls": 2}) as s:
        with pytest.raises(QuintainError):
            await s.generate_once(request("r1", "llm"))
        await s.service.drain()
        with pytest.raises(QuintainError) as error:
            await s.generate_once(request("r1", "llm"))
    assert error.value.reason == "DRAINING"
    assert error.value.metadata["calls"] == "2"
    assert float(error.value.metadata["at_risk_usd"]) > 0


async def test_habits_are_measured_on_the_requests_of_a_backend(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:

        async def llm() -> pb.Backend:
            listed = (await s.client.list_backends(pb.ListBackendsRequest())).backends
            return next(backend for backend in listed if backend.name == "llm")

        assert (await llm()).measured_requests == 0
        assert not (await llm()).HasField("typical_request_cost_usd")
        made = [await s.client.generate(request(f"r{n}", "llm", seed=n)) for n in range(5)]
        await s.client.generate(request("other", "offline"))
        found = await llm()
    costs = sorted(g.cost.usd for g in made)
    assert found.measured_requests == 5
    assert found.typical_request_cost_usd == pytest.approx(costs[2])
    assert found.high_request_cost_usd == pytest.approx(costs[4])
    assert found.high_request_cost_usd < found.max_request_cost_usd / 10
    assert found.typical_request_output_tokens == sorted(g.usage.output_tokens for g in made)[2]
    assert found.high_request_input_tokens == max(g.usage.input_tokens for g in made)


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


@pytest.mark.parametrize(
    ("fault", "outcome", "words"),
    [
        ("fence_no_code", pb.OUTCOME_NO_CODE, "neither a fenced block"),
        ("fence_broken_code", pb.OUTCOME_INVALID_CODE, "line 1"),
        ("fence_wrong_name", pb.OUTCOME_INVALID_CODE, "decide"),
    ],
)
async def test_an_answer_without_a_policy_is_asked_for_once_more_and_both_are_paid(
    fault: str, outcome: pb.Outcome.ValueType, words: str, tmp_path: Path
) -> None:
    async with stack(tmp_path, faults=FaultServer([fault, "ok", fault, fault])) as s:
        mended = await s.client.generate(request("r1", "llm"))
        failed = await s.client.generate(request("r2", "llm"))
        paid = [seen.input_tokens * 2e-6 + seen.output_tokens * 10e-6 for seen in s.server.seen]
    assert mended.outcome == pb.OUTCOME_OK
    assert mended.detail.startswith("mended by a follow-up: ")
    assert words in mended.detail
    assert words in mended.prompt[-1].content
    assert failed.outcome == outcome
    assert [[c.outcome for c in g.calls] for g in (mended, failed)] == [["ok", "ok"], ["ok", "ok"]]
    assert [mended.cost.usd, failed.cost.usd] == pytest.approx([sum(paid[:2]), sum(paid[2:])])


async def test_a_follow_up_that_the_request_has_no_money_for_is_not_made(tmp_path: Path) -> None:
    async with stack(tmp_path, faults=FaultServer(["fence_no_code"])) as s:
        with pytest.raises(ResourceExhausted, match="the next call may cost") as too_little:
            await s.generate_once(request("r0", "llm", allowance=pb.Allowance(max_cost_usd=1e-6)))
        one_call = float(too_little.value.message.partition("may cost ")[2].split()[0])
        allowance = pb.Allowance(max_cost_usd=one_call + 1e-6)
        found = await s.client.generate(request("r1", "llm", allowance=allowance))
    assert found.outcome == pb.OUTCOME_NO_CODE
    assert len(found.calls) == 1


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
                await s.generate_once(request("r1", "llm"), timeout=3.0)
    assert error.value.metadata["call_outcome"] == "connection"
    assert error.value.metadata["at_risk_usd"] == "0.000000"
