"""Services that answer what nobody should: a search says so, goes on where it can, and its records stay readable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.controller.conftest import NewStack, Stack, candidates, create, get, until, watch
from tests.integration.controller.fakes import BASELINE, Backend

from quintain.clients.controller import AsyncController
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, Internal, Unavailable
from quintain.generator.v1 import generator_pb2
from quintain.verifier.v1 import verifier_pb2

POISON = "x = 0.5  # poison\n"


async def paused(client: AsyncController, search_id: str) -> pb.Search:
    """The search, once it has paused."""

    async def there() -> bool:
        return (await get(client, search_id)).state == pb.SEARCH_STATE_PAUSED

    await until(there)
    return await get(client, search_id)


def answering(stack: Stack, change: Callable[[verifier_pb2.VerifyRequest, verifier_pb2.Verdict], None]) -> None:
    """From now on the verifier's verdicts are changed."""
    honest = type(stack.verifier).result.__get__(stack.verifier)

    def result(request: verifier_pb2.VerifyRequest) -> verifier_pb2.VerifyResult:
        answer = honest(request)
        change(request, answer.verdict)
        return answer

    stack.verifier.result = result  # type: ignore[method-assign]


def costing(stack: Stack, number: int, **cost: Any) -> None:
    """The answer for one candidate claims to cost that."""
    honest = stack.generator._make

    def make(request: generator_pb2.GenerateRequest) -> generator_pb2.Generation:
        generation: generator_pb2.Generation = honest(request)
        if request.request_id.endswith(f"/{number}"):
            generation.cost.CopyFrom(generator_pb2.Cost(**cost))
        return generation

    stack.generator._make = make  # type: ignore[method-assign]


@pytest.mark.parametrize("field", ["score", "normalized", "baseline_score", "bound_score", "scenario"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
async def test_a_score_that_is_no_number_pauses_the_search_and_is_stored_nowhere(
    stack: Stack, field: str, value: float
) -> None:
    def strange(request: verifier_pb2.VerifyRequest, verdict: verifier_pb2.Verdict) -> None:
        if request.policy.source == BASELINE:
            if field == "scenario":
                verdict.scenarios[0].normalized = value
            else:
                setattr(verdict.train, field, value)

    answering(stack, strange)
    client = await stack.start()
    search_id = await create(client)
    assert "not finite" in (await paused(client, search_id)).pause_reason
    assert [c.HasField("score") for c in await candidates(client, search_id)] == [False]
    answering(stack, lambda _request, _verdict: None)
    await client.resume_search(pb.ResumeSearchRequest(search_id=search_id))
    await watch(client, search_id)
    assert (await get(client, search_id)).state == pb.SEARCH_STATE_FINISHED


async def test_a_metric_that_is_no_number_is_left_out_of_the_means(stack: Stack) -> None:
    def strange(request: verifier_pb2.VerifyRequest, verdict: verifier_pb2.Verdict) -> None:
        verdict.scenarios[0].metrics.add(name="ratio", value=math.inf)
        verdict.scenarios[1].metrics.add(name="ratio", value=0.5)

    answering(stack, strange)
    client = await stack.start()
    search_id = await create(client)
    await watch(client, search_id)
    assert (await get(client, search_id)).state == pb.SEARCH_STATE_FINISHED
    assert len(await candidates(client, search_id)) == 21


@pytest.mark.parametrize(
    "cost", [{"usd": -5.0}, {"usd": math.nan}, {"usd": math.inf}, {"at_risk_usd": -1.0}, {"at_risk_usd": math.nan}]
)
async def test_a_price_that_is_none_pauses_the_search_and_gives_no_money_back(
    new_stack: NewStack, cost: dict[str, float]
) -> None:
    stack = new_stack(Backend(usd=0.07, max_request_usd=0.10))
    costing(stack, 3, **cost)
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(usd=1.0), strategy="chain")
    assert "usd" in (await paused(client, search_id)).pause_reason
    await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
    await watch(client, search_id)
    spend = (await get(client, search_id)).spend
    assert spend.usd == pytest.approx(0.14)
    assert (spend.at_risk_usd, spend.reserved_usd) == (pytest.approx(0.10), 0.0)


async def test_an_answer_that_has_lost_its_price_is_counted_at_what_was_reserved(new_stack: NewStack) -> None:
    stack = new_stack(Backend(usd=0.07, max_request_usd=0.10))
    for number in range(1, 51):
        costing(stack, number, unpriced=True)
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(usd=1.0, candidates=50))
    await watch(client, search_id)
    spend = (await get(client, search_id)).spend
    assert (spend.candidates, spend.unpriced_generations) == (10, 10)
    assert spend.usd + spend.at_risk_usd == pytest.approx(1.0)


