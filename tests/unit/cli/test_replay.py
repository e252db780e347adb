"""`quintain replay`: a client of the controller."""

from __future__ import annotations

import json

from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController

from quintain.controller.v1 import controller_pb2 as pb


def test_a_replay_that_is_equal_ends_well(services: str, quintain: Run, controller: FakeController) -> None:
    ran = quintain("replay", "s1", "--parallel", "3")
    assert ran.code == 0, ran.err
    assert "the replay is equal" in ran.out
    assert controller.calls == [pb.ReplaySearchRequest(search_id="s1", parallel_verifications=3)]


def test_a_replay_may_take_as_long_as_its_search(services: str, quintain: Run, controller: FakeController) -> None:
    assert quintain("replay", "s1").code == 0
    assert controller.time_for_replay is not None
    assert controller.time_for_replay > 24 * 3600


def test_a_replay_that_differs_says_how_and_fails(services: str, quintain: Run, controller: FakeController) -> None:
    controller.differences = ["candidate 3: train verdict a became b", "the winner was 3 and is 4 now"]
    ran = quintain("replay", "s1")
    assert ran.code == 1
    assert "candidate 3: train verdict a became b" in ran.out
    ran = quintain("replay", "s1", "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    assert (document["equal"], document["differences"]) == (False, controller.differences)
