"""Which calling mode a policy gets, and that skipping calls never changes what it decides."""

from __future__ import annotations

import pytest
from tests.support.threads import taking_turns

from quintain.plugins.simulator import FailureKind, InvalidInput
from quintain_faas.guest.guard import is_guarded

from .policies import PARAMS, TWO_STEPS, policy, simulate_on
from .test_foreign_policies import simulate

ACT = """
out = []
free = s.executor.pools[0].avail_ram_pool
for p in s.known:
    for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
        if free >= 12:
            out.append(Assignment([op], 1, 12, p.priority, 0, p.pipeline_id))
            free -= 12
return [], out
"""
KNOW = "for p in pipelines: s.known.append(p)\n"

GUARDED = {
    "or": "if not (results or pipelines): return [], []\ns.n += 1",
    "and": "if not results and not pipelines:\n    return [], []\ns.n += 1",
    "len": "if len(results) == 0 and len(pipelines) == 0: return ([], [])\ns.n += 1",
    "loop first": "for r in results: s.n += 1\nif not pipelines and not results: return [], []\ns.n += 1",
    "arrivals only": "if not pipelines: return [], []\ns.n += 1",
    "named": "news = bool(results) or bool(pipelines)\nout = []\nif not news: return [], out\ns.n += 1",
}
NOT_GUARDED = {
    "counts first": "s.n += 1\nif not results and not pipelines: return [], []",
    "unknown": "if not results and not pipelines and s.quiet: return [], []",
    "method": "s.tidy()\nif not results and not pipelines: return [], []",
    "shared lists": "if not results and not pipelines: return s.empty, s.empty",
    "generator is true": "if not (r for r in results) and not pipelines: return [], []",
    "own len": "len = s.len\nif len(results) == 0 and len(pipelines) == 0: return [], []",
    "other lists": "if not s.known and not pipelines: return [], []",
    "wrong kind": "if set(results) != []:\n    s.n += 1\nif not results and not pipelines: return [], []",
}


@pytest.mark.parametrize("name", GUARDED)
def test_an_evident_idle_guard_is_recognised(name: str) -> None:
    assert is_guarded(policy(GUARDED[name] + "\nreturn [], []"))


def test_extending_by_nothing_is_harmless_before_a_guard() -> None:
    assert is_guarded(
        policy("s.known.extend(pipelines)\ns.a.b += results\nif not pipelines and not results: return [], []\ns.x()")
    )


@pytest.mark.parametrize("name", NOT_GUARDED)
def test_what_is_not_evident_is_no_guard(name: str) -> None:
    assert not is_guarded(policy(NOT_GUARDED[name] + "\nreturn [], []"))


def test_a_list_class_of_the_policys_own_spoils_the_proof() -> None:
    own = "class Counting:\n    def extend(self, items): self.n += 1\n"
    source = policy("s.known.extend(pipelines)\nif not pipelines and not results: return [], []\nreturn [], []")
    assert is_guarded(source)
    assert not is_guarded(own + source)


