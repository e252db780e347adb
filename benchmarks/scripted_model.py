"""A model that is none: it answers from a list of ideas, for searches that are to be compared without paying anybody.

It does what was seen of real models on the `faas` simulator: an answer takes the parent and replaces one of its
functions by another idea, with constants that are plausible and not tuned; about every third answer only changes one
constant; now and then an idea is no good, or fails. The constants of the parent's other functions stay, also those that
others have tuned.
"""

from __future__ import annotations

import ast
import random
import textwrap

FIRST = '''\
"""Queues by class; sizes by class, twice as much memory after an out-of-memory."""

from eudoxia.executor.assignment import Assignment
from eudoxia.scheduler.decorators import register_scheduler, register_scheduler_init
from eudoxia.utils import Priority
from eudoxia.workload import ASSIGNABLE_STATES


@register_scheduler_init(key="scripted")
def start(scheduler):
    scheduler.live = []
    scheduler.needed = {}  # operator -> memory that was too little
    scheduler.seen = {}  # class -> largest memory that was too little, smallest that was enough


def first_size(scheduler, op, pool):
    share = {1: 0.1, 2: 0.1, 3: 0.1}[op.pipeline.priority.value]
    return pool.max_ram_pool * share


def grown(scheduler, failed):
    return failed * 2.0


def cpus(scheduler, op, pool):
    return max(1, pool.max_cpu_pool // 10)


def rank(scheduler, pipeline):
    return (pipeline.priority.value, pipeline.runtime_status().arrival_tick)


def worth_it(scheduler, pipeline):
    return True


def kept_free(scheduler, pool, priority):
    return 0.0


def choose(pools, free, cpu, ram):
    fitting = [i for i in range(len(pools)) if free[i][0] >= cpu and free[i][1] >= ram]
    return max(fitting, key=lambda i: free[i][1]) if fitting else None


def patience(scheduler):
    return 1


@register_scheduler(key="scripted")
def decide(scheduler, results, pipelines):
    if not results and not pipelines:
        return [], []
    scheduler.live.extend(pipelines)
    for result in results:
        for op in result.ops:
            value = op.pipeline.priority.value
            low, high = scheduler.seen.get(value, (0.0, 0.0))
            if result.error == "OOM":
                scheduler.needed[op.id] = max(result.ram, scheduler.needed.get(op.id, 0.0))
                scheduler.seen[value] = (max(low, result.ram), high)
            elif result.error is None:
                scheduler.seen[value] = (low, min(high, result.ram) if high else result.ram)
    scheduler.live = [
        p
        for p in scheduler.live
        if not p.runtime_status().is_pipeline_successful() and not p.runtime_status().has_timed_out()
    ]
    pools = scheduler.executor.pools
    free = [[pool.avail_cpu_pool, pool.avail_ram_pool] for pool in pools]
    assignments, blocked = [], 0
    for pipeline in sorted(scheduler.live, key=lambda p: rank(scheduler, p)):
        if blocked >= patience(scheduler):
            break
        if not worth_it(scheduler, pipeline):
            continue
        for op in pipeline.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            pool = pools[0]
            failed = scheduler.needed.get(op.id)
            if failed is not None and failed >= pool.max_ram_pool:
                continue
            wanted = first_size(scheduler, op, pool) if failed is None else grown(scheduler, failed)
            ram = int(max(1, min(wanted, pool.max_ram_pool)))
            cpu = int(max(1, min(cpus(scheduler, op, pool), pool.max_cpu_pool)))
            spare = kept_free(scheduler, pool, pipeline.priority.value)
            chosen = choose(pools, [[c, r - spare] for c, r in free], cpu, ram)
            if chosen is None:
                blocked += 1
                break
            free[chosen][0] -= cpu
            free[chosen][1] -= ram
            assignments.append(
                Assignment(
                    ops=[op],
                    cpu=cpu,
                    ram=ram,
                    priority=pipeline.priority,
                    pool_id=pools[chosen].pool_id,
                    pipeline_id=pipeline.pipeline_id,
                )
            )
    return [], assignments
'''

