"""Whatever is decided, in whatever order: the model keeps its books, and what it refuses changes nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.tenants.test_model import CONFIG, Run

from quintain_system import Rejected

QUOTA = 4
NUMBERS = st.integers(1, 12)
NODES = st.integers(0, 1)
ACTIONS = st.one_of(
    st.tuples(st.just("request"), NUMBERS, st.floats(0.0, 8.0), st.integers(1, 2)),
    st.tuples(st.just("wait"), st.floats(0.0, 20.0)),
    st.tuples(st.just("node_failed"), NODES),
    st.tuples(st.just("node_back"), NODES),
    st.tuples(st.just("place"), NUMBERS, NODES),
    st.tuples(st.just("place"), NUMBERS, NODES),
    st.tuples(st.just("warm"), st.integers(1, 2), NODES),
    st.tuples(st.just("evict"), NUMBERS),
    st.tuples(st.just("keep_alive"), st.integers(1, 2), st.floats(0.0, 100.0)),
    st.tuples(st.just("refuse"), NUMBERS),
)
FIELDS = {
    "place": ("request", "node"), "warm": ("function", "node"), "evict": ("instance",),
    "keep_alive": ("function", "seconds"), "refuse": ("request",),
}  # fmt: skip


def act(run: Run, action: tuple[Any, ...], asked: set[int]) -> None:
    kind, *values = action
    if kind == "wait":
        run.until(run.now + values[0])
    elif kind == "request":
        if values[0] not in asked:
            asked.add(values[0])
            run.request(*values)
    elif kind.startswith("node"):
        run.give(kind, node=values[0])
    else:
        before = (run.model.observe(), len(run.said), dict(run.model.held), dict(run.model.waiting))
        try:
            run.decide(kind, **dict(zip(FIELDS[kind], values, strict=True)))
        except Rejected:
            assert before == (run.model.observe(), len(run.said), dict(run.model.held), dict(run.model.waiting))


def check_books(run: Run, asked: set[int]) -> None:
    seen = Counter(kind for _, kind, _ in run.said)
    there: dict[int, int] = {}  # instance -> node, as the events tell
    working: dict[int, int] = {}  # request -> instance
    for _, kind, fields in run.said:
        if kind == "instance":
            there[fields["instance"]] = fields["node"]
        elif kind == "gone":
            del there[fields["instance"]]
        elif kind == "started":
            assert fields["instance"] in there
            working[fields["request"]] = fields["instance"]
        elif kind == "finished":
            assert working.pop(fields["request"]) == fields["instance"]
        elif kind == "interrupted":
            working.pop(fields["request"], None)
    model = run.model
    assert set(there) == set(model.instances)
    assert len(there) <= QUOTA
    assert model.held == {1: len(there)}
    for node, free in enumerate(model.observe()["free_mb"]):
        instances = [i for i, at in there.items() if at == node]
        assert free == -1 or free == CONFIG["node_memory_mb"] - 300 * len(instances) >= 0
        assert free != -1 or not instances
        assert model.observe()["running"][node] == sum(there[i] == node for i in working.values())
    for instance, requests in Counter(working.values()).items():
        assert requests <= model.instances[instance].function  # function n takes n requests an instance
    assert len(model.requests) == len(asked) - seen["finished"] - seen["refused"]
    assert sum(model.waiting.values()) == sum(request.waits for request in model.requests.values())


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, min_size=5, max_size=40))
def test_books_are_right_after_every_action(actions: list[tuple[Any, ...]]) -> None:
    run, asked = Run(quota=QUOTA, contention=0.3), set[int]()
    for action in actions:
        act(run, action, asked)
        check_books(run, asked)
    run.until(run.now + 10_000.0)
    check_books(run, asked)
    assert not run.model.instances, "idle for longer than any keep-alive, and still there"
    assert all(request.waits for request in run.model.requests.values()), "placed, and never answered"