# Policies that act on an idle tick because of something they changed or saw on earlier idle ticks. Each waits in its
# own way for its fifth or so idle call before it acts.
SLOW_STARTERS = {
    "attribute": ("s.n += 1\nif s.n < 9: return [], []", "s.n = 0"),
    "augmented alias": ("q = s.q\nq += [1]\nif len(s.q) < 9: return [], []", "s.q = []"),
    "list of the scheduler": ("s.q.append(1)\nif len(s.q) < 9: return [], []", "s.q = []"),
    "alias": ("q = s.q\nq.append(1)\nif len(q) < 9: return [], []", "s.q = []"),
    "element": ("s.q[0] = s.q[0] + 1\nif s.q[0] < 9: return [], []", "s.q = [0]"),
    "element of a local list": ("local = [s.q]\nlocal[0].append(1)\nif len(s.q) < 9: return [], []", "s.q = []"),
    "element of a local dict": ("d = {1: []}\nd[1] = s.q\nd[1].append(1)\nif len(s.q) < 9: return [], []", "s.q = []"),
    "setdefault": ("d = {}\nd.setdefault(1, s.q).append(1)\nif len(s.q) < 9: return [], []", "s.q = []"),
    "default of a function": ("if bump() < 9: return [], []", "pass"),
    "pop": ("if s.q:\n    s.q.pop()\n    return [], []", "s.q = [0] * 9"),
    "stored iterator": ("for x in s.it: return [], []", "s.it = iter([0] * 9)"),
    "stored generator": ("for x in s.it: return [], []", "s.it = (x for x in range(9))"),
    "next": ("if next(s.it, None) is not None: return [], []", "s.it = iter(range(9))"),
    "membership consumes": ("if 0 in s.it: return [], []", "s.it = iter([0] * 9)"),
    "default dict": (
        "s.d[len(s.d)]\nif len(s.d) < 9: return [], []",
        "import collections\ns.d = collections.defaultdict(int)",
    ),
    "global": ("if tick_global() < 9: return [], []", "pass"),
    "closure": ("if s.count() < 9: return [], []", "s.count = counter()"),
    "method of an object": ("s.o.bump()\nif s.o.n < 9: return [], []", "s.o = Thing()"),
    "sort key": ("sorted([1], key=s.key)\nif len(s.q) < 9: return [], []", "s.q = []\ns.key = s.q.append"),
    "lambda in a variable": (
        "f = s.f\nmax([1, 2], key=f)\nif len(s.q) < 9: return [], []",
        "s.q = []\ns.f = lambda x: s.q.append(x) or x",
    ),
    "setattr": ("setattr(s, 'n', s.n + 1)\nif s.n < 9: return [], []", "s.n = 0"),
    "dict method": ("s.__dict__.update(n=s.n + 1)\nif s.n < 9: return [], []", "s.n = 0"),
    "walrus": ("if (n := s.q.__len__()) < 9:\n    s.q.insert(0, n)\n    return [], []", "s.q = []"),
    "comprehension": ("[s.q.append(1) for _ in range(1)]\nif len(s.q) < 9: return [], []", "s.q = []"),
    "loop target": ("for s.n in range(s.n + 1, s.n + 2): pass\nif s.n < 9: return [], []", "s.n = 0"),
    "unpacking": ("s.n, x = s.n + 1, 0\nif s.n < 9: return [], []", "s.n = 0"),
    "delete": ("if s.q:\n    del s.q[0]\n    return [], []", "s.q = [0] * 9"),
    "heap": ("if s.q:\n    heapq.heappop(s.q)\n    return [], []", "s.q = [0] * 9"),
    "exception": ("try:\n    s.q.remove(0)\n    return [], []\nexcept ValueError: pass", "s.q = [0] * 9"),
    "clock ticks": ("if s.clock.now_ticks() < 9: return [], []", "pass"),
    "clock seconds": ("if s.clock.now_seconds() < 0.9: return [], []", "pass"),
    "pool ticks": ("if s.executor.pools[0].i < 9: return [], []", "pass"),
    "private clock": ("if s.clock._current_tick < 9: return [], []", "pass"),
    "random": ("if s.r.random() < 0.9: return [], []", "import random\ns.r = random.Random(1)"),
    "property": ("if s.o.next < 9: return [], []", "s.o = Thing()"),
    "unreturned assignment": (
        "ops = [o for p in s.known for o in p.runtime_status().get_ops(ASSIGNABLE_STATES)]\n"
        "if len(ops) > 1:\n    Assignment(ops[-1:], 1, 1, Priority.QUERY, 0, '')\n    return [], []",
        "pass",
    ),
    "state by hand": (
        "for p in s.known:\n    for o in p.runtime_status().get_ops(OperatorState.PENDING):\n"
        "        o.transition(OperatorState.ASSIGNED)\n        return [], []",
        "pass",
    ),
    "pool edited": ("s.executor.pools[0].cost += 1\nif s.executor.pools[0].cost < 9: return [], []", "pass"),
    "while": ("while len(s.q) < 9:\n    s.q.append(0)\n    return [], []", "s.q = []"),
    "match": ("match s.q:\n    case [0, *rest]:\n        s.q = rest\n        return [], []", "s.q = [0] * 9"),
    "with": ("with s.o:\n    if s.o.n < 9: return [], []", "s.o = Thing()"),
    "decorated": ("if counted() < 9: return [], []", "pass"),
    "rebuilt longer": ("s.q = [*s.q, 1]\nif len(s.q) < 9: return [], []", "s.q = []"),
    "rebuilt, then grown": ("q = list(s.q)\ns.q = q\nq.append(1)\nif len(s.q) < 9: return [], []", "s.q = []"),
    "rebuilt twice": ("s.q = [0, *s.q[1:]]\ns.q = [*s.q, 1]\nif len(s.q) < 9: return [], []", "s.q = [0]"),
    "rebuilt with another element": ("s.q = [s.q[0] + 1]\nif s.q[0] < 1009: return [], []", "s.q = [1000]"),
    "rebuilt with another value": ("s.q = {0: s.q[0] + 1}\nif s.q[0] < 1009: return [], []", "s.q = {0: 1000}"),
    "rebuilt with an int for a float": (
        "if pipelines:\n    s.q = [1.0]\n    return [], []\nold = s.q[0]\ns.q = [1]\nif str(old) != '1': return [], []",
        "s.q = [0]",
    ),
    "an int for a float": (
        "if pipelines:\n    s.n = 1.0\n    return [], []\nold = s.n\ns.n = 1\nif str(old) != '1': return [], []",
        "s.n = 0",
    ),
    "the other zero": (
        "if pipelines:\n    s.n = 0.0\n    return [], []\nold = str(s.n)\ns.n = -0.0\nif old == '0.0': return [], []",
        "s.n = 0.0",
    ),
    "rebuilt in another order": (
        "s.q = {k: 0 for k in sorted(s.q, reverse=list(s.q)[0] == 1)}\nif list(s.q)[0] == 2: return [], []",
        "s.q = {1: 0, 2: 0}",
    ),
    "rebuilt nested": ("s.q = [[s.q[0][0] + 1]]\nif s.q[0][0] < 9: return [], []", "s.q = [[0]]"),
    "sorted to and fro": (
        "first = s.q[0]\ns.q.sort(key=lambda x: x * first)\nif first == 1: return [], []",
        "s.q = [1, -1]",
    ),
    "plain assignment": ("s.n = s.n + 1\nif s.n < 9: return [], []", "s.n = 0"),
    "assigned for the first time": ("if not hasattr(s, 'n'):\n    s.n = 1\n    return [], []", "pass"),
    "assigned element": ("s.q[0] = s.q[0] + 1\ns.q[1] = s.q[0]\nif s.q[1] < 9: return [], []", "s.q = [0, 0]"),
    "extended by something": ("one = s.one\ns.q.extend(one)\nif len(s.q) < 9: return [], []", "s.one, s.q = [1], []"),
    "added something": ("one = s.one\ns.q += one\nif len(s.q) < 9: return [], []", "s.one, s.q = [1], []"),
    "updated by something": (
        "one = s.one\ns.q.update(one)\ns.one = {len(s.q): 0}\nif len(s.q) < 9: return [], []",
        "s.one, s.q = {0: 0}, {}",
    ),
    "identity": (
        "if pipelines:\n    s.a = s.q\n    return [], []\nif s.a is s.q:\n    s.a = list(s.a)\n    return [], []",
        "s.a, s.q = None, []",
    ),
    "identity by number": (
        "if pipelines:\n    s.a = s.q\n    return [], []\n"
        "if id(s.a) == id(s.q):\n    s.a = list(s.a)\n    return [], []",
        "s.a, s.q = None, []",
    ),
    "lists passed on": (
        "s.d = s.c\ns.c = s.b\ns.b = s.a\ns.a = list(s.a)\nif pipelines: s.c.append(1)\n"
        "if pipelines and len(s.d) > 0: return [], []",
        "s.a = s.b = s.c = s.d = []",
    ),
    "private tick": ("if s.clock._tick < 9: return [], []", "pass"),
    "private tick by name": ("if getattr(s.clock, '_tick') < 9: return [], []", "pass"),
    "private tick by a name put together": ("if getattr(s.clock, '_ti' + 'ck') < 9: return [], []", "pass"),
    "partial": (
        "s.f()\nif len(s.q) < 9: return [], []",
        "import functools\ns.q = []\ns.f = functools.partial(s.q.append, 1)",
    ),
    "method caller": (
        "if s.q: max([s.q], key=s.f)\nif s.q: return [], []",
        "import operator\ns.q = [0] * 9\ns.f = operator.methodcaller('pop')",
    ),
    "lazy map": ("list(map(s.q.append, [1]))\nif len(s.q) < 9: return [], []", "s.q = []"),
    "star arguments": ("print(*s.it)\nif next(s.more, None): return [], []", "s.it, s.more = iter([1]), iter([1] * 9)"),
    "star arguments of an iterator": (
        "seen = len([*itertools.islice(s.it, 1)])\nif seen: return [], []",
        "s.it = iter([0] * 9)",
    ),
    "unpacked iterator": ("a, b = s.pairs[0]\nif a < 9: return [], []", "c = itertools.count()\ns.pairs = [Two(c)]"),
    "elements are iterators": ("for (a,) in [s.one]: pass\nif a < 9: return [], []", "s.one = One(itertools.count())"),
    "counting iterator": ("if next(s.c) < 9: return [], []", "s.c = itertools.count()"),
    "own iterator": ("if next(s.c) < 9: return [], []", "s.c = Counts()"),
    "loop over own iterator": ("for n in s.c: break\nif n < 9: return [], []", "s.c = Counts()"),
    "generator in a variable": ("g = s.g\nfor n in g: break\nif n < 9: return [], []", "s.g = (n for n in range(999))"),
    "sent to a generator": ("if s.g.send(None) < 9: return [], []", "s.g = (n for n in range(999))"),
    "generator function kept": ("for n in s.g: break\nif n < 9: return [], []", "s.g = numbers()"),
    "deque turned": ("s.d.rotate(1)\nif s.d[0] != 1: return [], []", "s.d = collections.deque([1, 2, 3, 4])"),
    "moved to the end": (
        "s.d.move_to_end(next(iter(s.d)))\nif next(iter(s.d)) != 1: return [], []",
        "s.d = collections.OrderedDict.fromkeys([1, 2, 3, 4])",
    ),
    "key taken out and put in again": (
        "k = next(iter(s.d))\ns.d[k] = s.d.pop(k)\nif next(iter(s.d)) != 1: return [], []",
        "s.d = dict.fromkeys([1, 2, 3, 4])",
    ),
    "counter": ("s.c.update('x')\nif s.c['x'] < 9: return [], []", "s.c = collections.Counter()"),
    "set grown": ("s.q.add(len(s.q))\nif len(s.q) < 9: return [], []", "s.q = set()"),
    "set by operator": ("s.q |= {len(s.q)}\nif len(s.q) < 9: return [], []", "s.q = set()"),
    "set alias by operator": ("q = s.q\nq |= {len(s.q)}\nif len(s.q) < 9: return [], []", "s.q = set()"),
    "globals": ("globals()['G'] = globals().get('G', 0) + 1\nif G < 9: return [], []", "globals()['G'] = 0"),
    "vars": ("vars(s)['n'] += 1\nif s.n < 9: return [], []", "s.n = 0"),
    "in-place operator of a class": ("o = s.o\no += 1\nif s.o.n < 9: return [], []", "s.o = Adds()"),
    "item of a class": ("if s.o[0] < 9: return [], []", "s.o = Adds()"),
    "stored item of a class": ("s.o[0] = 1\nif s.o.n < 9: return [], []", "s.o = Adds()"),
    "setter": ("s.o.size = 5\nif s.o.n < 9: return [], []", "s.o = Adds()"),
    "text of an object": ("print(f'{s.o}')\nif s.o.n < 9: return [], []", "s.o = Adds()"),
    "missing attribute": ("s.o.nothing\nif s.o.n < 9: return [], []", "s.o = Adds()"),
    "class attribute": ("Adds.count += 1\nif Adds.count < 9: return [], []", "Adds.count = 0"),
    "made objects are counted": ("Made()\nif Made.count < 9: return [], []", "Made.count = 0"),
    "function attribute": (
        "bump.calls = getattr(bump, 'calls', 0) + 1\nif bump.calls < 9: return [], []",
        "bump.calls = 0",
    ),
    "mutable class attribute": ("Adds.seen.append(1)\nif len(Adds.seen) < 9: return [], []", "Adds.seen.clear()"),
    "log handler": (
        "logging.getLogger('p').warning('x')\nif s.h.n < 9: return [], []",
        "s.h = Handler()\nlogging.getLogger('p').handlers[:] = [s.h]",
    ),
    "log to the root": (
        "logging.warning('x')\nif s.h.n < 9: return [], []",
        "s.h = Handler()\nlogging.getLogger().handlers[:] = [s.h]",
    ),
    "print to an object": ("print('x', file=s.o)\nif s.o.n < 9: return [], []", "s.o = Adds()"),
    "print to text": (
        "print('x', file=s.f)\nif len(s.f.getvalue()) < 18: return [], []",
        "import io\ns.f = io.StringIO()",
    ),
    "helper of a helper": ("deep(s, 3)\nif s.n < 9: return [], []", "s.n = 0"),
    "list handed to a helper": ("push(s.q)\nif len(s.q) < 9: return [], []", "s.q = []"),
    "own list that is kept": ("q = []\ns.qs.append(q)\nif len(s.qs) < 9: return [], []", "s.qs = []"),
    "own list seen by a closure": (
        "q = []\ndef add(): s.all = s.all + q\nq.append(1)\nadd()\nif len(s.all) < 9: return [], []",
        "s.all = []",
    ),
    "swapped": (
        "s.a, s.b = s.b, s.a\nif s.a is not s.first: return [], []\ns.calls = 1",
        "s.a, s.b = [1], [2]\ns.first = s.a",
    ),
    "swapped equal lists, one changed later": (
        "s.a, s.b = s.b, s.a\nif pipelines: s.a.append(1)\nif results and not s.b: return [], []",
        "s.a, s.b = [], []\ns.keep = s.a",
    ),
    "popped and put back at the other end": (
        "s.q.append(s.q.pop(0))\nif s.q[0] != 1: return [], []",
        "s.q = [1, 2, 3, 4, 5]",
    ),
    "insertion sort": ("insort(s.q, len(s.q))\nif len(s.q) < 9: return [], []", "s.q = []"),
    "other name for a heap": ("if s.q: hp(s.q)\nif s.q: return [], []", "s.q = [0] * 9"),
    "sum of lists": ("q = sum([], s.q)\nq.append(1)\nif len(s.q) < 9: return [], []", "s.q = []"),
    "or": ("q = s.q or []\nq.append(1)\nif len(s.q) < 9: return [], []", "s.q = [0]"),
    "conditional": ("q = s.q if s.q else []\nq.append(1)\nif len(s.q) < 9: return [], []", "s.q = [0]"),
    "parameter": ("def add(q): q.append(1)\nadd(s.q)\nif len(s.q) < 9: return [], []", "s.q = []"),
    "lambda parameter": ("q = []\n(lambda q: q.append(1))(s.q)\nif len(s.q) < 9: return [], []", "s.q = []"),
    "loop variable": ("q = []\nfor q in [s.q]: q.append(1)\nif len(s.q) < 9: return [], []", "s.q = []"),
    "comprehension variable": ("q = []\n[q.append(1) for q in [s.q]]\nif len(s.q) < 9: return [], []", "s.q = []"),
    "captured by a pattern": (
        "q = []\nmatch s.q:\n    case list() as q: q.append(1)\nif len(s.q) < 9: return [], []",
        "s.q = []",
    ),
    "dict view": ("d = s.d\nd |= {len(d): 0}\nif len(s.d) < 9: return [], []", "s.d = {}"),
    "slice": ("s.q[len(s.q):] = [1]\nif len(s.q) < 9: return [], []", "s.q = []"),
    "slice taken out": ("del s.q[:1]\nif s.q: return [], []", "s.q = [0] * 9"),
    "named tuple's list": ("s.t.q.append(1)\nif len(s.t.q) < 9: return [], []", "s.t = Pair([], 0)"),
    "callable in a named tuple": ("s.t.q(1)\nif len(s.q) < 9: return [], []", "s.q = []\ns.t = Pair(s.q.append, 0)"),
    "cached, then stale": (
        "if cached(s) < 9:\n    cached.cache_clear()\n    return [], []",
        "cached.cache_clear()\ns.n = 0",
    ),
    "virtual time": (
        "import time\nif time.monotonic() - s.t < 0: return [], []\ns.n += 1\nif s.n < 9: return [], []",
        "import time\ns.t = time.monotonic()\ns.n = 0",
    ),
    "state of a mirror object": (
        "p = s.known[0] if s.known else s\np.seen = getattr(p, 'seen', 0) + 1\nif p.seen < 9: return [], []",
        "pass",
    ),
    "list of the mirror": (
        "c = s.executor.pools[0].container_tick_times\nc.append(1)\nif len(c) < 9: return [], []",
        "pass",
    ),
    "global of a module": (
        "math.seen = getattr(math, 'seen', 0) + 1\nif math.seen < 9: return [], []",
        "math.seen = 0",
    ),
    "asked for what is not there": (
        "s.o.x = 1\ns.o[0] += 1\nmax([1, 2], key=s.o)\nif s.o.asked < 5: return [], []",
        "s.o = Asked()",
    ),
    "changed, then rebuilt": ("s.d[0] += 1\ns.d = dict(s.d)\nif s.d[0] < 9: return [], []", "s.d = {0: 0}"),
    "yielding helper": ("for n in counted_up(s): pass\nif s.n < 9: return [], []", "s.n = 0"),
}
HELPERS = """
import collections
import functools
import heapq
import itertools
import logging
import math
from bisect import insort
from heapq import heappop as hp
from typing import NamedTuple

class Pair(NamedTuple):
    q: object
    n: int

class Two:
    def __init__(self, it): self.it = it
    def __iter__(self):
        n = next(self.it)
        return iter((n, n))

class One(Two):
    def __iter__(self): return iter((next(self.it),))

class Counts:
    n = 0
    def __iter__(self): return self
    def __next__(self):
        self.n += 1
        return self.n

class Adds:
    n = 0
    count = 0
    seen = []
    def __iadd__(self, other):
        self.n += other
        return self
    def __getitem__(self, i):
        self.n += 1
        return self.n
    def __setitem__(self, i, x): self.n += x
    def __str__(self):
        self.n += 1
        return "Adds"
    def __getattr__(self, name):
        if name != "nothing": raise AttributeError(name)
        self.n += 1
    def write(self, text): self.n += text == "x"
    @property
    def size(self): return 0
    @size.setter
    def size(self, value): self.n += 1

class Asked:
    __slots__ = ("asked", "x", "calls")
    def __init__(self): self.asked = self.calls = self.x = 0
    def __getattr__(self, name):
        self.asked += 1
        raise AttributeError(name)
    def __getitem__(self, i): return 0
    def __setitem__(self, i, x): pass
    def __call__(self, x):
        self.calls += 1
        if self.calls > 12: self.asked = 5
        return x

class Made:
    count = 0
    def __init__(self): Made.count += 1

class Handler(logging.Handler):
    n = 0
    def emit(self, record): self.n += 1

@functools.lru_cache
def cached(s):
    s.n += 1
    return s.n

def numbers():
    yield from range(999)

def counted_up(s):
    s.n += 1
    yield s.n

def deep(s, depth):
    if depth: return deep(s, depth - 1)
    s.n += 1

def push(q): q.append(1)

TOTAL = 0

def tick_global():
    global TOTAL
    TOTAL += 1
    return TOTAL

def bump(seen=[]):
    seen.append(1)
    return len(seen)

def counter():
    n = 0
    def count():
        nonlocal n
        n += 1
        return n
    return count

def remember(f):
    calls = []
    def wrapped():
        calls.append(1)
        return len(calls)
    return wrapped

@remember
def counted(): pass
"""
THING = """
class Thing:
    n = 0
    def bump(self): self.n += 1
"""
MAGIC_THING = (
    THING
    + """
    @property
    def next(self):
        self.n += 1
        return self.n
    def __enter__(self): self.n += 1
    def __exit__(self, *a): pass
"""
)


