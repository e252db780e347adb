"""The model against times that were worked out by hand, without the engine around it."""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib import resources
from types import SimpleNamespace
from typing import Any

import pytest

from quintain_system import Decision, Rejected
from quintain_system.interface import Record

CONFIG = {
    "nodes": 2,
    "node_cores": 2,
    "node_memory_mb": 1000,
    "image_cache_mb": 500,
    "pull_mb_per_second": 100.0,
    "runtime_seconds": 0.5,
    "keep_alive_seconds": 60.0,
    "contention": 0.0,
}
# A start takes 0.5 s of runtime, 1 s of initialisation, and 3 s to pull the image where it is not there.
WARM_IMAGE, COLD_IMAGE = 1.5, 4.5
Said = tuple[float, str, dict[str, Any]]


class Run:
    """A model, its clock and what it said. Two functions of 300 MB; function 2 takes two requests an instance."""

    def __init__(self, quota: int = 10, **config: Any) -> None:
        source = (resources.files("quintain_system") / "packages/tenants/model.py").read_text()
        names: dict[str, Any] = {}
        exec(compile(source, "model.py", "exec"), names)
        self.model = names["Model"](SimpleNamespace(**{**CONFIG, **config}), SimpleNamespace(), random.Random(0))
        self.now = 0.0
        self.said: list[Said] = []
        self.give("tenant", tenant=1, weight=1, quota=quota)
        for function in (1, 2):
            self.give(
                "function", function=function, tenant=1, memory_mb=300, image_mb=300, init_seconds=1.0,
                concurrency=function, objective_seconds=1.0,
            )  # fmt: skip

    def give(self, kind: str, **fields: Any) -> None:
        self.model.on_input(self.now, Record(kind, **fields))
        self.until(self.now)

    def request(self, number: int, work: float, function: int = 1) -> None:
        self.give("request", request=number, function=function, tenant=1, weight=1, objective_seconds=1.0, work=work)

    def decide(self, kind: str, **fields: Any) -> None:
        self.model.on_decision(self.now, Decision(kind, **fields))
        self.until(self.now)

    def until(self, time: float) -> None:
        while (due := self.model.next_event_time()) is not None and due <= time:
            assert due >= self.now, "time ran back"
            self.now = due
            for event in self.model.advance(due):
                self.said.append(
                    (due, event.kind, {k: v for k, v in vars(event).items() if k not in ("kind", "_line")})
                )
        self.now = time

    def times(self, kind: str, by: str = "request") -> dict[int, float]:
        return {fields[by]: pytest.approx(time) for time, said, fields in self.said if said == kind}

    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.said]


def test_a_first_request_waits_for_image_runtime_and_initialisation() -> None:
    run = Run()
    run.request(1, work=2.0)
    run.decide("place", request=1, node=0)
    run.until(50.0)
    assert run.times("started") == {1: COLD_IMAGE}
    assert run.times("finished") == {1: COLD_IMAGE + 2.0}
    assert run.kinds() == ["instance", "ready", "started", "finished"]
    assert run.said[2][2]["cold"] is True


def test_a_warm_instance_begins_at_once_and_a_known_image_is_not_pulled_again() -> None:
    run = Run()
    run.request(1, work=2.0)
    run.decide("place", request=1, node=0)
    run.until(10.0)
    run.request(2, work=1.0)
    run.decide("place", request=2, node=0)
    assert run.said[-1] == (10.0, "started", {"request": 2, "instance": 1, "cold": False})
    run.request(3, work=1.0)  # the instance is busy: a second one, with the image at hand
    run.decide("place", request=3, node=0)
    run.until(20.0)
    assert run.times("started")[3] == 10.0 + WARM_IMAGE


def test_an_image_makes_room_for_a_newer_one() -> None:
    run = Run()  # 500 MB of disk, 300 MB an image: one of them
    for number, function in enumerate((1, 2, 1), start=1):
        run.decide("warm", function=function, node=0)
        run.until(number * 10.0)
    assert run.times("ready", "instance") == {1: COLD_IMAGE, 2: 10 + COLD_IMAGE, 3: 20 + COLD_IMAGE}


