"""Random clusters, workloads and policies for comparing the engine with the oracle; the comparison itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any

from quintain.plugins.inprocess import InProcessPolicy
from quintain.plugins.simulator import JsonValue
from quintain_faas import Params, Workload, guest
from quintain_faas.run import RunResult, run
from quintain_faas.statistics import ClassStatistics

from .oracle import Oracle

STYLES = ("restless", "guarded", "quiet", "patient", "rebuilding")

# A policy that writes down everything it can see. `draw` is its own random numbers, kept in the scheduler.
COMMON = '''
LOW_RAM, HIGH_RAM, MAX_CPU, SUSPEND, ODD, GROUP, LOOK = {settings!r}

def mix(*numbers):
    x = 1469598103934665603
    for n in numbers:
        x = ((x ^ (n & 0xFFFFFFFF)) * 1099511628211) % (2 ** 64)
    return (x >> 11) / 2 ** 53

def draw(s):
    s.seed = (s.seed * 6364136223846793005 + 1442695040888963407) % 2 ** 64
    return (s.seed >> 11) / 2 ** 53

def see_container(c):
    return (c.container_id, c.pool_id, c.error, c.suspend_ticks, c.ticks_elapsed(), c.is_completed(), c.is_suspended(),
            c.can_suspend_container(), c.get_current_memory_usage(), c.get_pipeline_id(), c.priority.name,
            [o.id for o in c.operators])

def see(s, results, pipelines):
    ex = s.executor
    out = [s.clock.now_ticks(), s.clock.now_seconds(), ex.num_completed(), ex.container_tick_times(),
           ex.get_total_ram_gb(), ex.get_allocated_ram_gb(), ex.get_consumed_ram_gb(),
           ex.get_pool_id_with_max_avail_ram(), sorted(s.params.items())]
    for pool in ex.pools:
        out.append((pool.to_dict(), pool.i, pool.num_completed, pool.container_tick_times, pool.consumed_ram_gb,
                    pool.get_allocated_ram_gb()))
        for c in pool.active_containers:
            s.containers[c.container_id] = c
    out.append([see_container(c) for c in s.containers.values()])
    for p in s.known:
        status = p.runtime_status()
        out.append((p.to_dict(), status.finish_tick, status.has_timed_out(), len(p.values), [o.id for o in p.values],
                    sorted((k.name, n) for k, n in status.state_counts.items()),
                    [(o.id, st.name) for o, st in status.operator_states.items()],
                    [o.id for o in status.get_ops(OperatorState.RUNNING)],
                    [o.id for o in status.get_ops(ASSIGNABLE_STATES, require_parents_complete=True)],
                    [(o.estimate.mem_peak_gb, len(o.children), [q.id for q in o.parents]) for o in p.values]))
        if status.finish_tick is not None:
            out.append(status.get_latency_ticks())
    out.append([r.to_dict() for r in results] + [(r.failed(), [o.state().name for o in r.ops]) for r in results])
    out.append([p.pipeline_id for p in pipelines])
    s.log.append(repr(out))

def remember(s, results, pipelines):
    for p in pipelines:
        s.known.append(p)
    for r in results:
        if r.failed():
            for o in r.ops:
                s.failed[o.id] = s.failed.get(o.id, 0) + 1

@register_scheduler_init(key="any")
def init(s):
    s.seed = {seed}
    s.log, s.known, s.containers, s.failed, s.queues = [], [], {{}}, {{}}, {{}}

def propose(s, chance, odd):
    """Assignments, suspensions; `chance(a, b)` in [0, 1) decides, `odd()` now and then asks for something strange."""
    suspensions, assignments = [], []
    free = [[p.avail_cpu_pool, p.avail_ram_pool] for p in s.executor.pools]
    for p in s.known:
        status = p.runtime_status()
        if status.is_pipeline_successful() or status.has_timed_out():
            continue
        strict = not GROUP or not s.params["multi_operator_containers"]
        ops = status.get_ops(ASSIGNABLE_STATES, require_parents_complete=strict)
        while ops:
            size = 1 if strict else len(ops)
            if size > 1 and chance(ops[0].id, 5) > 0.97:
                size = 1 + int(chance(ops[0].id, 6) * len(ops))
            group, ops = ops[:size], ops[size:]
            n = s.failed.get(group[0].id, 0)
            if n > 4 or chance(group[0].id, 17 + n) < 0.3:
                continue
            i = int(chance(group[0].id, 23 + n) * len(free))
            ram = LOW_RAM + chance(group[0].id, 31 + n) * (HIGH_RAM - LOW_RAM) + n * LOW_RAM
            if chance(group[0].id, 37) < 0.4:
                ram = max(1, int(ram))
            cpu = max(1, int(chance(group[0].id, 41 + n) * MAX_CPU))
            if chance(group[0].id, 43) < 0.3:
                cpu = cpu * 0.7
            if cpu > free[i][0] or (ram > free[i][1] and not s.params["allow_memory_overcommit"]):
                continue
            pool_id = i
            if odd():
                pool_id = [99, float(i), "nowhere", -1][int(chance(group[0].id, 47) * 4)]
            a = Assignment(group, cpu, ram, p.priority, pool_id, p.pipeline_id)
            if odd():
                continue
            free[i][0] -= cpu
            free[i][1] -= ram
            assignments.append(a)
    for pool in s.executor.pools:
        for c in pool.active_containers:
            if c.can_suspend_container() and chance(int(c.container_id[1:]), 53) < SUSPEND:
                suspensions.append(Suspend(c.container_id, 77 if odd() else c.pool_id))
    if odd() and odd():
        for pool in s.executor.pools:
            for c in pool.active_containers[:1]:
                suspensions.append(Suspend(c.container_id, c.pool_id))
    if odd() and odd() and s.known:
        last = s.known[-1].runtime_status().get_ops(ASSIGNABLE_STATES)
        if last:
            assignments.append(Assignment(last[-1:], 1, 10 ** 6 if odd() else 1, Priority.QUERY, 0, "x"))
    return suspensions, assignments
'''

BODIES = {
    "restless": """