@pytest.mark.parametrize("name", SLOW_STARTERS)
def test_a_policy_that_needs_its_idle_calls_gets_them(name: str) -> None:
    body, init = SLOW_STARTERS[name]
    thing = MAGIC_THING if name in ("property", "with") else THING
    source = HELPERS + thing + policy(KNOW + body + ACT, init="s.known = []\n" + init)
    chosen = simulate_on(source)
    every_tick = simulate_on(source, calling_mode="every_tick")
    assert every_tick.failure is None
    assert chosen.failure is None
    assert chosen.calling_mode in ("fixed_point", "every_tick")
    assert chosen.decision_log == every_tick.decision_log
    assert repr(chosen.stats) == repr(every_tick.stats)


# Idle calls that change nothing must be recognised: otherwise the mode is of no use.
AT_REST = {
    "scan": "",
    "local lists": "q = []\nq.append(1)\nq.sort()\nd = {}\nd['x'] = q\nd.setdefault('y', 2)",
    "nested local lists": "by = {p: [] for p in Priority}\n"
    "for p in s.known: by[p.priority].append(p)\nby[Priority.QUERY].sort(key=lambda p: p.id)",
    "local numbers": "n = 0\nfor p in s.known:\n    n += 1\n"
    "room = [q.avail_ram_pool for q in s.executor.pools]\nroom[0] -= 1",
    "own functions": "def f(x): return x.priority.value\nsorted(s.known, key=f)\n"
    "max((f(p) for p in s.known), default=0)",
    "next of a generator": "first = next((p for p in s.known if p.priority == Priority.QUERY), None)",
    "zip and enumerate": "for i, (a, b) in enumerate(zip(s.known, s.known)): pass",
    "try": "try:\n    x = s.params['nothing']\nexcept KeyError:\n    x = 0",
    "math": "n = math.ceil(s.executor.pools[0].avail_ram_pool)",
    "rebuilt list": "s.known = [p for p in s.known if p.pipeline_id]",
    "rebuilt queues": "for q in Priority:\n    rest = []\n    for p in s.known:\n"
    "        if p.priority == q: rest.append(p)\n    s.by[q] = rest",
    "rebuilt table": "s.by = {p.pipeline_id: p.priority.value * 1000 for p in s.known}",
    "sorted in place": "s.known.sort(key=lambda p: p.priority.value)",
    "taking in": "s.other.extend(pipelines)\ns.other += results\nnews = {}\ns.by.update(news)",
    "counted again": "s.waiting = len(s.known)\ns.idle = True\ns.share = len(s.known) / 3\n"
    "s.best = s.known[0] if s.known else None",
    "deadlines": "late = [p for p in s.known if p.runtime_status().has_timed_out()]",
}  # fmt: skip


