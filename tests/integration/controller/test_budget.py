"""The ledger end to end: hard stops are exact, money is never paid twice."""

from __future__ import annotations

import pytest
from tests.integration.controller.conftest import NewStack, Stack, candidates, create, get, spec, until, watch
from tests.integration.controller.fakes import Backend

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, InvalidArgument, Unavailable
from quintain.generator.v1 import generator_pb2


@pytest.mark.parametrize("workers", [1, 4])
async def test_a_budget_in_dollars_stops_at_the_last_request_that_fits_by_what_they_cost(
    new_stack: NewStack, workers: int
) -> None:
    backend = Backend(usd=0.07, max_request_usd=0.10, tokens=100)
    stack = new_stack(backend)
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(usd=1.0), parallel_generations=workers)
    await watch(client, search_id)
    search = await get(client, search_id)
    # 13 cost 0.91; with the room above what they cost, 0.0875, there is place for a 14th, and for no 15th.
    assert search.spend.candidates == len(stack.generator.calls) == 14
    assert search.spend.usd == pytest.approx(0.98, abs=1e-9)
    assert search.spend.reserved_usd == 0.0
    assert search.spend.tokens == 1400
    assert search.stop_reason.startswith("budget used up: usd")


async def test_verifications_count_the_seed_and_stop_exactly(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(verifications=12))
    await watch(client, search_id)
    search = await get(client, search_id)
    assert (search.spend.verifications, search.spend.candidates) == (12, 11)


async def test_a_rejected_candidate_leaves_its_verification_to_another(new_stack: NewStack) -> None:
    refused = {2: generator_pb2.OUTCOME_REFUSED, 4: generator_pb2.OUTCOME_NO_CODE}
    stack = new_stack(Backend(outcomes=refused))
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(verifications=12))
    await watch(client, search_id)
    search = await get(client, search_id)
    assert (search.spend.verifications, search.spend.candidates) == (12, 13)
    rejected = [c for c in await candidates(client, search_id) if c.state == pb.CANDIDATE_STATE_REJECTED]
    assert [(c.number, c.summary) for c in rejected] == [
        (2, "refused: the toy said no"),
        (4, "no_code: the toy said no"),
    ]


async def test_dollars_with_an_unpriced_model_are_refused_unless_told_how_to_count(new_stack: NewStack) -> None:
    stack = new_stack(Backend(priced=False, tokens=10))
    client = await stack.start()
    with pytest.raises(FailedPrecondition) as refused:
        await create(client, budget=pb.Budget(usd=1.0))
    assert refused.value.reason == "UNPRICED_MODEL"
    search_id = await create(client, budget=pb.Budget(usd=1.0), assume_usd_per_generation=0.25)
    await watch(client, search_id)
    search = await get(client, search_id)
    assert search.spend.candidates == search.spend.unpriced_generations == 4
    assert search.spend.usd == 1.0


async def test_a_free_backend_needs_another_bound_than_money(stack: Stack) -> None:
    client = await stack.start()
    with pytest.raises(InvalidArgument, match="cost nothing"):
        await create(client, budget=pb.Budget(usd=1.0))


async def test_a_finished_search_goes_on_when_its_budget_is_raised(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=6))
    await watch(client, search_id)
    with pytest.raises(InvalidArgument, match="may only be raised"):
        await client.extend_budget(pb.ExtendBudgetRequest(search_id=search_id, budget=pb.Budget(candidates=5)))
    with pytest.raises(InvalidArgument, match="no such bound"):
        await client.extend_budget(pb.ExtendBudgetRequest(search_id=search_id, budget=pb.Budget(tokens=5)))
    seen = (await get(client, search_id)).last_sequence
    await client.extend_budget(pb.ExtendBudgetRequest(search_id=search_id, budget=pb.Budget(candidates=15)))
    later = await watch(client, search_id, seen)
    search = await get(client, search_id)
    assert search.spend.candidates == 15
    assert search.spec.budget.candidates == 15
    assert any(e.HasField("budget_extended") for e in later)
    assert [c.number for c in await candidates(client, search_id)] == list(range(16))