@register_scheduler(key="any")
def schedule(s, results, pipelines):
    remember(s, results, pipelines)
    if draw(s) < LOOK:
        see(s, results, pipelines)
    if draw(s) < 0.5 and not results:
        return [], []
    return propose(s, lambda a, b: draw(s), lambda: draw(s) < ODD)
""",
    "guarded": """
@register_scheduler(key="any")
def schedule(s, results, pipelines):
    if not results and not pipelines:
        return [], []
    remember(s, results, pipelines)
    see(s, results, pipelines)
    return propose(s, lambda a, b: draw(s), lambda: draw(s) < ODD)
""",
    "quiet": """
@register_scheduler(key="any")
def schedule(s, results, pipelines):
    if results or pipelines:
        remember(s, results, pipelines)
        see(s, results, pipelines)
    ready = False
    for p in s.known:
        status = p.runtime_status()
        if status.has_timed_out() and p.pipeline_id not in s.failed:
            s.failed[p.pipeline_id] = 1
            see(s, results, pipelines)
        if status.get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            ready = True
    for pool in s.executor.pools:
        if pool.active_containers and LOOK < 0.1 and pool.get_consumed_ram_gb() > HIGH_RAM:
            return [], []
        for c in pool.active_containers:
            if c.can_suspend_container():
                ready = True
    if not ready:
        return [], []
    suspensions, assignments = propose(s, lambda a, b: mix(a, b, SEED), lambda: False)
    if suspensions or assignments:
        see(s, results, pipelines)
    return suspensions, assignments
""",
    "rebuilding": """
@register_scheduler(key="any")
def schedule(s, results, pipelines):
    s.known.extend(pipelines)
    s.known = [p for p in s.known if not p.runtime_status().is_pipeline_successful()]
    if LOOK < 0.5:
        s.known.sort(key=lambda p: p.priority.value)
    for priority in Priority:
        rest = []
        s.queues[priority] = rest
        for p in s.known:
            if p.priority == priority:
                rest.append(p)
    s.waiting = {p.pipeline_id: len(p.runtime_status().get_ops(ASSIGNABLE_STATES)) for p in s.known}
    s.late = sum(1 for p in s.known if p.runtime_status().has_timed_out())
    if results or pipelines:
        remember(s, results, [])
        see(s, results, pipelines)
    ready = s.queues[Priority.QUERY] if s.late else s.known
    if not [p for p in ready if p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True)]:
        return [], []
    suspensions, assignments = propose(s, lambda a, b: mix(a, b, SEED, s.late), lambda: False)
    if suspensions or assignments:
        see(s, results, pipelines)
    return suspensions, assignments
