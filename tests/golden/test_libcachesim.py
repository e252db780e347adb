"""The cache example against libCacheSim, a simulator that others wrote: same trace, same policy, same misses.

It is under the GPL: a tool of these tests that nothing of the product imports. CI installs it; elsewhere
`.venv/bin/python -m pip install --no-deps libcachesim` does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "simulators" / "cache_eviction"))

from cache_eviction.guest import Cache
from cache_eviction.plugin import simulator
from cache_eviction.scenarios import spec_of

from quintain.plugins.grammar import Grammar
from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import RunOptions
from quintain_generator.backends.offline.genome import complete
from quintain_generator.backends.offline.render import render

libcachesim = pytest.importorskip("libcachesim", reason="libcachesim is not installed")

KINDS = ("popular", "scan_mix", "loop", "phases", "bursts", "loop_and_phases")
SCENARIOS = [f"{kind}_1" for kind in KINDS]

# Two policies that both sides have, in our policy language.
CLOCK = """
from collections import OrderedDict

def start(cache):
    cache.hit_since = OrderedDict()  # key -> whether it was hit since the hand passed; the hand is at the front

def on_hit(cache, key):
    cache.hit_since[key] = True

def on_insert(cache, key):
    cache.hit_since[key] = False

def evict(cache, key):
    while True:
        oldest, spared = cache.hit_since.popitem(last=False)
        if not spared:
            return oldest
        cache.hit_since[oldest] = False
"""
SIEVE = """
def start(cache):
    cache.newer, cache.older = {None: None}, {None: None}  # a ring through None, which stands before the oldest
    cache.visited = set()
    cache.hand = None

def on_hit(cache, key):
    cache.visited.add(key)

def on_insert(cache, key):
    newest = cache.older[None]
    cache.newer[newest], cache.older[key] = key, newest
    cache.newer[key], cache.older[None] = None, key

def evict(cache, key):
    hand = cache.hand or cache.newer[None]
    while hand in cache.visited:
        cache.visited.remove(hand)
        hand = cache.newer[hand] or cache.newer[None]
    older, newer = cache.older.pop(hand), cache.newer.pop(hand)
    cache.newer[older], cache.older[newer] = newer, older
    cache.hand = newer
    return hand
"""
BASELINES = {baseline.name: baseline.source for baseline in simulator.describe().baselines}
SHARED = {"LRU": BASELINES["lru"], "FIFO": BASELINES["fifo"], "Clock": CLOCK, "Sieve": SIEVE}
# Policies of ours that they do not have: the seeds of the offline backend, but those that turn objects away.
GRAMMAR = Grammar.from_json(simulator.describe().grammar)
SEEDS = {
    seed.name: render(GRAMMAR, complete(GRAMMAR, seed.genes)) for seed in GRAMMAR.seeds if "admission" not in seed.genes
}


def misses_here(scenario: str, source: str) -> int:
    outcome = simulator.run(simulator.scenario(scenario), in_process(simulator, source), RunOptions())
    assert outcome.failure is None, outcome.failure
    assert outcome.metrics["requests_served"] == len(spec_of(simulator.scenario(scenario)).trace.keys)
    return int(outcome.metrics["misses"])


def misses_there(scenario: str, make_cache: Callable[[int, list[str]], Any]) -> int:
    """`make_cache`: from the capacity and the keys by their number."""
    spec = spec_of(simulator.scenario(scenario))
    keys = list(dict.fromkeys(spec.trace.keys))
    numbers = {key: number for number, key in enumerate(keys)}
    cache = make_cache(spec.capacity, keys)
    requests = (
        libcachesim.Request(obj_id=numbers[key], obj_size=1, clock_time=time)
        for time, key in enumerate(spec.trace.keys, start=1)
    )
    return sum(not cache.get(request) for request in requests)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("policy", SHARED)
def test_a_policy_that_both_have_misses_as_often_there(policy: str, scenario: str) -> None:
    there = misses_there(scenario, lambda capacity, _: getattr(libcachesim, policy)(capacity))
    assert misses_here(scenario, SHARED[policy]) == there


def hooked(source: str, capacity: int, keys: list[str]) -> Any:
    """A cache of theirs whose decisions are those of a policy of ours."""
    policy = ModuleType("policy")
    exec(compile(source, "policy.py", "exec"), policy.__dict__)
    cache = Cache(capacity)

    def hit(_: object, request: Any) -> None:
        cache.time = request.clock_time
        policy.on_hit(cache, keys[request.obj_id])

    def miss(_: object, request: Any) -> None:
        cache.time = request.clock_time
        cache._resident.add(keys[request.obj_id])
        policy.on_insert(cache, keys[request.obj_id])

    def evict(_: object, request: Any) -> int:  # before the miss that needs the room
        cache.time = request.clock_time
        victim: str = policy.evict(cache, keys[request.obj_id])
        cache._resident.remove(victim)
        return numbers[victim]

    numbers = {key: number for number, key in enumerate(keys)}
    policy.start(cache)
    return libcachesim.PluginCache(capacity, lambda _: None, hit, miss, evict, lambda *_: None, lambda _: None)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("policy", SEEDS)
def test_a_policy_of_ours_misses_as_often_in_a_cache_of_theirs(policy: str, scenario: str) -> None:
    there = misses_there(scenario, lambda capacity, keys: hooked(SEEDS[policy], capacity, keys))
    assert misses_here(scenario, SEEDS[policy]) == there