async def test_a_budget_raised_while_the_gates_decide_keeps_the_search_going(stack: Stack) -> None:
    client = await stack.start()
    stack.verifier.gates.clear()
    search_id = await create(client, budget=pb.Budget(candidates=6))
    await until(lambda: stack.verifier.at_gates > 0)
    await client.extend_budget(pb.ExtendBudgetRequest(search_id=search_id, budget=pb.Budget(candidates=12)))
    stack.verifier.gates.set()
    events = await watch(client, search_id)
    assert (await get(client, search_id)).spend.candidates == 12
    assert sum(event.HasField("promoted") for event in events) == 1
    ends = [e.state_changed.state for e in events if e.HasField("state_changed")]
    assert ends == [pb.SEARCH_STATE_RUNNING, pb.SEARCH_STATE_FINISHED]


async def test_wall_time_ends_a_search(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(wall_seconds=0.3))
    await watch(client, search_id)
    search = await get(client, search_id)
    assert search.stop_reason.startswith("budget used up: wall_seconds")
    assert search.spend.wall_seconds >= 0.3


async def test_a_call_of_unknown_outcome_is_at_risk_and_not_repeated(new_stack: NewStack) -> None:
    stack = new_stack(Backend(outcomes={3: generator_pb2.OUTCOME_UNKNOWN}, usd=0.01))
    make = stack.generator._make

    def made(request: generator_pb2.GenerateRequest) -> generator_pb2.Generation:
        generation = make(request)
        if generation.outcome == generator_pb2.OUTCOME_UNKNOWN:
            generation.cost.usd = 0.0
            generation.cost.at_risk_usd = 0.05
        return generation

    stack.generator._make = made  # type: ignore[method-assign]
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=10))
    await watch(client, search_id)
    search = await get(client, search_id)
    assert search.spend.at_risk_usd == pytest.approx(0.05)
    assert search.spend.usd == pytest.approx(0.09)
    assert stack.generator.calls[f"{search_id}/3"] == 1


async def test_a_cancelled_search_books_what_was_paid_and_keeps_no_reservation(new_stack: NewStack) -> None:
    stack = new_stack(Backend(usd=0.07, max_request_usd=0.10))
    client = await stack.start()
    stack.generator.gate.clear()
    # One at a time is sent; the others of the window wait with their reservations.
    search_id = await create(client, budget=pb.Budget(usd=5.0), parallel_generations=1)
    await until(lambda: stack.generator.in_flight == 1)
    assert (await get(client, search_id)).spend.reserved_usd == pytest.approx(0.40)
    await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
    stack.generator.gate.set()
    await watch(client, search_id)
    search = await get(client, search_id)
    assert len(stack.generator.calls) == 1
    assert search.spend.usd == pytest.approx(0.07)
    assert search.spend.reserved_usd == 0.0


async def test_a_paused_search_sends_nothing_more_and_cancelled_then_keeps_no_reservation(new_stack: NewStack) -> None:
    stack = new_stack(Backend(usd=0.07, max_request_usd=0.10))
    client = await stack.start()
    stack.generator.gate.clear()
    search_id = await create(client, budget=pb.Budget(usd=5.0), parallel_generations=1)
    await until(lambda: stack.generator.in_flight == 1)
    await client.pause_search(pb.PauseSearchRequest(search_id=search_id))
    stack.generator.gate.set()
    await until(lambda: not stack.runs())
    spend = (await get(client, search_id)).spend
    assert (spend.verifications, spend.reserved_usd) == (2, pytest.approx(0.30))
    await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
    await watch(client, search_id)
    search = await get(client, search_id)
    assert len(stack.generator.calls) == 1
    assert (search.spend.usd, search.spend.reserved_usd) == (pytest.approx(0.07), 0.0)


async def test_a_paused_search_does_not_repeat_a_call_that_failed(stack: Stack) -> None:
    stack.runner |= {"first_retry_seconds": 0.1, "max_retry_seconds": 0.1}
    client = await stack.start()
    stack.generator.failures = [Unavailable("gone")] * 1000
    search_id = await create(client)
    await until(lambda: len(stack.generator.failures) < 1000)
    await client.pause_search(pb.PauseSearchRequest(search_id=search_id))
    # What was called before is still answered; then nothing more comes.
    await until(lambda: not stack.runs())
    left = len(stack.generator.failures)
    await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
    await watch(client, search_id)
    assert len(stack.generator.failures) == left
    assert not stack.generator.calls


