"""The cache itself: holds the truth, checks every decision, counts hits.

Requests go to the policy in chunks. A chunk ends with the first request that needs a decision: a miss while the cache
is full, or any miss of a policy that decides on admission. The policy decides when the chunk is over, so it never knows
a request before it has happened, and hits cost no round trip.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from cache_eviction.traces import Trace
from quintain.plugins.simulator import (
    FailureKind,
    InvalidInput,
    JsonValue,
    OpenPolicy,
    Policy,
    PolicyError,
    PolicyFailure,
)

EACH_REQUEST, CHUNKS = "each_request", "chunks"
CALLING_MODES = (EACH_REQUEST, CHUNKS)  # the most literal one first
MAX_CHUNK = 4096  # requests in one message
MAX_LOG = 2000  # decisions that can be looked at afterwards


@dataclass(slots=True)
class CacheRun:
    """What happened, up to the end or the failure."""

    calling_mode: str
    served: int = 0
    hits: list[int] = field(default_factory=list)  # numbers of the requests that hit, from 1
    misses_by_source: Counter[str] = field(default_factory=Counter)
    hits_by_source: Counter[str] = field(default_factory=Counter)
    admitted: int = 0
    evicted: int = 0
    evicted_unused: int = 0  # without a single hit since they came
    resident_time: int = 0  # requests between coming and going, summed over the evicted
    log: list[str] = field(default_factory=list)
    digest: str = ""
    failure: PolicyFailure | None = None


class Engine:
    """One run. Not reusable."""

    def __init__(self, trace: Trace, capacity: int, calling_mode: str) -> None:
        if calling_mode and calling_mode not in CALLING_MODES:
            raise InvalidInput("calling_mode", f"{calling_mode!r} is unknown; known: {', '.join(CALLING_MODES)}")
        self._trace = trace
        self._capacity = capacity
        self._result = CacheRun(calling_mode or CHUNKS)
        self._came: dict[str, int] = {}  # the cache: key -> number of the request that brought it in
        self._used: set[str] = set()  # keys with a hit since they came
        self._sha = hashlib.sha256()

    def run(self, open_policy: OpenPolicy) -> CacheRun:
        result = self._result
        try:
            policy = open_policy({"capacity": self._capacity})
            admits = self._admits(policy)
            while result.served < len(self._trace.keys):
                self._chunk(policy, admits)
        except PolicyError as error:
            result.failure = self._located(error.failure)
        result.digest = self._sha.hexdigest()
        return result

    def _admits(self, policy: Policy) -> bool:
        info = policy.info
        if not isinstance(info, dict) or not isinstance(info.get("admits"), bool):
            raise self._broken(f"the guest said {info!r} about the policy instead of whether it admits")
        return bool(info["admits"])

    def _chunk(self, policy: Policy, admits: bool) -> None:
        first = self._result.served + 1
        most = 1 if self._result.calling_mode == EACH_REQUEST else MAX_CHUNK
        keys: list[str] = []
        for key in self._trace.keys[first - 1 : first - 1 + most]:
            keys.append(key)
            hit = self._serve(key)
            if not hit and (admits or len(self._came) >= self._capacity):
                self._decide(key, policy.ask({"time": first, "keys": keys}), admits)
                return
            if not hit:
                self._admit(key)
        policy.ask({"time": first, "keys": keys})

    def _serve(self, key: str) -> bool:
        """Count the request; returns whether it hit."""
        result = self._result
        source = self._trace.sources[result.served]
        result.served += 1
        if key in self._came:
            result.hits.append(result.served)
            result.hits_by_source[source] += 1
            self._used.add(key)
            return True
        result.misses_by_source[source] += 1
        return False

    def _decide(self, key: str, answer: JsonValue, admits: bool) -> None:
        match answer:
            case [bool(admitted), str() | None as victim]:
                pass
            case _:
                raise self._broken(f"expected [admitted, evicted key or null], got {answer!r:.200}")
        if not admitted:
            if not admits or victim is not None:
                raise self._broken(f"{answer!r:.200} turns {key!r} away and evicts, or may not turn it away")
            self._record(f"{self._result.served} skip {key}")
            return
        full = len(self._came) >= self._capacity
        if full and victim is None:
            raise self._rejected("nothing_evicted", f"the cache is full and evict() gave no key to go for {key!r}")
        if victim is not None and not full:
            raise self._rejected("evicted_without_need", f"{victim!r} was evicted although there is room")
        if victim is not None:
            if victim not in self._came:
                raise self._rejected("evicted_absent", f"evict() gave {victim!r}, which is not in the cache")
            self._evict(victim)
        self._record(f"{self._result.served} {victim} -> {key}")
        self._admit(key)

    def _admit(self, key: str) -> None:
        self._came[key] = self._result.served
        self._result.admitted += 1

    def _evict(self, key: str) -> None:
        result = self._result
        result.evicted += 1
        result.resident_time += result.served - self._came.pop(key)
        if key in self._used:
            self._used.remove(key)
        else:
            result.evicted_unused += 1

    def _record(self, decision: str) -> None:
        self._sha.update(decision.encode() + b"\n")
        if len(self._result.log) < MAX_LOG:
            self._result.log.append(decision)

    def _broken(self, message: str) -> PolicyError:
        return PolicyError(PolicyFailure(FailureKind.PROTOCOL, message))

    def _rejected(self, rule: str, message: str) -> PolicyError:
        return PolicyError(PolicyFailure(FailureKind.REJECTED, message, rule=rule))

    def _located(self, failure: PolicyFailure) -> PolicyFailure:
        served = self._result.served
        if served == 0:
            return failure
        return PolicyFailure(
            failure.kind, failure.message, failure.rule, served, float(served), failure.line, failure.traceback
        )


def most_hits(keys: Sequence[str], capacity: int) -> int:
    """The most hits that any policy can have: Belady's rule, which knows the future.

    On a miss with a full cache it drops, of the residents and the newcomer, the one whose next use is farthest away.
    With objects of one size that is optimal, admission included.
    """
    never = len(keys)
    following = [never] * len(keys)
    seen: dict[str, int] = {}
    for number in range(len(keys) - 1, -1, -1):
        following[number] = seen.get(keys[number], never)
        seen[keys[number]] = number
    hits = 0
    next_use: dict[str, int] = {}  # the cache
    farthest: list[tuple[int, str]] = []  # heap of (-next use, key); entries that are no longer true are skipped
    for number, key in enumerate(keys):
        hits += key in next_use
        next_use[key] = following[number]
        heapq.heappush(farthest, (-following[number], key))
        if len(next_use) > capacity:
            while next_use.get(farthest[0][1]) != -farthest[0][0]:
                heapq.heappop(farthest)
            del next_use[heapq.heappop(farthest)[1]]
    return hits