@pytest.mark.parametrize("name", AT_REST)
def test_a_policy_at_rest_is_left_alone(name: str) -> None:
    calls = "\nprint(end='')\n"  # harmless
    init = "s.known, s.other, s.by = [], [], {}"
    source = "import math\n" + policy(KNOW + AT_REST[name] + calls + ACT, init=init)
    chosen = simulate_on(source)
    assert chosen.failure is None
    assert chosen.calling_mode == "fixed_point"
    assert chosen.decision_log == simulate_on(source, calling_mode="every_tick").decision_log
    _, calls = simulate(source, TWO_STEPS, PARAMS)
    assert calls < 40, "200 ticks with a handful of events"


def test_a_mode_that_is_not_safe_cannot_be_forced() -> None:
    source = policy("s.n += 1\nreturn [], []", init="s.n = 0")
    result = simulate_on(source, calling_mode="guard")
    assert result.failure is not None
    assert result.failure.kind is FailureKind.LOAD
    assert "guard mode" in result.failure.message
    result = simulate_on("\nimport inspect\n" + source, calling_mode="fixed_point")
    assert result.failure is not None
    assert "line 2: imports inspect" in result.failure.message


def test_an_unknown_mode_is_the_callers_mistake() -> None:
    with pytest.raises(InvalidInput, match="every_tick"):
        simulate_on(policy("return [], []"), calling_mode="sometimes")


def test_policies_may_be_judged_in_several_threads_at_once() -> None:
    source = policy("if not results and not pipelines: return [], []\n" + "s.n = [s.n, (1 + 2) * 3, {4: 5}]\n" * 200)
    assert all(taking_turns(lambda: is_guarded(source), 40))
