"""Write policies at random and compare what they decide when they are called on every tick and only when it matters.

    python -m tests.fuzz.policies --cases 1000 --seed 1

A policy is some statements that shuffle its state about (aliases, rebuilt lists, helpers, objects, iterators), and a
decision that depends on all of it. Most of them come to rest now and then; a call too few shows in what they decide.
"""

from __future__ import annotations

import argparse
import time
from random import Random

from tests.unit.faas_engine.cases import make_trace

from quintain_faas import Params, Workload, simulate

PREFACE = """
import collections, functools, heapq, itertools, math, operator
from bisect import insort
from dataclasses import dataclass, field
from heapq import heappush as push
from typing import NamedTuple

G = []

class P(NamedTuple):
    x: object
    y: object

@dataclass
class D:
    items: list = field(default_factory=list)
    n: int = 0

class O:
    made = 0
    def __init__(self, items=()):
        self.items = list(items)
        self.n = 0
    @property
    def size(self): return len(self.items)
    def add(self, x):
        self.items.append(x)
        self.n += 1
        return self
    def take(self):
        self.n -= 1
        return self.items.pop()
    def __iter__(self): return iter(self.items)
    def __len__(self): return len(self.items)
    def __iadd__(self, x): return self.add(x)
    def __contains__(self, x): return x in self.items

def touch(q, x):
    q.append(x)
    q.pop()
    return q

def each(q):
    for x in q: yield x

def renew(s, name):
    setattr(s, name, list(getattr(s, name)))

def total(s):
    return (len(s.a) * 3 + len(s.b) * 5 + s.n * 7 + sum(s.d.values()) + len(s.t) + s.o.n + s.o.size + len(G) + s.e.n
            + len(s.e.items) + sum(s.a[:3]) + len(s.q) + sum(list(s.q)[:2]) * 2 + s.p.y)
"""
INIT = """
s.a, s.b, s.d, s.n, s.t, s.o, s.e = [1, 2], [3], {0: 1}, 0, {1}, O([1]), D()
s.q, s.p, s.it, s.f = collections.deque([1, 2, 3]), P([], 0), iter(range(10 ** 6)), None
s.dd = collections.defaultdict(int)
G.clear()
s.known = []
"""
LISTS = ("s.a", "s.b", "s.o.items", "s.e.items", "s.p.x", "G")
STATEMENTS = (
    "{l}.append({k})", "{l}.insert(0, {k})", "if {l}: {l}.pop()", "if {l}: {l}.append({l}.pop(0))", "{l}.sort()",
    "{l}.reverse()", "{l}[:] = list({l})", "if len({l}) > 1: {l}[0], {l}[-1] = {l}[-1], {l}[0]", "touch({l}, {k})",
    "s.a = [x for x in s.a]", "s.b = list(s.a)", "s.b = s.a", "s.a, s.b = s.b, s.a", "s.a = s.a + []", "s.a = s.b[:]",
    "s.a = sorted(s.a)", "renew(s, 'a')", "s.n = len({l})", "s.n += 1", "s.n = min(s.n + 1, {k})", "s.n = s.n",
    "s.n -= s.n > {k}", "s.d[{k}] = {k}", "s.d[{k}] = s.d.get({k}, 0) + 1", "s.d.setdefault({k}, 1)",
    "s.d.pop({k}, None)", "s.d = dict(s.d)", "s.d = {{k: v for k, v in s.d.items()}}", "s.d.update({{}})",
    "s.d = dict(sorted(s.d.items()))", "s.t.add({k})", "s.t.discard({k})", "s.t = set(s.t)", "s.t |= set()",
    "s.o.add({k})", "if s.o.items: s.o.take()", "s.o += {k}", "s.o = O(s.o)", "s.o.add({k}).take()",
    "s.e.n = len(s.e.items)", "s.e.items = [*s.e.items]", "G.append({k})", "G[:] = G[:{k}]", "s.q.rotate({k})",
    "s.q.rotate(len(s.q))", "s.q.append(s.q.popleft())", "s.q = collections.deque(s.q)", "heapq.heapify({l})",
    "heapq.heappush({l}, {k})", "push({l}, {k})", "insort({l}, {k})", "if {l}: heapq.heappushpop({l}, {k})",
    "s.p = s.p._replace(y=len(s.a))", "s.p = P(s.p.x, s.p.y + 1)", "s.n = next(s.it) % 5", "for x in s.it: break",
    "x = [*itertools.islice(s.it, {k})]", "for x in each({l}): pass", "local = {l}\nlocal += []",
    "local = {l}\nlocal += [{k}]", "local = []\nfor x in {l}: local.append(x)\ns.a = local",
    "local = {l}\nlocal.append(1)\nlocal.remove(1)", "s.f = {l}.append", "if s.f: s.f({k})", "s.f = None",
    "s.f = functools.partial(touch, {l})", "s.dd[{k}]", "s.dd[{k}] += 1", "s.n = s.dd[{k}] + len(s.dd)",
    "keep = {l}\ndef inner(): keep.append({k})\ninner()", "keep = []\ndef inner(): keep.append({k})\ninner()",
    "while len({l}) > {k}: {l}.pop()", "try:\n    {l}.remove({k})\nexcept ValueError:\n    pass",
    "try:\n    raise KeyError({k})\nexcept KeyError as e:\n    s.n = e.args[0]", "del {l}[{k}:]",
    "s.a = s.o.items", "s.o.items = s.a", "s.e.items = s.b", "s.o.seen = {l}",
    "if hasattr(s.o, 'seen'): s.o.seen.append(1)",
    "O.made += 1", "O.made = max(O.made, 3)", "s.n = O.made", "if s.clock.now_ticks() % 50 == 7: s.n += 1",
    "s.by = {{k: [x for x in s.a if x % 3 == k] for k in range(3)}}", "s.n = len(getattr(s, 'by', {{0: []}})[0])",
    "match {l}:\n    case [first, *rest]: s.n = first\n    case _: pass", "s.n = sum(map(operator.index, {l}))",
)  # fmt: skip
LIMITS = """
for items in (s.a, s.b, s.o.items, s.e.items, s.p.x, G):
    if len(items) > 25: items.clear()
"""
DECISION = """
s.known.extend(pipelines)
if total(s) % {modulus} != {rest}: return [], []
free, out = s.executor.pools[0].avail_ram_pool, []
for p in s.known:
    for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
        if free >= 20 and len(out) < 2:
            free -= 20
            out.append(Assignment([op], 1, 20, p.priority, 0, p.pipeline_id))
return [], out
"""
CONDITIONS = ("pipelines", "results", "not pipelines", "s.n % 2", "len(s.a) > 2", "pipelines or results")
PARAMS = Params(duration=12, ticks_per_second=10, num_pools=1, cpus_per_pool=64, ram_gb_per_pool=100)