""",
    "patient": """
@register_scheduler(key="any")
def schedule(s, results, pipelines):
    if results or pipelines:
        remember(s, results, pipelines)
    if s.clock.now_seconds() < LOOK:
        return [], []
    if LOOK < 0.1:
        if s.clock.now_ticks() % 7:
            return [], []
    elif s.executor.pools[0].active_containers:
        first = s.executor.pools[0].active_containers[0]
        if first.get_current_memory_usage() < LOW_RAM * LOOK or first.ticks_elapsed() % 3 == 0:
            return [], []
    suspensions, assignments = propose(s, lambda a, b: mix(a, b, SEED), lambda: False)
    if suspensions or assignments:
        see(s, results, pipelines)
    return suspensions, assignments
""",
}


@dataclass(frozen=True)
class Case:
    params: Params
    trace: str
    policy: str
    style: str


def make_case(random: Random) -> Case:
    tps = random.choice([5, 10, 10, 20, 100])
    cpus = random.choice([2, 4, 7, 8.5, 16])
    ram = random.choice([8, 16, 30.5, 64, 100])
    duration = random.randint(2, 5) * (200 // tps if tps < 100 else 1)
    params = Params(
        duration=min(duration, 40),
        ticks_per_second=tps,
        num_pools=random.choice([1, 1, 2, 3]),
        cpus_per_pool=cpus,
        ram_gb_per_pool=ram,
        multi_operator_containers=random.random() < 0.75,
        allow_memory_overcommit=random.random() < 0.4,
        max_job_seconds=random.choice([0, 0, 2, 5.5, 0.35]),
        estimator_algo=random.choice(["", "noisy"]),
        noisy_estimator_sigma=random.choice([0, 0.3]),
        random_seed=random.randint(0, 1000),
    )
    style = random.choice(STYLES)
    settings = (
        random.choice([0.5, 2, ram / 8]),
        random.choice([ram / 4, ram / 2, float(ram)]),
        random.choice([1, 2, cpus]),
        random.choice([0.0, 0.5, 0.95]),
        random.choice([0.0, 0.0, 0.02, 0.2]),
        random.random() < 0.7,
        random.choice([0.02, 0.3, 1.0]),
    )
    seed = random.randint(1, 10**9)
    policy = COMMON.format(settings=settings, seed=seed) + f"SEED = {seed}\n" + BODIES[style]
    return Case(params, make_trace(random, params.duration, ram), policy, style)


def make_trace(random: Random, duration: float, ram: float) -> str:
    rows = [
        "pipeline_id,arrival_seconds,priority,operator_id,parents,baseline_cpu_seconds,cpu_scaling,memory_gb,storage_read_gb"
    ]
    arrival = 0.0
    kinds = [make_needs(random, ram) for _ in range(random.randint(1, 6))]
    for number in range(random.randint(1, 14)):
        name = f"p{number}" if random.random() < 0.93 else "p0"
        if rows[-1].startswith(f"{name},"):
            name = f"q{number}"
        arrival = round(max(0.0, arrival + random.choice([0, 0, 0.1, 0.37, 1.0]) - (random.random() < 0.03)), 3)
        priority = random.choice(["QUERY", "INTERACTIVE", "BATCH_PIPELINE"])
        size = random.choice([1, 2, 3, 4, 6])
        for position in range(size):
            parents = [f"o{k}" for k in range(position) if random.random() < 0.4]
            if parents and random.random() < 0.08:
                parents.append(random.choice(parents))
            head = f"{arrival},{priority}" if position == 0 else ","
            rows.append(f"{name},{head},o{position},{';'.join(parents)},{random.choice(kinds)}")
    return "\n".join(rows) + "\n"


def make_needs(random: Random, ram: float) -> str:
    law = random.choice(["const", "linear3", "linear7", "log", "sqrt", "squared", "exp"])
    cpu = random.choice([0.0, 0.1, 1, 1, 2.5, 4]) if random.random() < 0.1 else random.choice([0.6, 1, 2.5, 5])
    storage = random.choice([0, 1, 3, 7.7, ram / 10, ram / 4, ram / 2, ram * 0.9])
    memory = random.choice(["", "", "0", ram / 5, ram / 3.3])
    return f"{cpu},{law},{memory},{storage}"


# ------------------------------------------------------------------------------------------------------------ comparing


def run_engine(case: Case, calling_mode: str) -> tuple[RunResult, Any]:
    """The result and the policy's own scheduler object."""
    opened: list[InProcessPolicy] = []

    def open_policy(setup: JsonValue) -> InProcessPolicy:
        opened.append(InProcessPolicy(guest.load, case.policy, setup))
        return opened[-1]

    workload = Workload.from_trace_text(case.trace, strict=False)
    result = run(case.params, workload, open_policy, calling_mode=calling_mode)
    return result, opened[0]._session.scheduler  # type: ignore[attr-defined]


