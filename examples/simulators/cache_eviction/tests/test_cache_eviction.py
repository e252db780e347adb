"""The example simulator against its own contract: run with `pytest examples/simulators/cache_eviction`."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from cache_eviction.engine import CALLING_MODES, CHUNKS, EACH_REQUEST, Engine, most_hits
from cache_eviction.plugin import simulator
from cache_eviction.traces import Trace

from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import (
    FailureKind,
    InvalidInput,
    JsonValue,
    Outcome,
    Part,
    Policy,
    RunOptions,
    Simulator,
)

LRU, FIFO = (baseline.source for baseline in simulator.describe().baselines)
ADMITS_EVERY_THIRD = LRU + "\n\ndef admit(cache, key):\n    return cache.time % 3 == 0\n"


def run(source: str, scenario: str = "smoke_popular", mode: str = "") -> Outcome:
    return simulator.run(simulator.scenario(scenario), in_process(simulator, source), RunOptions(mode))


def own_trace(keys: str) -> Trace:
    return Trace(tuple(keys), ("all",) * len(keys))


def test_it_is_a_simulator() -> None:
    assert isinstance(simulator, Simulator)
    description = simulator.describe()
    for suite in map(simulator.suite, description.suites):
        parts = {entry.part for entry in suite.entries}
        assert parts == {Part.TRAIN, Part.HELD_OUT}
        digests = [simulator.scenario(entry.scenario).digest for entry in suite.entries]
        assert len(set(digests)) == len(digests)


def lru_hits(keys: str, capacity: int) -> int:
    """The oracle: least recently used, by the book."""
    hits, order = 0, list[str]()
    for key in keys:
        hits += key in order
        order = [other for other in order if other != key][-(capacity - 1) :] if capacity > 1 else []
        order.append(key)
    return hits


@pytest.mark.parametrize("capacity", [1, 2, 3, 5])
def test_hits_are_those_of_lru_by_the_book(capacity: int) -> None:
    rng = random.Random(capacity)
    for _ in range(20):
        keys = "".join(rng.choices("abcdefg", k=60))
        done = Engine(own_trace(keys), capacity, "").run(in_process(simulator, LRU))
        assert len(done.hits) == lru_hits(keys, capacity)


def best_by_trying_everything(keys: str, capacity: int) -> int:
    """Follows every decision there is: skip the newcomer, or evict any resident."""
    states: dict[frozenset[str], int] = {frozenset(): 0}
    for key in keys:
        after: dict[frozenset[str], int] = {}
        for cache, hits in states.items():
            if key in cache:
                choices = [(cache, hits + 1)]
            else:
                room = [cache] if len(cache) < capacity else [cache - {victim} for victim in cache]
                choices = [(cache, hits), *((kept | {key}, hits) for kept in room)]
            for state, value in choices:
                after[state] = max(value, after.get(state, -1))
        states = after
    return max(states.values())


def test_the_bound_is_what_trying_everything_finds() -> None:
    rng = random.Random(5)
    for capacity, _ in itertools.product([1, 2, 3], range(15)):
        keys = "".join(rng.choices("abcde", k=14))
        assert most_hits(keys, capacity) == best_by_trying_everything(keys, capacity)


@pytest.mark.parametrize("scenario", ["smoke_popular", "smoke_scan_mix", "smoke_loop", "smoke_bursts"])
def test_no_baseline_beats_the_bound_and_lru_is_scored_against_itself(scenario: str) -> None:
    lru, fifo = run(LRU, scenario), run(FIFO, scenario)
    spec = simulator.scenario(scenario)
    for outcome in (lru, fifo):
        score = simulator.score("hit_rate", spec, outcome, lru)
        assert outcome.failure is None
        assert score.bound is not None
        assert 0 < score.value <= score.bound
        assert score.normalized == pytest.approx(score.value / score.bound)
        assert score.baseline == lru.metrics["hit_rate"]


@pytest.mark.parametrize("source", [LRU, FIFO, ADMITS_EVERY_THIRD], ids=["lru", "fifo", "admits"])
def test_both_calling_modes_give_the_same_decisions(source: str) -> None:
    one, many = (run(source, mode=mode) for mode in CALLING_MODES)
    assert (one.calling_mode, many.calling_mode) == (EACH_REQUEST, CHUNKS)
    assert one.decisions_digest == many.decisions_digest
    assert one.metrics == many.metrics


def test_the_same_run_twice_is_the_same_to_the_last_bit() -> None:
    assert run(FIFO) == run(FIFO)


class Overheard:
    """A policy whose messages are checked: only the last request of one may need a decision, so that whoever reads
    whole messages knows nothing of the future when it decides."""

    def __init__(self, policy: Policy, capacity: int) -> None:
        self._policy = policy
        self._capacity = capacity
        self._resident: set[JsonValue] = set()
        self.info = policy.info
        self.heard: list[JsonValue] = []

    def ask(self, message: JsonValue, on_query: object = None) -> JsonValue:
        assert isinstance(message, dict)
        keys: list[JsonValue] = list(message["keys"])  # type: ignore[arg-type]
        for key in keys[:-1]:
            assert key in self._resident or len(self._resident) < self._capacity
            self._resident.add(key)
        answer = self._policy.ask(message)
        match answer:
            case [True, victim]:
                self._resident = (self._resident | {keys[-1]}) - {victim}
        self.heard.extend(keys)
        return answer


def test_no_message_holds_a_request_after_the_one_that_is_decided() -> None:
    trace, capacity = simulator.scenario("smoke_popular").spec.trace, 100  # type: ignore[attr-defined]
    opened: list[Overheard] = []

    def open_overheard(setup: JsonValue) -> Policy:
        opened.append(Overheard(in_process(simulator, LRU)(setup), capacity))
        return opened[0]

    run = Engine(trace, capacity, CHUNKS).run(open_overheard)
    assert run.evicted > 1000
    assert opened[0].heard == list(trace.keys)


@pytest.mark.parametrize(
    ("source", "kind", "rule"),
    [
        ("def evict(cache, key):\n    return 'nothing'\n", FailureKind.REJECTED, "evicted_absent"),
        ("def evict(cache, key):\n    return key\n", FailureKind.REJECTED, "evicted_absent"),
        ("def evict(cache, key):\n    return None\n", FailureKind.REJECTED, "nothing_evicted"),
        ("def evict(cache, key):\n    return 7\n", FailureKind.PROTOCOL, ""),
        ("def evict(cache, key):\n    return 1 / 0\n", FailureKind.RAISED, ""),
        ("def on_hit(cache, key):\n    pass\n", FailureKind.LOAD, ""),
        ("def evict(cache, key:\n", FailureKind.LOAD, ""),
    ],
)
def test_a_policy_that_breaks_a_rule_gets_the_worst_score_and_is_told_why(
    source: str, kind: FailureKind, rule: str
) -> None:
    outcome = run(source)
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.rule) == (kind, rule)
    assert (outcome.failure.step is None) == (kind is FailureKind.LOAD)
    assert simulator.score("hit_rate", simulator.scenario("smoke_popular"), outcome, run(LRU)).normalized == 0.0


def test_a_guest_that_lies_about_its_cache_changes_nothing_but_its_own_mirror() -> None:
    liar = LRU + "\n\ndef admit(cache, key):\n    cache._resident.update({'k1', 'k2', key})\n    return True\n"
    outcome = run(liar)
    assert outcome.failure is not None or outcome.metrics["hits"] <= simulator.scenario("smoke_popular").spec.most_hits  # type: ignore[attr-defined]


def test_your_own_trace(tmp_path: Path) -> None:
    files = {"scenario.toml": b"capacity = 2\n", "trace.csv": b"key\na\nb\na\nc\na\n"}
    scenario = simulator.inline_scenario("mine", files)
    outcome = simulator.run(scenario, in_process(simulator, LRU), RunOptions())
    assert outcome.metrics["hits"] == 2
    assert simulator.score("hit_rate", scenario, outcome, outcome).bound == 0.4


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"scenario.toml": b"capacity = 2\n"}, "trace.csv"),
        ({"scenario.toml": b"capacity = 0\n", "trace.csv": b"key\na\n"}, "scenario.toml:capacity"),
        ({"scenario.toml": b"size = 2\n", "trace.csv": b"key\na\n"}, "scenario.toml:size"),
        ({"scenario.toml": b"capacity = 2\n", "trace.csv": b"id\na\n"}, "trace.csv:1"),
        ({"scenario.toml": b"capacity = 2\n", "trace.csv": b"key,source\n,x\n"}, "trace.csv:2:key"),
        ({"scenario.toml": b"capacity = 2\n", "trace.csv": b"key\n"}, "trace.csv"),
    ],
)
def test_bad_files_are_refused_with_their_place(files: dict[str, bytes], place: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        simulator.inline_scenario("mine", files)
    assert refused.value.field == place


@pytest.mark.parametrize("ask", [simulator.suite, simulator.scenario])
def test_unknown_names_are_answered_with_the_known_ones(ask: object) -> None:
    with pytest.raises(InvalidInput, match="known are"):
        ask("nonsense")  # type: ignore[operator]


SUITE = b"""
[[scenarios]]
name = "monday"
part = "train"
capacity = 2
trace = "monday.csv"

