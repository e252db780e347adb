"""A search of several objectives over real gRPC: values, front, replay, and what is refused."""

from __future__ import annotations

import pytest
from tests.integration.controller.conftest import Stack, candidates, create, get, replay, watch

from quintain.clients.front import front_rows, preferred
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain.pareto import dominates
from quintain.type.v1 import type_pb2


async def test_the_candidates_that_no_other_beats_in_everything_are_kept_to_choose_from(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, further_objectives=["x:min"], budget=pb.Budget(candidates=30))
    await watch(client, search_id)
    search, found = await get(client, search_id), await candidates(client, search_id)
    (objective,) = search.further_objectives
    assert (objective.name, objective.metric, objective.direction) == ("x:min", "x", type_pb2.DIRECTION_MINIMIZE)
    rows = front_rows(search, found)
    points = {c.number: (c.score, -c.further_values[0]) for c in found if c.HasField("score")}
    kept = {p for p in points.values() if not any(dominates(other, p) for other in points.values())}
    assert len(rows) > 2
    assert {points[row.number] for row in rows} == kept
    assert len(rows) == len(kept)  # of equal ones the first
    assert rows[0].number == search.best.number
    assert preferred(search, rows, "x:min").number == 0  # the seed's x is 0
    assert preferred(search, rows, "closeness").number == search.best.number
    with pytest.raises(InvalidArgument, match="it has closeness, x:min"):
        preferred(search, rows, "cost")
    report, differences = await replay(client, search_id)
    assert (differences, report.equal) == ([], True)


async def test_without_a_value_in_every_scenario_there_is_no_front(stack: Stack) -> None:
    client = await stack.start()
    search_id = await create(client, further_objectives=["seconds:min"], budget=pb.Budget(candidates=3))
    await watch(client, search_id)
    search, found = await get(client, search_id), await candidates(client, search_id)
    assert front_rows(search, found) == []
    assert search.best.HasField("score")


async def test_objectives_that_there_are_not_and_too_many_are_refused(stack: Stack) -> None:
    client = await stack.start()
    with pytest.raises(InvalidArgument, match="'latency' is neither another objective"):
        await create(client, further_objectives=["latency"])
    with pytest.raises(InvalidArgument, match="6 objectives; at most 5"):
        await create(client, further_objectives=["x:min"] * 6)