def make_policy(random: Random) -> str:
    body = []
    for _ in range(random.randint(1, 6)):
        text = random.choice(STATEMENTS).format(l=random.choice(LISTS), k=random.randint(1, 4))
        if random.random() < 0.3:
            condition = random.choice(
                ("pipelines", "results", "not pipelines", "s.n % 2", "len(s.a) > 2", "pipelines or results")
            )
            text = f"if {condition}:\n" + "\n".join(f"    {line}" for line in text.splitlines())
        body.append(text)
    modulus = random.randint(2, 9)
    decision = DECISION.format(modulus=modulus, rest=random.randrange(modulus))
    return "\n".join(
        (
            PREFACE,
            '@register_scheduler_init(key="f")',
            "def init(s):",
            *(f"    {line}" for line in INIT.strip().splitlines()),
            '@register_scheduler(key="f")',
            "def step(s, results, pipelines):",
            *(f"    {line}" for part in (*body, LIMITS, decision) for line in part.strip().splitlines()),
            "",
        )
    )


def check(random: Random) -> str:
    """Compare; returns the calling mode that was chosen."""
    source = make_policy(random)
    workload = Workload.from_trace_text(make_trace(random, PARAMS.duration, 100), strict=False)
    chosen = simulate(source, PARAMS, workload)
    literal = simulate(source, PARAMS, workload, "every_tick")
    assert chosen.failure == literal.failure, f"{chosen.failure}\n{literal.failure}\n{source}"
    assert chosen.decision_log == literal.decision_log, source
    assert repr(chosen.stats) == repr(literal.stats), source
    return chosen.calling_mode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case; the next ones count up")
    arguments = parser.parse_args()
    started = time.perf_counter()
    modes: dict[str, int] = {}
    for seed in range(arguments.seed, arguments.seed + arguments.cases):
        try:
            mode = check(Random(seed))
        except Exception:
            print(f"seed {seed} differs")
            raise
        modes[mode] = modes.get(mode, 0) + 1
    print(f"{arguments.cases} policies decide the same in {time.perf_counter() - started:.0f} s: {modes}")


if __name__ == "__main__":
    main()