[[scenarios]]
name = "tuesday"
part = "held_out"
capacity = 3
trace = "monday.csv"
"""
TRACE = b"key\na\nb\na\nc\na\nb\n"


def test_a_suite_of_ones_own_comes_as_files() -> None:
    own = simulator.from_files("mine", {"suite.toml": SUITE, "monday.csv": TRACE})
    assert [(e.scenario, e.part.value) for e in own.suite("mine").entries] == [
        ("monday", "train"),
        ("tuesday", "held_out"),
    ]
    assert own.describe().suites == ("mine",)
    assert own.scenario("monday").digest != own.scenario("tuesday").digest


@pytest.mark.parametrize(
    ("suite", "told"),
    [
        (SUITE.replace(b'part = "train"', b'part = "held_out"'), "none is of part 'train'"),
        (SUITE.replace(b"capacity = 2", b"capacity = 0"), "suite.toml:scenarios[1]:capacity: 0 is not a whole number"),
        (
            SUITE.replace(b"monday.csv", b"gone.csv"),
            "gone.csv: is missing; the files given are: monday.csv, suite.toml",
        ),
        (SUITE.replace(b"tuesday", b"monday"), "suite.toml:scenarios[2].name: 'monday' is empty or there twice"),
        (SUITE.replace(b"capacity = 3", b"size = 3"), "suite.toml:scenarios[2]:size: unknown key"),
        (b"[[", "suite.toml: is not TOML"),
    ],
)
def test_what_is_wrong_in_a_suite_of_ones_own_is_named(suite: bytes, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        simulator.from_files("mine", {"suite.toml": suite, "monday.csv": TRACE})
    assert told in str(caught.value)