# What each answer says, and the function that it puts in the place of the parent's of the same name.
IDEAS = (
    (
        "Smaller first sizes for queries, larger ones for batch work.",
        """
        def first_size(scheduler, op, pool):
            share = {1: 0.05, 2: 0.08, 3: 0.15}[op.pipeline.priority.value]
            return pool.max_ram_pool * share
        """,
    ),
    (
        "What does not fit is passed over, so that smaller work behind it starts.",
        """
        def patience(scheduler):
            return 10
        """,
    ),
    (
        "A first size by what the class was seen to need: above what was too little.",
        """
        def first_size(scheduler, op, pool):
            low, high = scheduler.seen.get(op.pipeline.priority.value, (0.0, 0.0))
            base = pool.max_ram_pool * {1: 0.06, 2: 0.06, 3: 0.06}[op.pipeline.priority.value]
            return min(max(base, low * 0.5), pool.max_ram_pool * 0.3)
        """,
    ),
    (
        "Fewer CPUs for batch work, so that more of it runs side by side.",
        """
        def cpus(scheduler, op, pool):
            return pool.max_cpu_pool * {1: 0.12, 2: 0.1, 3: 0.05}[op.pipeline.priority.value]
        """,
    ),
    (
        "Memory is kept free for queries while batch work is queued.",
        """
        def kept_free(scheduler, pool, priority):
            return pool.max_ram_pool * {1: 0.0, 2: 0.05, 3: 0.15}[priority]
        """,
    ),
    (
        "Pipelines that are nearly done go first within their class.",
        """
        def rank(scheduler, pipeline):
            left = sum(1 for op in pipeline.values if op.state().name != "COMPLETED")
            return (pipeline.priority.value, left, pipeline.runtime_status().arrival_tick)
        """,
    ),
    (
        "Work that cannot make its deadline is not begun.",
        """
        def worth_it(scheduler, pipeline):
            limit = scheduler.params.get("max_job_seconds")
            if not limit:
                return True
            waited = scheduler.clock.now_seconds() - pipeline.runtime_status().arrival_tick / 100
            return waited < limit * 0.6
        """,
    ),
    (
        "The pool in which least is left over takes it.",
        """
        def choose(pools, free, cpu, ram):
            fitting = [i for i in range(len(pools)) if free[i][0] >= cpu and free[i][1] >= ram]
            return min(fitting, key=lambda i: free[i][1] - ram) if fitting else None
        """,
    ),
    (
        "After an out-of-memory a larger step at first, a smaller one later.",
        """
        def grown(scheduler, failed):
            return failed * 2.5 if failed < 60 else failed * 1.6
        """,
    ),
    (
        "The estimate is trusted with a margin where there is one.",
        """
        def first_size(scheduler, op, pool):
            guess = op.estimate.mem_peak_gb
            if guess is not None:
                return min(guess * 1.3 + 2, pool.max_ram_pool)
            low, high = scheduler.seen.get(op.pipeline.priority.value, (0.0, 0.0))
            base = pool.max_ram_pool * {1: 0.05, 2: 0.06, 3: 0.07}[op.pipeline.priority.value]
            return min(max(base, low * 0.4), pool.max_ram_pool * 0.25)
        """,
    ),
    (
        "Interactive work goes before queries that wait long.",
        """
        def rank(scheduler, pipeline):
            waited = scheduler.clock.now_seconds() - pipeline.runtime_status().arrival_tick / 100
            return (pipeline.priority.value - waited / 200, pipeline.runtime_status().arrival_tick)
        """,
    ),
    (
        "Everything that is queued may start, in whatever order it fits.",
        """
        def patience(scheduler):
            return 60
        """,
    ),
    (
        "A size for each operator by its place in the pipeline.",
        """
        def first_size(scheduler, op, pool):
            return pool.max_ram_pool * 0.06 * len(op.parent_names)
        """,
    ),
    (
        "CPUs by how much memory is asked for.",
        """
        def cpus(scheduler, op, pool):
            return 2 + scheduler.needed.get(op.id, 0.0) / 40
        """,
    ),
)


class ScriptedModel:
    """`answer` gives the next policy: a function of the seed, the parent and how often it was asked."""

    def __init__(self, seed: int, *, usd: float, one_constant: float = 0.33) -> None:
        """`usd`: what an answer costs. `one_constant`: share of the answers that only change one constant."""
        self._rng = random.Random(f"scripted model {seed}")
        self._ideas = list(IDEAS)
        # Models have their good ideas early as often as late, and not in the same order twice.
        self._rng.shuffle(self._ideas)
        self._share, self._next, self.usd = one_constant, -1, usd

    def answer(self, parent: str) -> tuple[str, str]:
        """The policy, and what it says about it."""
        if self._next < 0 or not _is_ours(parent):
            self._next += self._next < 0
            return FIRST, "Queues by class, sizes by class, twice the memory after an out-of-memory."
        if self._rng.random() < self._share:
            return self._with_one_constant(parent), "One constant changed."
        said, code = self._ideas[self._next % len(self._ideas)]
        self._next += 1
        return with_function(parent, textwrap.dedent(code).strip()), said

    def _with_one_constant(self, parent: str) -> str:
        numbers = [
            node
            for node in ast.walk(ast.parse(parent))
            if isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value > 0.0
        ]
        if not numbers:
            return parent + "\n"
        chosen = numbers[self._rng.randrange(len(numbers))]
        lines = parent.splitlines()
        line, start, end = lines[chosen.lineno - 1], chosen.col_offset, chosen.end_col_offset
        new = float(f"{chosen.value * self._rng.choice((0.5, 0.7, 1.4, 2.0)):.3g}")  # type: ignore[operator]
        lines[chosen.lineno - 1] = f"{line[:start]}{new!r}{line[end:]}"
        return "\n".join(lines) + "\n"


def _is_ours(source: str) -> bool:
    return 'key="scripted"' in source


def with_function(source: str, function: str) -> str:
    """`source` with `function` in the place of the one of the same name."""
    name = ast.parse(function).body[0].name  # type: ignore[attr-defined]
    old = next(node for node in ast.parse(source).body if getattr(node, "name", "") == name)
    lines = source.splitlines()
    lines[old.lineno - 1 : old.end_lineno] = function.splitlines()
    return "\n".join(lines) + "\n"