def test_requests_share_the_cores_of_their_node() -> None:
    run = Run(node_cores=1)
    for _ in range(2):
        run.decide("warm", function=1, node=0)
    run.until(10.0)
    run.request(1, work=2.0)
    run.decide("place", request=1, node=0)
    run.until(11.0)  # half of it is done
    run.request(2, work=2.0)
    run.decide("place", request=2, node=0)
    run.until(50.0)
    # Both at half speed until the first is done at 13; by then the second has done half, and is alone.
    assert run.times("finished") == {1: 13.0, 2: 14.0}


def test_a_crowded_node_is_slower_for_all() -> None:
    run = Run(node_cores=2, contention=0.5)
    for _ in range(2):
        run.decide("warm", function=1, node=0)
    run.until(10.0)
    for number in (1, 2):
        run.request(number, work=2.0)
        run.decide("place", request=number, node=0)
    run.until(50.0)
    # Two requests on two cores: half a core's worth beyond half. 1 + 0.5 x 0.5 = 1.25 times as long.
    assert run.times("finished") == {1: 12.5, 2: 12.5}


def test_an_instance_takes_as_many_requests_as_it_may_while_it_starts() -> None:
    run = Run()
    for number in (1, 2, 3):
        run.request(number, work=1.0, function=2)
        run.decide("place", request=number, node=1)
    assert run.kinds() == ["instance", "instance"]  # two on the first, one on the second
    run.until(50.0)
    started = {fields["request"]: fields["instance"] for _, kind, fields in run.said if kind == "started"}
    assert started == {1: 1, 2: 1, 3: 2}


def test_an_image_that_is_on_its_way_is_not_pulled_twice() -> None:
    run = Run()
    run.decide("warm", function=1, node=0)
    run.until(2.0)
    run.decide("warm", function=1, node=0)
    run.until(50.0)
    assert run.times("ready", "instance") == {1: COLD_IMAGE, 2: 3.0 + WARM_IMAGE}


@pytest.mark.parametrize(("kept", "gone"), [(None, 60.0), (5.0, 5.0), (0.0, 0.0), (200.0, 200.0)])
def test_an_idle_instance_goes_after_its_keep_alive(kept: float | None, gone: float) -> None:
    run = Run()
    if kept is not None:
        run.decide("keep_alive", function=1, seconds=kept)
    run.decide("warm", function=1, node=0)
    run.until(300.0)
    assert run.times("gone", "instance") == {1: COLD_IMAGE + gone}


def test_keep_alive_counts_from_the_last_answer_and_can_be_changed_meanwhile() -> None:
    run = Run()
    run.decide("warm", function=1, node=0)
    run.until(50.0)
    run.request(1, work=1.0)
    run.decide("place", request=1, node=0)
    run.until(100.0)
    assert "gone" not in run.kinds()
    run.decide("keep_alive", function=1, seconds=55.0)
    run.until(300.0)
    assert run.times("gone", "instance") == {1: 51.0 + 55.0}


def test_a_shorter_keep_alive_ends_what_has_been_idle_for_longer_at_once() -> None:
    run = Run()
    run.decide("warm", function=1, node=0)
    run.until(30.0)
    run.decide("keep_alive", function=1, seconds=2.0)
    assert run.said[-1] == (30.0, "gone", {"instance": 1})


def test_an_evicted_instance_gives_its_memory_and_its_place_in_the_quota_back() -> None:
    run = Run(quota=1)
    run.decide("warm", function=1, node=0)
    run.until(10.0)
    assert run.model.observe()["free_mb"] == [700, 1000]
    run.decide("evict", instance=1)
    assert run.model.observe()["free_mb"] == [1000, 1000]
    run.decide("warm", function=2, node=0)
    assert run.kinds() == ["instance", "ready", "gone", "instance"]


