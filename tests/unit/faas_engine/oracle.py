"""A slow, obvious FaaS simulator: every tick, every container, plain loops. Written from the semantics alone; shares no
code with the engine. Policies work on its live objects.
"""

from __future__ import annotations

import math
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np

SCAN = 20


class Priority(Enum):
    QUERY = 1
    INTERACTIVE = 2
    BATCH_PIPELINE = 3


class OperatorState(Enum):
    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    SUSPENDING = "suspending"
    COMPLETED = "completed"
    FAILED = "failed"


S = OperatorState
ASSIGNABLE_STATES = [S.PENDING, S.FAILED]
NEXT = {
    S.PENDING: [S.ASSIGNED],
    S.ASSIGNED: [S.RUNNING, S.SUSPENDING, S.FAILED],
    S.RUNNING: [S.COMPLETED, S.FAILED],
    S.SUSPENDING: [S.PENDING],
    S.COMPLETED: [],
    S.FAILED: [S.ASSIGNED],
}


def modern_sum(values: list[Any]) -> Any:
    """sum() of Python 3.12+: exact ints first, then Neumaier."""
    s: Any = 0
    i = 0
    while i < len(values) and isinstance(s, int):
        s = s + values[i]
        i += 1
    c = 0.0
    while i < len(values):
        x = values[i]
        i += 1
        if isinstance(x, int):
            s = s + float(x)
            continue
        t = s + x
        if math.fabs(s) >= math.fabs(x):
            c += (s - t) + x
        else:
            c += (x - t) + s
        s = t
    if c != 0 and math.isfinite(c):
        return s + c
    return s


def law_seconds(law: str, n: Any, b: Any) -> Any:
    if law == "const":
        return b
    if law == "linear3":
        return b / n if n < 3 else b / 3
    if law == "linear7":
        return b / n if n < 7 else b / 7
    if law == "log":
        return b / (np.log(n) + 1)
    if law == "sqrt":
        return b / np.sqrt(n)
    if law == "squared":
        return b / np.power(n, 2)
    if law == "exp":
        return b / np.power(2, n) if n < 4 else b / 16
    raise ValueError(law)


class Clock:
    def __init__(self, tps: int) -> None:
        self.ticks_per_second = tps
        self.t = -1

    def now_ticks(self) -> int:
        return self.t

    def now_seconds(self) -> float:
        return self.t / self.ticks_per_second


class Estimate:
    def __init__(self, value: Any = None) -> None:
        self.mem_peak_gb = value


class Operator:
    def __init__(self, pipeline: Pipeline, number: int, needs: Any) -> None:
        self.id = number
        self.pipeline = pipeline
        self.needs = needs
        self.parents: list[Operator] = []
        self.children: list[Operator] = []
        self.estimate = Estimate()

    def state(self) -> OperatorState:
        return self.pipeline.status.operator_states[self]

    def transition(self, new: OperatorState) -> None:
        self.pipeline.status.transition(self, new)

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "state": self.state().value,
            "is_assignable_state": self.state() in ASSIGNABLE_STATES,
            "parents_complete": all(p.state() == S.COMPLETED for p in self.parents),
            "estimate": {"mem_peak_gb": self.estimate.mem_peak_gb},
        }


class Dag:
    def __init__(self) -> None:
        self.node_lookup: dict[int, Operator] = {}
        self.roots: list[Operator] = []

    def __len__(self) -> int:
        return len(self.node_lookup)

    def __iter__(self) -> Any:
        queue = list(self.roots)
        emitted = []
        while queue:
            front = queue.pop(0)
            emitted.append(front)
            yield front
            for child in front.children:
                if child not in emitted and all(p in emitted for p in child.parents):
                    queue.append(child)


class Pipeline:
    def __init__(self, spec: Any, number: int, first_operator: int) -> None:
        self.id = number + 1
        self.pipeline_id = spec.id
        self.priority = Priority[spec.priority]
        self.values = Dag()
        made: list[Operator] = []
        for position, needs in enumerate(spec.operators):
            op = Operator(self, first_operator + position + 1, needs)
            for parent in needs.parents:
                made[parent].children.append(op)
                op.parents.append(made[parent])
            if not needs.parents:
                self.values.roots.append(op)
            self.values.node_lookup[op.id] = op
            made.append(op)
        self.status = Status(self)

    def runtime_status(self) -> Status:
        return self.status

    def to_dict(self) -> dict[str, Any]:
        s = self.status
        return {
            "pipeline_id": self.pipeline_id,
            "priority": self.priority.name,
            "arrival_tick": s.arrival_tick,
            "is_complete": s.is_pipeline_successful(),
            "has_failures": s.state_counts[S.FAILED] > 0,
            "timed_out": s.has_timed_out(),
            "operators": [op.to_dict() for op in self.values],
        }