async def test_a_free_model_that_counts_tokens_keeps_to_their_bound(new_stack: NewStack) -> None:
    stack = new_stack(Backend(tokens=1000))
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(tokens=20_000, candidates=100))
    await watch(client, search_id)
    search = await get(client, search_id)
    assert search.spend.tokens <= 20_000
    assert search.stop_reason.startswith("budget used up: tokens")


async def test_one_candidate_that_breaks_the_verifier_does_not_stop_the_search(new_stack: NewStack) -> None:
    stack = new_stack(Backend(sources={4: POISON}))

    def broken(request: verifier_pb2.VerifyRequest, verdict: verifier_pb2.Verdict) -> None:
        if request.policy.source == POISON:
            raise Internal("the simulator crashed")

    answering(stack, broken)
    client = await stack.start()
    search_id = await create(client)
    events = await watch(client, search_id)
    search = await get(client, search_id)
    assert (search.state, search.spend.candidates) == (pb.SEARCH_STATE_FINISHED, 20)
    (bad,) = [c for c in await candidates(client, search_id) if c.state == pb.CANDIDATE_STATE_REJECTED]
    assert bad.number == 4
    assert "the simulator crashed" in bad.summary
    assert any("the simulator crashed" in e.backend_trouble.reason for e in events)


async def test_a_verifier_that_is_broken_for_all_pauses_the_search_after_one_candidate(new_stack: NewStack) -> None:
    stack = new_stack(Backend(sources={number: f"x = 0.{number:02}\n" for number in range(1, 21)}))

    def broken(request: verifier_pb2.VerifyRequest, verdict: verifier_pb2.Verdict) -> None:
        if request.policy.source != BASELINE:
            raise Internal("the simulator crashed")

    answering(stack, broken)
    client = await stack.start()
    search_id = await create(client)
    assert "the simulator crashed" in (await paused(client, search_id)).pause_reason
    await until(lambda: not stack.runs())
    states = [c.state for c in await candidates(client, search_id)]
    assert states.count(pb.CANDIDATE_STATE_REJECTED) == 1
    answering(stack, lambda _request, _verdict: None)
    await client.resume_search(pb.ResumeSearchRequest(search_id=search_id))
    await watch(client, search_id)
    states = [c.state for c in await candidates(client, search_id)]
    assert states.count(pb.CANDIDATE_STATE_REJECTED) == 1
    assert states.count(pb.CANDIDATE_STATE_VERIFIED) == 20


async def test_scores_of_another_build_of_the_simulator_are_not_mixed_in(stack: Stack) -> None:
    client = await stack.start()
    stack.generator.gate.clear()
    search_id = await create(client)
    await until(lambda: stack.generator.in_flight > 0)

    def upgraded(request: verifier_pb2.VerifyRequest, verdict: verifier_pb2.Verdict) -> None:
        verdict.simulator_build = "build-2"

    answering(stack, upgraded)
    stack.generator.gate.set()
    search = await paused(client, search_id)
    assert "build-2" in search.pause_reason
    assert "build-1" in search.pause_reason
    assert not any(c.HasField("score") for c in (await candidates(client, search_id))[1:])


async def test_a_search_that_waits_for_its_backend_goes_on_after_its_controller_is_killed(stack: Stack) -> None:
    down = Unavailable("circuit open", reason="BACKEND_DOWN", retry_after_seconds=600.0)
    stack.generator.failures = [down]
    client = await stack.start()
    search_id = await create(client, parallel_generations=1)
    await paused(client, search_id)
    await stack.server._service._runner.close()  # type: ignore[attr-defined]
    stack.expire_leases()
    client = await stack.start()  # meanwhile the backend is back
    await watch(client, search_id)
    search = await get(client, search_id)
    assert (search.state, search.spend.candidates) == (pb.SEARCH_STATE_FINISHED, 20)


async def test_a_backend_that_comes_back_without_its_key_says_what_a_person_must_do(stack: Stack) -> None:
    stack.generator.failures = [
        Unavailable("circuit open", reason="BACKEND_DOWN"),
        FailedPrecondition("no key", reason="AUTHENTICATION_FAILED"),
    ]
    client = await stack.start()
    search_id = await create(client, parallel_generations=1, strategy="chain")
    await until(lambda: not stack.generator.failures)
    await until(lambda: not stack.runs())
    search = await get(client, search_id)
    assert search.state == pb.SEARCH_STATE_PAUSED
    assert "AUTHENTICATION_FAILED" in search.pause_reason


async def test_a_complaint_that_the_store_cannot_hold_is_stored_as_well(new_stack: NewStack, postgres_url: str) -> None:
    stack = new_stack(store_url=postgres_url)
    stack.generator.failures = [FailedPrecondition("no \0 key", reason="AUTHENTICATION_FAILED")] * 4
    client = await stack.start()
    search_id = await create(client)
    assert "AUTHENTICATION_FAILED" in (await paused(client, search_id)).pause_reason
