"""A search with backends of several prices, over real gRPC: roles, one ledger, continuation and replay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import grpc
import pytest
from tests.integration.controller.conftest import NewStack, candidates, create, get, replay, until, watch
from tests.integration.controller.fakes import Backend
from tests.integration.controller.test_durability import essence

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument

MODEL = Backend("model", usd=0.02, max_request_usd=0.05, tokens=300)
FREE = Backend("free")


async def test_a_free_backend_sweeps_what_a_model_wrote_and_costs_nothing(new_stack: NewStack, tmp_path: Path) -> None:
    stack = new_stack(MODEL, FREE, folder=tmp_path / "one")
    client = await stack.start()
    search_id = await create(client, backends=["model", "free"], budget=pb.Budget(usd=0.3))
    await watch(client, search_id)
    search, found = await get(client, search_id), await candidates(client, search_id)
    asked = Counter(c.backend for c in found)
    assert asked["free"] >= 12
    assert search.spend.usd == pytest.approx(0.02 * asked["model"])
    assert 0.3 - 0.02 * 5 / 4 <= search.spend.usd <= 0.3
    assert search.spend.reserved_usd == 0.0
    assert search.spend.candidates == asked["model"] + asked["free"] == len(stack.generator.calls)
    swept = {c.parent_ids[0] for c in found if c.backend == "free"}
    assert f"{search_id}.0" not in swept  # nobody wrote the seed
    report, differences = await replay(client, search_id)
    assert (differences, report.equal) == ([], True)

    # the same search, given from one controller to another in the middle, asks for the same
    other = new_stack(MODEL, FREE, folder=tmp_path / "two")
    client = await other.start()
    again = await create(client, backends=["model", "free"], budget=pb.Budget(usd=0.3))
    await until(lambda: len(other.generator.calls) >= 7)
    await other.server.stop()
    client = await other.start()
    await watch(client, again)
    assert essence(await candidates(client, again)) == essence(found)
    assert max(other.generator.calls.values()) == 1


async def test_roles_that_make_no_sense_are_refused(new_stack: NewStack) -> None:
    client = await new_stack(MODEL, FREE).start()
    sweep, main = pb.BACKEND_ROLE_SWEEP, pb.BACKEND_ROLE_MAIN
    for fields, said in (
        ({"backends": ["free"], "backend_roles": {"free": sweep}}, "nobody would write"),
        ({"backends": ["free"], "backend_roles": {"model": main}}, "no backend of this search"),
        ({"backends": ["model"], "backend_roles": {"model": 9}}, "9 is none of BACKEND_ROLE_MAIN"),
        ({"strategy": "tree", "backends": ["model"], "backend_roles": {"model": main}}, "treats all backends alike"),
    ):
        with pytest.raises((InvalidArgument, grpc.RpcError), match=said):
            await create(client, **fields)