class Status:
    def __init__(self, pipeline: Pipeline) -> None:
        self.operator_states: dict[Operator, OperatorState] = {}
        self.state_counts = dict.fromkeys(S, 0)
        for op in pipeline.values:
            self.operator_states[op] = S.PENDING
            self.state_counts[S.PENDING] += 1
        self.arrival_tick: int | None = None
        self.finish_tick: int | None = None
        self.max_job_ticks = 0
        self.clock: Any = None

    def check_transition(self, op: Operator, new: OperatorState) -> tuple[bool, str | None]:
        if new not in NEXT[self.operator_states[op]]:
            return False, f"{self.operator_states[op]} -> {new}"
        if new == S.RUNNING and any(self.operator_states[p] != S.COMPLETED for p in op.parents):
            return False, "Dependencies not satisfied"
        return True, None

    def transition(self, op: Operator, new: OperatorState) -> None:
        ok, why = self.check_transition(op, new)
        assert ok, why
        self.state_counts[self.operator_states[op]] -= 1
        self.state_counts[new] += 1
        self.operator_states[op] = new

    def get_ops(self, states: Any, require_parents_complete: bool = False) -> list[Operator]:
        wanted = [states] if isinstance(states, OperatorState) else states
        return [
            op
            for op, state in self.operator_states.items()
            if state in wanted
            and (not require_parents_complete or all(self.operator_states[p] == S.COMPLETED for p in op.parents))
        ]

    def is_pipeline_successful(self) -> bool:
        return self.state_counts[S.COMPLETED] == len(self.operator_states)

    def has_timed_out(self) -> bool:
        if self.max_job_ticks <= 0 or self.arrival_tick is None:
            return False
        return self.clock.t - self.arrival_tick >= self.max_job_ticks and not self.is_pipeline_successful()

    def get_latency_ticks(self) -> int:
        assert self.arrival_tick is not None
        assert self.finish_tick is not None
        return self.finish_tick - self.arrival_tick


class Assignment:
    def __init__(self, ops: Any, cpu: Any, ram: Any, priority: Any, pool_id: Any, pipeline_id: Any, **_: Any) -> None:
        assert len(ops) > 0
        assert cpu > 0
        assert ram > 0
        for op in ops:
            op.transition(S.ASSIGNED)
        self.ops, self.cpu, self.ram = ops, cpu, ram
        self.priority, self.pool_id, self.pipeline_id = priority, pool_id, pipeline_id


class Suspend:
    def __init__(self, container_id: Any, pool_id: Any) -> None:
        self.container_id, self.pool_id = container_id, pool_id


class ExecutionResult:
    def __init__(self, c: Container) -> None:
        a = c.assignment
        self.ops, self.cpu, self.ram, self.priority = a.ops, a.cpu, a.ram, a.priority
        self.pool_id, self.container_id, self.error = c.pool_id, c.container_id, c.error

    def failed(self) -> bool:
        return self.error is not None

    def to_dict(self) -> dict[str, Any]:
        return {
            "ops": [str(op.id) for op in self.ops],
            "cpu": self.cpu,
            "ram": self.ram,
            "priority": self.priority.name,
            "pool_id": self.pool_id,
            "container_id": self.container_id,
            "error": self.error,
        }


