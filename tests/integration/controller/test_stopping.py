"""Searches that end before their budget is used up."""

from __future__ import annotations

import pytest
from tests.integration.controller.conftest import NewStack, Stack, candidates, create, get, replay, until, watch
from tests.integration.controller.test_durability import essence

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument

NEAR = pb.StopRules(near_bound=0.9)


async def test_a_search_stops_near_the_bound_says_so_and_is_replayed(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, stop=NEAR, budget=pb.Budget(candidates=300))
    events = await watch(client, search_id)
    search = await get(client, search_id)
    assert search.state == pb.SEARCH_STATE_FINISHED
    assert search.spec.stop == NEAR
    assert "of the bound is reached" in search.stop_reason
    assert events[-1].state_changed.reason == search.stop_reason
    assert search.best.score >= 0.9 * search.best.bound_score
    assert search.spend.candidates < 300
    assert search.gates, "the gates decide as at any end"
    report, differences = await replay(client, search_id)
    assert report.equal, differences


async def test_it_stops_at_the_same_candidate_after_a_change_of_owner(stack: Stack, new_stack: NewStack) -> None:
    (stack.folder / "other").mkdir()
    undisturbed = new_stack(folder=stack.folder / "other")
    client = await undisturbed.start()
    budget = pb.Budget(candidates=300)
    first = await create(client, stop=NEAR, budget=budget)
    await watch(client, first)
    expected = essence(await candidates(client, first))

    client = await stack.start()
    second = await create(client, stop=NEAR, budget=budget)

    async def begun() -> bool:
        return len(await candidates(client, second)) >= len(expected) // 2

    await until(begun)
    await stack.server.stop()
    stack.expire_leases()
    client = await stack.start()
    await watch(client, second)
    assert essence(await candidates(client, second)) == expected


async def test_a_fork_has_the_rules_of_its_search_unless_it_is_given_others(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, stop=NEAR)
    await watch(client, search_id)
    best = (await get(client, search_id)).best.candidate_id
    forked = (await client.fork_search(pb.ForkSearchRequest(candidate_id=best))).search
    assert forked.spec.stop == NEAR
    other = pb.StopRules(candidates_without_improvement=3)
    spec = pb.SearchSpec(stop=other, budget=pb.Budget(candidates=40))
    forked = (await client.fork_search(pb.ForkSearchRequest(candidate_id=best, spec=spec))).search
    assert forked.spec.stop == other
    await watch(client, forked.search_id)
    assert "in a row were not better" in (await get(client, forked.search_id)).stop_reason


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (pb.StopRules(near_bound=99), "spec.stop.near_bound: 99 is not within 1e-09 and 1 (0.99: 99 % of the bound)"),
        (pb.StopRules(near_bound=0), "spec.stop.near_bound: 0 is not within"),
        (pb.StopRules(score=float("nan")), "spec.stop.score: nan is not within"),
        (pb.StopRules(candidates_without_improvement=0), "candidates_without_improvement: 0 is not within 1 and"),
    ],
)
async def test_a_rule_that_cannot_be_meant_is_refused(stack: Stack, rules: pb.StopRules, said: str) -> None:
    client = await stack.start()
    with pytest.raises(InvalidArgument) as refused:
        await create(client, stop=rules)
    assert said in refused.value.message