def test_what_a_failed_node_had_in_work_waits_again_and_starts_over() -> None:
    run = Run()
    run.request(1, work=5.0)
    run.request(2, work=5.0)
    run.decide("place", request=1, node=0)
    run.until(6.0)  # at work
    run.decide("place", request=2, node=0)  # its instance starts
    run.give("node_failed", node=0)
    assert [(kind, fields) for _, kind, fields in run.said[-4:]] == [
        ("gone", {"instance": 1}), ("gone", {"instance": 2}),
        ("interrupted", {"request": 1}), ("interrupted", {"request": 2}),
    ]  # fmt: skip
    assert run.model.observe()["free_mb"] == [-1, 1000]
    run.decide("place", request=1, node=1)
    run.give("node_back", node=0)
    run.decide("place", request=2, node=0)
    run.until(100.0)
    assert run.times("finished") == {1: 6.0 + COLD_IMAGE + 5.0, 2: 6.0 + COLD_IMAGE + 5.0}


def test_a_request_that_lost_a_cold_start_begins_at_once_on_a_warm_instance() -> None:
    run = Run()
    run.decide("warm", function=1, node=1)
    run.request(1, work=1.0)
    run.decide("place", request=1, node=0)
    run.until(10.0)
    run.request(2, work=5.0, function=2)
    run.decide("place", request=2, node=0)
    run.decide("warm", function=2, node=1)
    run.until(12.0)
    run.give("node_failed", node=0)
    run.until(20.0)
    run.decide("place", request=2, node=1)
    assert run.said[-1] == (20.0, "started", {"request": 2, "instance": 4, "cold": False})


def test_room_is_said_only_while_something_waits() -> None:
    run = Run()
    run.request(1, work=1.0)
    run.decide("place", request=1, node=0)
    run.until(2.0)
    run.request(2, work=1.0)
    run.until(5.0)
    assert run.kinds().count("room") == 0
    run.until(6.0)
    assert (5.5, "room", {"node": 0}) in run.said
    run.decide("refuse", request=2)
    said = run.kinds().count("room")
    run.until(200.0)
    assert run.kinds().count("room") == said
    assert run.model.next_event_time() is None


def fill(run: Run) -> None:
    for _ in range(3):
        run.decide("warm", function=1, node=0)


def fill_quota(run: Run) -> None:
    fill(run)
    run.decide("warm", function=1, node=1)


def evict_one(run: Run) -> None:
    fill(run)
    run.until(5.0)
    run.decide("evict", instance=1)


REFUSED: list[tuple[str, Callable[[Run], None], tuple[str, dict[str, Any]]]] = [
    ("no_memory", fill, ("warm", {"function": 1, "node": 0})),
    ("over_quota", fill_quota, ("warm", {"function": 1, "node": 1})),
    ("node_failed", lambda run: run.give("node_failed", node=0), ("place", {"request": 1, "node": 0})),
    ("instance_busy", fill, ("evict", {"instance": 1})),
    ("instance_gone", evict_one, ("evict", {"instance": 1})),
    ("request_not_waiting", lambda run: run.decide("place", request=1, node=0), ("refuse", {"request": 1})),
    ("request_not_waiting", lambda run: run.decide("refuse", request=1), ("place", {"request": 1, "node": 0})),
]


@pytest.mark.parametrize(("rule", "before", "decision"), REFUSED)
def test_a_decision_that_cannot_be_is_refused_by_name(
    rule: str, before: Callable[[Run], None], decision: tuple[str, dict[str, Any]]
) -> None:
    run = Run(quota=4)
    run.request(1, work=1.0)
    before(run)
    with pytest.raises(Rejected) as refusal:
        run.decide(decision[0], **decision[1])
    assert refusal.value.rule == rule


def test_memory_does_not_grow_with_the_number_of_requests() -> None:
    run = Run()
    run.decide("warm", function=1, node=0)
    run.until(5.0)
    for number in range(1000):
        run.request(number, work=0.1)
        run.decide("place", request=number, node=0)
        run.until(run.now + 0.2)
    assert run.kinds().count("finished") == 1000
    model = run.model
    assert len(model.requests) == 0
    assert len(model.instances) == 1
    assert len(model.calendar) <= 2