class Container:
    def __init__(self, container_id: str, assignment: Assignment, pool: Pool) -> None:
        self.container_id = container_id
        self.assignment = assignment
        self.pool = pool
        self.pool_id: int = pool.pool_id
        self.error: str | None = None
        self.memory: Any = 0.0
        self.can_suspend = False
        self.done = False
        self.elapsed = 0
        self.completed = 0
        self.suspend_ticks: int | None = None
        self.left: int | None = None
        self.work = self.ticks()

    priority = property(lambda self: self.assignment.priority)
    operators = property(lambda self: self.assignment.ops)

    def set_memory(self, new: Any) -> None:
        self.pool.consumed += new - self.memory
        self.memory = new

    def ticks(self) -> Any:
        """The container's life as a generator: one next() a tick."""
        tl = self.pool.tl
        for position, op in enumerate(self.assignment.ops):
            op.transition(S.RUNNING)
            needs = op.needs
            io = int((needs.storage_read_gb / SCAN) / tl)
            cpu = int(law_seconds(needs.cpu_scaling, self.assignment.cpu, needs.baseline_cpu_seconds) / tl)
            length = io + cpu
            for i in range(length):
                if needs.memory_gb is not None:
                    self.set_memory(needs.memory_gb)
                elif i < io:
                    self.set_memory(((i + 1) * tl) * SCAN)
                else:
                    self.set_memory(needs.storage_read_gb)
                if self.memory > self.assignment.ram:
                    while True:
                        yield  # frozen
                self.can_suspend = False
                if i == length - 1:
                    op.transition(S.COMPLETED)
                    self.completed += 1
                    if position == len(self.assignment.ops) - 1:
                        self.done = True
                        self.set_memory(0.0)
                    else:
                        self.can_suspend = True
                yield

    def advance(self) -> None:
        self.elapsed += 1
        next(self.work)

    def kill(self, error: str) -> None:
        for op in self.assignment.ops[self.completed :]:
            op.transition(S.FAILED)
        self.error = error
        self.done = True
        self.set_memory(0.0)

    def ticks_elapsed(self) -> int:
        return self.elapsed

    def is_completed(self) -> bool:
        return self.done

    def is_suspended(self) -> bool:
        return self.left == 0

    def can_suspend_container(self) -> bool:
        return self.can_suspend

    def get_current_memory_usage(self) -> Any:
        return self.memory

    def get_pipeline_id(self) -> str:
        ids = {op.pipeline.pipeline_id for op in self.assignment.ops}
        return ids.pop() if len(ids) == 1 else "multiple_pipelines"

    def to_dict(self) -> dict[str, Any]:
        return {
            "container_id": self.container_id,
            "pipeline_id": self.get_pipeline_id(),
            "operator_ids": [str(op.id) for op in self.assignment.ops],
            "cpu": self.assignment.cpu,
            "ram_gb": self.assignment.ram,
            "current_memory_gb": self.memory,
            "priority": self.priority.name,
        }


class Pool:
    def __init__(self, pool_id: int, sim: Oracle) -> None:
        p = sim.params
        self.sim = sim
        self.tl = 1.0 / p.ticks_per_second
        self.pool_id = pool_id
        self.i = 0
        self.max_cpu_pool = self.avail_cpu_pool = p.cpus_per_pool
        self.max_ram_pool = self.avail_ram_pool = p.ram_gb_per_pool
        self.consumed: Any = 0.0
        self.active_containers: list[Container] = []
        self.suspending_containers: list[Container] = []
        self.suspended_containers: list[Container] = []
        self.num_completed = 0
        self.container_tick_times: list[int] = []

    consumed_ram_gb = property(lambda self: self.consumed)

    def get_consumed_ram_gb(self) -> Any:
        return self.consumed

    def get_allocated_ram_gb(self) -> Any:
        return self.max_ram_pool - self.avail_ram_pool

    def get_container_by_id(self, cid: Any) -> Container | None:
        return next((c for c in self.active_containers if c.container_id == cid), None)

    def to_dict(self) -> dict[str, Any]:
        return {
            "pool_id": self.pool_id,
            "max_cpu": self.max_cpu_pool,
            "max_ram_gb": self.max_ram_pool,
            "avail_cpu": self.avail_cpu_pool,
            "avail_ram_gb": self.avail_ram_pool,
            "consumed_ram_gb": self.consumed,
            "active_containers": [c.to_dict() for c in self.active_containers],
            "suspending_containers": [c.to_dict() for c in self.suspending_containers],
            "suspended_containers": [c.to_dict() for c in self.suspended_containers],
        }

    def tick(self, suspensions: list[Suspend], assignments: list[Assignment]) -> list[ExecutionResult]:
        params = self.sim.params
        self.i += 1
        # a
        for s in suspensions:
            assert self.get_container_by_id(s.container_id).can_suspend_container()  # type: ignore[union-attr]
        for s in suspensions:
            c = self.get_container_by_id(s.container_id)
            assert c is not None
            c.suspend_ticks = c.left = int((c.assignment.ram / SCAN) / self.tl)
            for op in c.assignment.ops[c.completed :]:
                op.transition(S.SUSPENDING)
            self.active_containers.remove(c)
            self.suspending_containers.append(c)
        # b
        cpu: Any = 0
        ram: Any = 0
        for a in assignments:
            cpu += a.cpu
            ram += a.ram
        assert cpu <= self.avail_cpu_pool
        assert params.allow_memory_overcommit or ram <= self.avail_ram_pool
        for a in assignments:
            assert params.multi_operator_containers or len(a.ops) == 1
            self.avail_cpu_pool -= a.cpu
            self.avail_ram_pool -= a.ram
            self.sim.last_container += 1
            self.active_containers.append(Container(f"c{self.sim.last_container}", a, self))
        # c
        ended = []
        for c in self.suspending_containers:
            assert c.left is not None
            c.left -= 1
            if c.left == 0:
                for op in c.assignment.ops[c.completed :]:
                    op.transition(S.PENDING)
                ended.append(c)
        for c in ended:
            self.avail_cpu_pool += c.assignment.cpu
            self.avail_ram_pool += c.assignment.ram
            self.suspending_containers.remove(c)
            self.suspended_containers.append(c)
        # d
        for c in self.active_containers:
            c.advance()
        # e
        for c in self.active_containers:
            if c.memory > c.assignment.ram:
                c.kill("OOM")
        if self.consumed > self.max_ram_pool:
            scored = [
                (c.memory * (c.memory / c.assignment.ram), c)
                for c in self.active_containers
                if not c.done and c.memory > 0
            ]
            for _, c in sorted(scored, key=lambda item: -item[0]):
                if self.consumed <= self.max_ram_pool:
                    break
                c.kill("OOM")
        # f
        for c in self.active_containers:
            if not c.done and any(op.pipeline.status.has_timed_out() for op in c.assignment.ops):
                c.kill("timeout")
        # g
        exited = [c for c in self.active_containers if c.done]
        results = []
        for c in exited:
            self.avail_cpu_pool += c.assignment.cpu
            self.avail_ram_pool += c.assignment.ram
            if c.error is None:
                self.num_completed += 1
            results.append(ExecutionResult(c))
            self.container_tick_times.append(c.elapsed)
        if exited:
            self.active_containers = [c for c in self.active_containers if not c.done]
            self.consumed = modern_sum([c.memory for c in self.active_containers])
        return results