async def test_a_word_that_was_overtaken_does_not_undo_a_cancel(stack: Stack) -> None:
    client = await stack.start()
    stack.generator.gate.clear()
    search_id = await create(client, parallel_generations=1)
    await until(lambda: stack.generator.in_flight == 1)
    run = stack.runs()[search_id]
    before = run._machine.control
    await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
    run.on_control_changed(before)  # as a commit that was made before the cancel, and answered after it
    stack.generator.gate.set()
    await watch(client, search_id)
    assert len(stack.generator.calls) == 1


async def test_a_cancelled_search_is_settled_while_others_use_all_there_is(stack: Stack) -> None:
    stack.runner |= {"generations_in_flight": 1, "max_searches": 2}
    client = await stack.start()
    stack.generator.gate.clear()
    busy = await create(client)
    await until(lambda: stack.generator.in_flight == 1)
    waits = await create(client, seed=8)

    async def asked() -> bool:
        return (await get(client, waits)).spend.candidates > 0

    await until(asked)
    unowned = await create(client, seed=9)
    for search_id in (unowned, waits):
        await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
        await watch(client, search_id)
        await client.delete_search(pb.DeleteSearchRequest(search_id=search_id))
    assert stack.generator.in_flight == 1
    stack.generator.gate.set()
    await watch(client, busy)
    assert (await get(client, busy)).spend.candidates == 20


async def test_a_backend_whose_habits_are_known_is_asked_in_parallel_within_two_dollars(new_stack: NewStack) -> None:
    """One request may cost 2.04 dollars and costs 0.03: what was found to generate nothing makes a search."""
    habits = {"measured_requests": 50, "typical_request_cost_usd": 0.03, "high_request_cost_usd": 0.05}
    stack = new_stack(Backend(usd=0.03, max_request_usd=2.04, habits=habits))
    client = await stack.start()
    stack.generator.gate.clear()
    search_id = await create(client, budget=pb.Budget(usd=2.0))
    await until(lambda: stack.generator.in_flight == 4)
    stack.generator.gate.set()
    await watch(client, search_id)
    search = await get(client, search_id)
    assert search.spend.candidates >= 60
    assert search.spend.usd <= 2.0


async def test_a_budget_that_is_none_is_refused_and_one_that_is_doubtful_is_warned_of(new_stack: NewStack) -> None:
    stack = new_stack(Backend(usd=0.03, max_request_usd=2.04))
    client = await stack.start()
    with pytest.raises(InvalidArgument, match="no room for one request") as refused:
        await create(client, budget=pb.Budget(usd=2.0))
    assert [v.field for v in refused.value.violations] == ["spec.budget.usd"]
    request = pb.CreateSearchRequest(spec=spec(budget=pb.Budget(usd=5.0)), validate_only=True)
    estimate = (await client.create_search(request)).estimate
    assert any("2 of 4 go at once" in warning for warning in estimate.warnings)
    assert not (await client.list_searches(pb.ListSearchesRequest())).searches


async def test_an_estimate_before_the_start_knows_what_earlier_searches_took(new_stack: NewStack) -> None:
    habits = {"measured_requests": 50, "typical_request_cost_usd": 0.04, "high_request_cost_usd": 0.05}
    stack = new_stack(Backend(usd=0.04, max_request_usd=2.0, habits=habits))
    client = await stack.start()
    request = pb.CreateSearchRequest(spec=spec(budget=pb.Budget(candidates=20)))
    response = await client.create_search(request)
    assert (response.estimate.candidates, response.estimate.usd) == (20, pytest.approx(0.8))
    assert not response.estimate.HasField("seconds")
    await watch(client, response.search.search_id)
    request.validate_only = True
    assert (await client.create_search(request)).estimate.seconds > 0.0


async def test_calls_that_broke_off_count_at_once_and_are_booked_at_the_cancel(new_stack: NewStack) -> None:
    stack = new_stack(Backend(usd=0.07, max_request_usd=0.10))
    client = await stack.start()
    broken = {"calls": "3", "spent_usd": "0.01", "at_risk_usd": "0.25"}
    stack.generator.failures = [Unavailable("broken off", metadata=broken, retry_after_seconds=30.0)] * 4
    search_id = await create(client, budget=pb.Budget(usd=1.0), parallel_generations=1)

    async def counted() -> bool:
        return (await get(client, search_id)).spend.at_risk_usd > 0.0

    await until(counted)
    await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
    await watch(client, search_id)
    spend = (await get(client, search_id)).spend
    assert (spend.usd, spend.at_risk_usd, spend.reserved_usd) == (pytest.approx(0.01), pytest.approx(0.25), 0.0)