def run_oracle(case: Case) -> tuple[dict[str, Any] | None, Oracle, int]:
    """Statistics (None if the simulation broke), the oracle, the tick at which it broke."""
    workload = Workload.from_trace_text(case.trace, strict=False)
    oracle = Oracle(case.params, workload.pipelines(), case.policy)
    try:
        return oracle.run(), oracle, -1
    except (AssertionError, AttributeError, StopIteration, RuntimeError):
        return None, oracle, oracle.clock.t


def modes_of(case: Case) -> tuple[str, ...]:
    return {
        "restless": ("every_tick", "fixed_point"),
        "guarded": ("guard", "fixed_point", "every_tick"),
        "quiet": ("fixed_point", "every_tick"),
        "rebuilding": ("fixed_point", "every_tick"),
        "patient": ("fixed_point", "every_tick"),
    }[case.style]


def check(case: Case) -> dict[str, int]:
    """Compare engine and oracle in every mode that applies; returns what the case contained."""
    expected, oracle, broke_at = run_oracle(case)
    digests = set()
    for mode in modes_of(case):
        result, scheduler = run_engine(case, mode)
        assert result.calling_mode == mode
        digests.add(result.decisions_digest)
        if expected is None:
            assert result.failure is not None, f"{mode}: the oracle broke at {broke_at}, the engine did not"
            assert result.failure.step == broke_at, (mode, result.failure, broke_at)
        else:
            assert result.failure is None, (mode, result.failure)
            assert comparable(result) == expected, mode
        seen, wanted = scheduler.log, oracle.scheduler.log  # type: ignore[attr-defined]
        assert len(seen) == len(wanted), mode
        for mine, other in zip(seen, wanted, strict=True):
            assert mine == other, mode
    assert len(digests) == 1
    stats = result.stats
    return {
        "failed": int(expected is None),
        "completed": stats.containers_completed,
        "suspensions": stats.suspensions,
        "OOM": stats.failure_error_counts.get("OOM", 0),
        "timeout": stats.failure_error_counts.get("timeout", 0),
        "observations": len(oracle.scheduler.log),  # type: ignore[attr-defined]
    }


class SameFloat(float):
    """NaN equals NaN."""

    def __eq__(self, other: object) -> bool:
        return float(self) == other or (math.isnan(self) and isinstance(other, float) and math.isnan(other))

    __hash__ = float.__hash__


def comparable(result: RunResult) -> dict[str, Any]:
    """The engine's statistics in the oracle's form."""
    found: dict[str, Any] = {}
    for name in [
        "pipelines_created",
        "containers_completed",
        "throughput",
        "p99_latency",
        "assignments",
        "suspensions",
        "failures",
        "failure_error_counts",
        "mean_memory_allocated_percent",
        "mean_memory_consumed_percent",
        "pipelines_all",
        "pipelines_query",
        "pipelines_interactive",
        "pipelines_batch",
    ]:
        value = getattr(result.stats, name)
        if isinstance(value, ClassStatistics):
            value = (
                value.arrival_count,
                value.completion_count,
                value.timeout_count,
                SameFloat(value.mean_latency_seconds),
                SameFloat(value.p99_latency_seconds),
                value.latencies_ticks,
            )
        found[name] = SameFloat(value) if isinstance(value, float) else value
    return found
