"""What runs beside a policy: the cache as the policy sees it. Standard library only.

A message holds requests in order; only the last one may need a decision. Whatever a policy could learn by looking at
the message itself, it learns about requests that are over when it decides.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

POLICY_FILENAME = "policy.py"


class Cache:
    """The cache as a policy sees it. Policies may keep attributes of their own on it."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity  # objects
        self.time = 0  # number of the request being served, from 1
        self._resident: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._resident

    def __len__(self) -> int:
        return len(self._resident)

    def __iter__(self) -> Iterator[str]:
        """The keys in the cache, sorted."""
        return iter(sorted(self._resident))


def _ignore(*_: object) -> None:
    return None


class Session:
    """One loaded policy and its cache."""

    def __init__(self, source: str, capacity: int) -> None:
        policy = ModuleType("policy")
        sys.modules["policy"] = policy  # where dataclasses and typing look for a class's module
        exec(compile(source, POLICY_FILENAME, "exec"), policy.__dict__)
        if not callable(getattr(policy, "evict", None)):
            raise TypeError("the policy must define a function evict(cache, key)")
        self._evict = policy.evict
        self._on_hit = getattr(policy, "on_hit", _ignore)
        self._on_insert = getattr(policy, "on_insert", _ignore)
        self._admit = getattr(policy, "admit", None)
        self._cache = Cache(capacity)
        getattr(policy, "start", _ignore)(self._cache)
        self.info = {"admits": self._admit is not None}

    def answer(self, message: Any) -> Any:
        """`message`: {"time": number of the first request, "keys": [...]}. Returns None, or for a last request that
        misses [admitted, evicted key or None]."""
        decision = None
        for time, key in enumerate(message["keys"], start=message["time"]):
            self._cache.time = time
            if key in self._cache:
                self._on_hit(self._cache, key)
                decision = None
            else:
                decision = self._miss(key)
        return decision

    def _miss(self, key: str) -> list[Any]:
        cache = self._cache
        if self._admit is not None and not self._admit(cache, key):
            return [False, None]
        victim = None
        if len(cache) >= cache.capacity:
            victim = self._evict(cache, key)
            cache._resident.discard(victim)
        cache._resident.add(key)
        self._on_insert(cache, key)
        return [True, victim]


def load(source: str, setup: Any, query: Callable[[Any], Any]) -> Session:
    return Session(source, setup["capacity"])
