"""The contract's edges: what is refused and how, pages, forks, cancelling, deleting."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
from google.protobuf import struct_pb2
from tests.integration.controller.conftest import NewStack, Stack, candidates, create, get, spec, watch
from tests.integration.controller.fakes import Backend

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, QuintainError


def options(**values: Any) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(values)
    return made


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"budget": pb.Budget()}, InvalidArgument, "at least one of candidates"),
        ({"budget": pb.Budget(candidates=-1)}, InvalidArgument, "spec.budget.candidates: -1 is not within 1 and 1e+09"),
        ({"strategy": "guess"}, InvalidArgument, "installed are: best-of-n, chain, evolve, tree"),
        (
            {"strategy_options": options(islnds=2)},
            InvalidArgument,
            "spec.strategy_options.islnds: is no option of evolve (did you mean 'islands'?); it has ",
        ),
        ({"strategy_options": options(population=0)}, InvalidArgument, "spec.strategy_options.population"),
        ({"backends": ["gpt"]}, NotFound, "the generator has toy"),
        ({"objective": "speed"}, InvalidArgument, "toy has closeness"),
        ({"parallel_generations": -1}, InvalidArgument, "spec.parallel_generations"),
    ],
)
async def test_a_wrong_spec_is_refused_with_what_would_be_right(
    stack: Stack, fields: dict[str, Any], error: type[QuintainError], says: str
) -> None:
    client = await stack.start()
    with pytest.raises(error) as refused:
        await create(client, **fields)
    assert says in refused.value.message


async def test_unknown_simulator_and_suite_name_the_known(stack: Stack) -> None:
    client = await stack.start()
    request = pb.CreateSearchRequest(spec=pb.SearchSpec(simulator="toy", suite="x", budget=pb.Budget(candidates=1)))
    with pytest.raises(InvalidArgument, match="known are: toy"):
        await client.create_search(request)
    request.spec.simulator = "y"
    with pytest.raises(NotFound, match="there is toy"):
        await client.create_search(request)
    for call in (
        client.get_search(pb.GetSearchRequest(search_id="no")),
        client.pause_search(pb.PauseSearchRequest(search_id="no")),
        client.list_candidates(pb.ListCandidatesRequest(search_id="no")),
        client.get_candidate(pb.GetCandidateRequest(candidate_id="no.1")),
        watch(client, "no"),
    ):
        with pytest.raises(NotFound, match="'no'"):
            await call


async def test_a_repeated_request_id_makes_one_search(stack: Stack) -> None:
    client = await stack.start()
    request = pb.CreateSearchRequest(request_id="mine", spec=spec(budget=pb.Budget(candidates=2)))
    first = await client.create_search(request)
    again = await client.create_search(request)
    assert first.search.search_id == again.search.search_id
    request.spec.seed = 99
    with pytest.raises(AlreadyExists, match="'mine'"):
        await client.create_search(request)


async def test_searches_are_listed_newest_first_page_by_page(stack: Stack) -> None:
    client = await stack.start()
    made = [await create(client, budget=pb.Budget(candidates=1)) for _ in range(5)]
    found: list[str] = []
    token = ""
    while True:
        page = await client.list_searches(pb.ListSearchesRequest(page_size=2, page_token=token))
        found += [search.search_id for search in page.searches]
        token = page.next_page_token
        if not token:
            break
    assert found == made[::-1]
    with pytest.raises(InvalidArgument, match="page_token"):
        await client.list_searches(pb.ListSearchesRequest(page_token="rubbish!"))


async def test_large_seed_policies_spoil_no_list_and_stay_out_of_it(stack: Stack) -> None:
    client = await stack.start()
    seeds = [{"source": f"def decide(n):\n    return {number}\n#" + "x" * 200_000} for number in range(15)]
    made = [await create(client, budget=pb.Budget(candidates=1), seed_policies=seeds) for _ in range(2)]
    page = await client.list_searches(pb.ListSearchesRequest())
    assert [search.search_id for search in page.searches] == made[::-1]
    assert page.ByteSize() < 1_000_000
    assert len(page.searches[0].spec.seed_policies) == 15
    assert len((await get(client, made[0])).spec.seed_policies[0].source) > 200_000


async def test_a_damaged_search_is_shown_as_damaged_and_the_others_as_ever(stack: Stack) -> None:
    client = await stack.start()
    good = await create(client, budget=pb.Budget(candidates=1))
    await watch(client, good)
    bad = await create(client, budget=pb.Budget(candidates=1))
    await watch(client, bad)
    with sqlite3.connect(stack.folder / "controller.db", timeout=30) as database:
        database.execute("UPDATE searches SET spec = '{' WHERE search_id = ?", [bad])
    database.close()
    page = await client.list_searches(pb.ListSearchesRequest())
    assert [search.search_id for search in page.searches] == [bad, good]
    assert page.searches[0].error.startswith("cannot be read: ")
    assert page.searches[1].state == pb.SEARCH_STATE_FINISHED


async def test_a_fork_begins_with_the_candidate_and_takes_the_rest_from_its_search(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, strategy="tree", strategy_options=options(repairs=2))
    await watch(client, search_id)
    best = (await get(client, search_id)).best
    forked = await client.fork_search(
        pb.ForkSearchRequest(candidate_id=best.candidate_id, spec=pb.SearchSpec(seed=3, budget=pb.Budget(candidates=4)))
    )
    await watch(client, forked.search.search_id)
    fork = await get(client, forked.search.search_id)
    assert fork.forked_from_candidate_id == best.candidate_id
    assert (fork.spec.strategy, fork.spec.seed, fork.spend.candidates) == ("tree", 3, 4)
    assert fork.spec.strategy_options["repairs"] == 2
    first = (await candidates(client, fork.search_id))[0]
    assert first.score == best.score


async def test_a_fork_of_an_extended_search_has_the_extended_budget_and_is_made_once(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, budget=pb.Budget(candidates=3))
    await watch(client, search_id)
    request = pb.ForkSearchRequest(request_id="f", candidate_id=f"{search_id}.1")
    await client.extend_budget(pb.ExtendBudgetRequest(search_id=search_id, budget=pb.Budget(candidates=5)))
    fork = (await client.fork_search(request)).search
    assert fork.spec.budget.candidates == 5
    await client.extend_budget(pb.ExtendBudgetRequest(search_id=search_id, budget=pb.Budget(candidates=7)))
    assert (await client.fork_search(request)).search.search_id == fork.search_id


@pytest.mark.parametrize("strategy", ["chain", "best-of-n", "evolve", "tree"])
async def test_a_fork_of_a_policy_that_failed_repairs_it_or_says_so(new_stack: NewStack, strategy: str) -> None:
    stack = new_stack(Backend(sources={1: "raise x = 0.5\n"}))
    client = await stack.start()
    search_id = await create(client, strategy=strategy, budget=pb.Budget(candidates=2))
    await watch(client, search_id)
    stack.generator.backends["toy"] = Backend()
    budget = pb.Budget(candidates=6)
    forked = await client.fork_search(
        pb.ForkSearchRequest(candidate_id=f"{search_id}.1", spec=pb.SearchSpec(seed=3, budget=budget))
    )
    await watch(client, forked.search.search_id)
    fork = await get(client, forked.search.search_id)
    assert (fork.state, fork.spend.candidates) == (pb.SEARCH_STATE_FINISHED, 6)
    assert fork.best.score > 0.0
    assert (await candidates(client, fork.search_id))[0].verdict_status == 2


async def test_a_cancelled_search_ends_and_can_be_deleted(stack: Stack) -> None:
    client = await stack.start()
    stack.generator.gate.clear()
    search_id = await create(client)
    with pytest.raises(FailedPrecondition, match="cancel it first"):
        await client.delete_search(pb.DeleteSearchRequest(search_id=search_id))
    await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
    await client.cancel_search(pb.CancelSearchRequest(search_id=search_id))
    stack.generator.gate.set()
    events = await watch(client, search_id)
    search = await get(client, search_id)
    assert search.state == pb.SEARCH_STATE_CANCELLED
    assert search.spend.reserved_usd == 0
    assert events[-1].sequence == search.last_sequence
    assert len(stack.generator.calls) <= 4
    for change in (
        client.resume_search(pb.ResumeSearchRequest(search_id=search_id)),
        client.pause_search(pb.PauseSearchRequest(search_id=search_id)),
        client.extend_budget(pb.ExtendBudgetRequest(search_id=search_id, budget=pb.Budget(candidates=99))),
    ):
        with pytest.raises(FailedPrecondition):
            await change
    await client.delete_search(pb.DeleteSearchRequest(search_id=search_id))
    with pytest.raises(NotFound):
        await get(client, search_id)


async def test_strategies_say_their_options_as_a_schema(stack: Stack) -> None:
    client = await stack.start()
    first = await client.list_strategies(pb.ListStrategiesRequest(page_size=3))
    rest = await client.list_strategies(pb.ListStrategiesRequest(page_token=first.next_page_token))
    listed = {s.name: json.loads(s.options_schema) for s in [*first.strategies, *rest.strategies]}
    assert set(listed) >= {"chain", "best-of-n", "evolve", "tree"}
    assert listed["evolve"]["additionalProperties"] is False
    assert all("description" in field for field in listed["evolve"]["properties"].values())


async def test_a_search_is_called_what_its_user_says_and_finds_the_same(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, title="before")
    request = pb.UpdateSearchRequest(search_id=search_id, title="after", notes="n", add_tags=["b", "a"])
    await client.update_search(request)
    await watch(client, search_id)
    found = (await client.update_search(pb.UpdateSearchRequest(search_id=search_id, remove_tags=["b"]))).search
    assert (found.spec.title, found.notes, list(found.tags)) == ("after", "n", ["a"])
    assert found.state == pb.SEARCH_STATE_FINISHED
    (listed,) = (await client.list_searches(pb.ListSearchesRequest())).searches
    assert (listed.spec.title, list(listed.tags)) == ("after", ["a"])
    with pytest.raises(InvalidArgument, match="nothing to change"):
        await client.update_search(pb.UpdateSearchRequest(search_id=search_id))
    with pytest.raises(NotFound):
        await client.update_search(pb.UpdateSearchRequest(search_id="no", title="x"))
