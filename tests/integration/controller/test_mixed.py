"""A search with backends of several prices, over real gRPC: roles, one ledger, continuation and replay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import grpc
import pytest
from tests.integration.controller.conftest import NewStack, candidates, create, get, replay, until, watch
from tests.integration.controller.fakes import Backend
from tests.integration.controller.test_api import options
from tests.integration.controller.test_durability import essence

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain.generator.v1 import generator_pb2
from quintain.verifier.v1 import verifier_pb2

MODEL = Backend("model", usd=0.02, max_request_usd=0.05, tokens=300)
FREE = Backend("free")
# No search of the free one's own at first: then what the model wrote promises more than the seed.
SWEEPS = {"strategy_options": options(explore=0)}


async def test_a_free_backend_sweeps_what_a_model_wrote_and_costs_nothing(new_stack: NewStack, tmp_path: Path) -> None:
    stack = new_stack(MODEL, FREE, folder=tmp_path / "one")
    client = await stack.start()
    search_id = await create(client, backends=["model", "free"], budget=pb.Budget(usd=0.3), **SWEEPS)
    await watch(client, search_id)
    search, found = await get(client, search_id), await candidates(client, search_id)
    asked = Counter(c.backend for c in found)
    assert asked["free"] >= 12
    assert search.spend.usd == pytest.approx(0.02 * asked["model"])
    assert 0.3 - 0.02 * 5 / 4 <= search.spend.usd <= 0.3
    assert search.spend.reserved_usd == 0.0
    assert search.spend.candidates == asked["model"] + asked["free"] == len(stack.generator.calls)
    swept = {c.parent_ids[0] for c in found if c.backend == "free" and c.operator == generator_pb2.OPERATOR_FULL}
    assert {c.candidate_id for c in found if c.backend == "model"} & swept
    report, differences = await replay(client, search_id)
    assert (differences, report.equal) == ([], True)

    # the same search, given from one controller to another in the middle, asks for the same
    other = new_stack(MODEL, FREE, folder=tmp_path / "two")
    client = await other.start()
    again = await create(client, backends=["model", "free"], budget=pb.Budget(usd=0.3), **SWEEPS)
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


KINDS = {"a_1": 0.70, "a_2": 0.72, "b_1": 0.75, "b_2": 0.76, "c_1": 0.80, "c_2": 0.82}
LOOK = ["a_1", "b_1", "c_1"]


async def test_a_sweep_that_one_scenario_of_each_kind_speaks_against_is_not_run_on_the_others(
    new_stack: NewStack, tmp_path: Path
) -> None:
    stack = new_stack(MODEL, FREE, folder=tmp_path / "one")
    stack.verifier.train, stack.verifier.tells_decisions = dict(KINDS), True
    client = await stack.start()
    search_id = await create(client, backends=["model", "free"], budget=pb.Budget(usd=0.3), **SWEEPS)
    await watch(client, search_id)
    search, found = await get(client, search_id), await candidates(client, search_id)
    stopped = [c for c in found if c.verdict_status == verifier_pb2.VERDICT_STATUS_STOPPED_EARLY]
    same = [c for c in stopped if c.summary.startswith("the same decisions as candidate ")]
    worse = [c for c in stopped if c.summary.startswith("worse than candidate ")]
    assert stopped
    assert same
    assert worse
    assert len(same) + len(worse) == len(stopped)
    assert {c.backend for c in stopped} == {"free"}
    assert not any(c.HasField("score") for c in stopped)  # part of the scenarios is no score
    assert {tuple(r.scenarios) for r in stack.verifier.looked_at} == {tuple(LOOK)}
    assert all(r.HasField("stop_below_score") for r in stack.verifier.looked_at)
    # whatever is stopped really is no better there than the candidate it is told to be worse than, or like
    for c in stopped:
        other = found[int(c.summary.split(" candidate ")[1].split()[0])]
        source, theirs = [
            (await client.get_candidate(pb.GetCandidateRequest(candidate_id=x.candidate_id))).candidate.source
            for x in (c, other)
        ]
        values = [sum(1 - abs(float(text.split("=")[1]) - KINDS[n]) for n in LOOK) for text in (source, theirs)]
        if c in worse:
            assert values[0] < values[1]
        else:
            assert f"{float(source.split('=')[1]):.1f}" == f"{float(theirs.split('=')[1]):.1f}"
    assert search.spend.verifications == len(found)  # a look counts as one
    report, differences = await replay(client, search_id)
    assert (differences, report.equal) == ([], True)

    other = new_stack(MODEL, FREE, folder=tmp_path / "two")
    other.verifier.train, other.verifier.tells_decisions = dict(KINDS), True
    client = await other.start()
    again = await create(client, backends=["model", "free"], budget=pb.Budget(usd=0.3), **SWEEPS)
    await until(lambda: len(other.verifier.looked_at) >= 3)
    await other.server.stop()
    client = await other.start()
    await watch(client, again)
    assert essence(await candidates(client, again)) == essence(found)
