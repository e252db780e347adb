"""`quintain ablate` as a command: what an interruption leaves, and how it goes on."""

from __future__ import annotations

import json
import signal

import pytest
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController, scored

from quintain.controller.v1 import controller_pb2 as pb
from quintain.type.v1 import type_pb2

COMMAND = ("ablate", "--strategy", "chain", "--strategy", "tree", "--verifications", "9", "--seeds", "2")


@pytest.fixture
def finished(controller: FakeController) -> FakeController:
    controller.search.state = pb.SEARCH_STATE_FINISHED
    controller.search.direction = type_pb2.DIRECTION_MAXIMIZE
    controller.search.best.CopyFrom(scored(2, 1.2).summary)
    return controller


def created(controller: FakeController) -> list[pb.CreateSearchRequest]:
    return [call for call in controller.calls if isinstance(call, pb.CreateSearchRequest)]


def test_every_seed_is_searched_with_every_strategy(services: str, quintain: Run, finished: FakeController) -> None:
    lines = [json.loads(line) for line in quintain(*COMMAND, "--json").out.splitlines()]
    assert [(line["arm"], line["seed"]) for line in lines[:4]] == [("chain", 1), ("tree", 1), ("chain", 2), ("tree", 2)]
    assert {line["train"] for line in lines[:4]} == {0.5}
    assert [line["conclusion"] for line in lines[4:]] == ["chain and tree are equal everywhere"]
    assert [r.spec.strategy for r in created(finished)] == ["chain", "tree"] * 2
    assert {r.spec.budget.verifications for r in created(finished)} == {9}


def test_every_search_has_the_same_stop_rules(services: str, quintain: Run, finished: FakeController) -> None:
    assert quintain(*COMMAND, "--stop-at", "99%", "--plateau", "20").code == 0
    rules = [r.spec.stop for r in created(finished)]
    assert rules == [pb.StopRules(near_bound=0.99, candidates_without_improvement=20)] * 4
    ran = quintain(*COMMAND, "--stop-at", "nearly")
    assert (ran.code, "'nearly' is neither a score (2.35) nor a share of the bound (99%)" in ran.err) == (2, True)


def test_an_interrupted_ablation_asks_for_the_same_searches_again(
    services: str, quintain: Run, controller: FakeController, finished: FakeController
) -> None:
    controller.interrupt_when_watched(signal.SIGINT)
    ran = quintain(*COMMAND)
    assert ran.code == 130
    (first,) = created(controller)
    assert controller.search.state == pb.SEARCH_STATE_PAUSED
    ablation = first.request_id.partition("/")[0]
    assert f"--resume {ablation}" in ran.err

    ran = quintain(*COMMAND, "--resume", ablation)  # resuming finishes the fake's search
    assert ran.code == 0
    assert created(controller)[1] == first
    assert len({r.request_id for r in created(controller)[1:]}) == 4


def test_a_mistyped_ablation_searches_nothing(services: str, quintain: Run, finished: FakeController) -> None:
    ran = quintain(*COMMAND, "--resume", "nonesuch")
    assert ran.code == 2
    assert "no search belongs to an ablation 'nonesuch'" in ran.err
    assert not created(finished)


def test_a_search_that_needs_a_person_ends_the_ablation_with_its_reason(
    services: str, quintain: Run, controller: FakeController
) -> None:
    controller.needs_person("generator: AUTHENTICATION_FAILED")
    controller.resumes_to = pb.SEARCH_STATE_PAUSED
    ran = quintain(*COMMAND)
    assert ran.code == 2
    assert "(chain) paused: generator: AUTHENTICATION_FAILED" in ran.err