class Executor:
    def __init__(self, sim: Oracle) -> None:
        p = sim.params
        self.num_pools, self.cpus_per_pool, self.ram_gb_per_pool = p.num_pools, p.cpus_per_pool, p.ram_gb_per_pool
        self.ticks_per_second = p.ticks_per_second
        self.pools = [Pool(i, sim) for i in range(p.num_pools)]

    def get_total_ram_gb(self) -> Any:
        return self.num_pools * self.ram_gb_per_pool

    def get_allocated_ram_gb(self) -> Any:
        return modern_sum([p.get_allocated_ram_gb() for p in self.pools])

    def get_consumed_ram_gb(self) -> Any:
        return modern_sum([p.consumed for p in self.pools])

    def num_completed(self) -> int:
        return sum(p.num_completed for p in self.pools)

    def container_tick_times(self) -> list[int]:
        return [t for p in self.pools for t in p.container_tick_times]

    def get_pool_id_with_max_avail_ram(self) -> int:
        best: Any = -1
        who = -1
        for i, p in enumerate(self.pools):
            if best < p.avail_ram_pool:
                best, who = p.avail_ram_pool, i
        return who


class Oracle:
    """One run. `params` has Eudoxia's names, `pipelines` are specs in order of arrival."""

    def __init__(self, params: Any, pipelines: Any, source: str) -> None:
        self.params = params
        self.todo = list(pipelines)
        self.last_container = 0
        self.clock = Clock(params.ticks_per_second)
        self.executor = Executor(self)
        self.scheduler = ModuleType("scheduler")
        s: Any = self.scheduler
        s.clock, s.executor, s.params = self.clock, self.executor, params.visible_to_policy()
        registered: dict[str, Any] = {}
        scope: dict[str, Any] = {
            "Assignment": Assignment,
            "Suspend": Suspend,
            "Priority": Priority,
            "OperatorState": OperatorState,
            "ASSIGNABLE_STATES": ASSIGNABLE_STATES,
            "sum": lambda values: modern_sum(list(values)),
            "register_scheduler_init": lambda key: lambda f: registered.setdefault("init", f),
            "register_scheduler": lambda key: lambda f: registered.setdefault("step", f),
        }
        exec(compile(source, "policy.py", "exec"), scope)
        self.step = registered["step"]
        registered["init"](s)
        self.rng = np.random.default_rng(params.random_seed)
        self.counts = dict.fromkeys(("created", "assignments", "suspensions"), 0)
        self.errors: dict[str, int] = {}
        self.arrivals = dict.fromkeys(Priority, 0)
        self.timeouts = dict.fromkeys(Priority, 0)
        self.latencies: dict[Priority, list[int]] = {p: [] for p in Priority}
        self.samples: tuple[list[Any], list[Any]] = ([], [])
        self.outstanding: dict[str, Pipeline] = {}
        self.operators = 0
        self.decisions: list[tuple[Any, ...]] = []

    def estimate(self, pipeline: Pipeline) -> None:
        if not self.params.estimator_algo:
            return
        for op in pipeline.values:
            value = op.needs.storage_read_gb if op.needs.memory_gb is None else op.needs.memory_gb
            if self.params.noisy_estimator_sigma > 0:
                value *= self.rng.lognormal(mean=0.0, sigma=self.params.noisy_estimator_sigma)
            op.estimate = Estimate(value)

    def deliver(self, tick: int) -> list[Pipeline]:
        tl = 1.0 / self.params.ticks_per_second
        out: list[Pipeline] = []
        while self.todo and self.todo[0].arrival_seconds / tl <= tick:
            p = Pipeline(self.todo.pop(0), self.counts["created"] + len(out), self.operators)
            self.operators += len(p.values.node_lookup)
            p.status.arrival_tick, p.status.clock = tick, self.clock
            p.status.max_job_ticks = int(self.params.max_job_seconds * self.params.ticks_per_second)
            self.outstanding[p.pipeline_id] = p
            self.arrivals[p.priority] += 1
            self.estimate(p)
            out.append(p)
        return out

    def run(self) -> dict[str, Any]:
        params = self.params
        tps = params.ticks_per_second
        max_ticks = int(params.duration * tps)
        max_job_ticks = int(params.max_job_seconds * tps)
        results: list[ExecutionResult] = []
        for tick in range(max_ticks):
            self.clock.t = tick
            new = self.deliver(tick)
            suspensions, assignments = self.step(self.scheduler, results, list(new))
            self.log(tick, suspensions, assignments)
            results = []
            for i, pool in enumerate(self.executor.pools):
                results += pool.tick(
                    [s for s in suspensions if s.pool_id == i], [a for a in assignments if a.pool_id == i]
                )
            self.counts["created"] += len(new)
            self.counts["assignments"] += len(assignments)
            self.counts["suspensions"] += len(suspensions)
            for r in results:
                if r.error is not None:
                    self.errors[r.error] = self.errors.get(r.error, 0) + 1
            if results:
                for pid, p in list(self.outstanding.items()):
                    if p.status.is_pipeline_successful():
                        p.status.finish_tick = tick
                        self.latencies[p.priority].append(p.status.get_latency_ticks())
                        del self.outstanding[pid]
            if max_job_ticks > 0 and (tick % tps == 0 or tick == max_ticks - 1):
                for pid, p in list(self.outstanding.items()):
                    if p.status.has_timed_out():
                        self.timeouts[p.priority] += 1
                        del self.outstanding[pid]
            if tick % tps == 0:
                total = self.executor.get_total_ram_gb()
                self.samples[0].append(100.0 * self.executor.get_allocated_ram_gb() / total)
                self.samples[1].append(100.0 * self.executor.get_consumed_ram_gb() / total)
        return self.statistics()

    def log(self, tick: int, suspensions: Any, assignments: Any) -> None:
        if suspensions or assignments:
            self.decisions.append(
                (
                    tick,
                    [(s.container_id, s.pool_id) for s in suspensions],
                    [([op.id for op in a.ops], a.cpu, a.ram, a.priority.value, a.pool_id) for a in assignments],
                )
            )

    def statistics(self) -> dict[str, Any]:
        ex, tps = self.executor, self.params.ticks_per_second
        ticks = ex.container_tick_times()

        def of(priorities: list[Priority]) -> tuple[Any, ...]:
            latencies = [t for p in priorities for t in self.latencies[p]]
            return (
                sum(self.arrivals[p] for p in priorities),
                len(latencies),
                sum(self.timeouts[p] for p in priorities),
                float(np.mean(latencies) / tps) if latencies else math.nan,
                float(np.percentile(latencies, 99) / tps) if latencies else math.nan,
                tuple(latencies),
            )

        return {
            "pipelines_created": self.counts["created"],
            "containers_completed": ex.num_completed(),
            "throughput": ex.num_completed() / self.params.duration,
            "p99_latency": float(np.percentile(ticks, 99) / tps) if ticks else math.nan,
            "assignments": self.counts["assignments"],
            "suspensions": self.counts["suspensions"],
            "failures": sum(self.errors.values()),
            "failure_error_counts": self.errors,
            "mean_memory_allocated_percent": float(np.mean(self.samples[0])),
            "mean_memory_consumed_percent": float(np.mean(self.samples[1])),
            "pipelines_all": of(list(Priority)),
            "pipelines_query": of([Priority.QUERY]),
            "pipelines_interactive": of([Priority.INTERACTIVE]),
            "pipelines_batch": of([Priority.BATCH_PIPELINE]),
        }
