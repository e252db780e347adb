"""What a policy works with, by Eudoxia's names: operators, pipelines, their states, assignments, results.

All of it is the policy's own copy. Editing it changes what the policy sees, nothing else. Hashes are by number, so that
a loop over a set of operators runs in the same order everywhere. Slots keep a million operators small; a policy may
hang attributes of its own on any object, as it may in Eudoxia.
"""

from __future__ import annotations

from collections.abc import Container as Collection
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

from quintain_faas.protocol import NEXT_STATES, SCAN_GB_PER_SECOND

DISK_SCAN_GB_SEC = SCAN_GB_PER_SECOND


class EudoxiaException(Exception):
    pass


class Priority(Enum):
    QUERY = 1
    INTERACTIVE = 2
    BATCH_PIPELINE = 3

    def __hash__(self) -> int:
        return int(self._value_)


class DagShape(Enum):
    LINEAR = "linear"
    BRANCH_IN = "branch_in"
    BRANCH_OUT = "branch_out"


class OperatorState(Enum):
    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    SUSPENDING = "suspending"
    COMPLETED = "completed"
    FAILED = "failed"

    def __hash__(self) -> int:
        return self._code  # type: ignore[attr-defined,no-any-return]


STATES = tuple(OperatorState)
for _code, _state in enumerate(STATES):
    _state._code = _code  # type: ignore[attr-defined]
PRIORITIES = {priority.value: priority for priority in Priority}

PENDING, ASSIGNED, RUNNING, SUSPENDING, COMPLETED, FAILED = STATES
ASSIGNABLE_STATES = frozenset((PENDING, FAILED))
VALID_TRANSITIONS = {STATES[code]: [STATES[n] for n in following] for code, following in enumerate(NEXT_STATES)}


class Segment:
    """An operator's needs. A policy never gets one: they are not observable."""

    def __init__(
        self,
        baseline_cpu_seconds: float | None = None,
        cpu_scaling: str = "const",
        memory_gb: float | None = None,
        storage_read_gb: float = 0,
    ) -> None:
        self.baseline_cpu_seconds = baseline_cpu_seconds
        self.cpu_scaling = cpu_scaling
        self.memory_gb = memory_gb
        self.storage_read_gb = storage_read_gb


class Estimate:
    __slots__ = ("__dict__", "__weakref__", "mem_peak_gb")

    def __init__(self, mem_peak_gb: float | None = None) -> None:
        self.mem_peak_gb = mem_peak_gb

    def __repr__(self) -> str:
        return f"Estimate(mem_peak_gb={self.mem_peak_gb!r})"

    def to_dict(self) -> dict[str, Any]:
        return {"mem_peak_gb": self.mem_peak_gb}


class Operator:
    __slots__ = (
        "__dict__", "__weakref__", "_estimate", "children", "current_state", "id", "number", "parents", "pipeline",
    )  # fmt: skip

    def __init__(self, pipeline: Pipeline, number: int = -1) -> None:
        self.id = number + 1 if number >= 0 else -id(self)
        self.number = number
        self.pipeline = pipeline
        self.children: list[Operator] = []
        self.parents: list[Operator] = []
        self._estimate: Estimate | None = None
        self.current_state = PENDING

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<Operator {self.id} of {self.pipeline.pipeline_id}>"

    @property
    def estimate(self) -> Estimate:
        if self._estimate is None:
            self._estimate = Estimate()
        return self._estimate

    @estimate.setter
    def estimate(self, estimate: Estimate) -> None:
        self._estimate = estimate

    @property
    def values(self) -> list[Segment]:
        return []

    def get_segments(self) -> list[Segment]:
        """Empty: true needs are not observable."""
        return []

    def state(self) -> OperatorState:
        return self.current_state

    def transition(self, new_state: OperatorState) -> None:
        self.pipeline.runtime_status().transition(self, new_state)

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "state": self.current_state.value,
            "is_assignable_state": self.current_state in ASSIGNABLE_STATES,
            "parents_complete": all(parent.current_state is COMPLETED for parent in self.parents),
            "estimate": self.estimate.to_dict(),
        }


class DAG:
    """A pipeline's operators. Iteration is in topological order, `node_lookup` in order of insertion."""

    __slots__ = ("__dict__", "__weakref__", "_order", "node_lookup", "roots")

    def __init__(self) -> None:
        self.node_lookup: dict[int, Operator] = {}
        self.roots: list[Operator] = []
        self._order: list[Operator] | None = None

    @property
    def node_ids(self) -> list[int]:
        return list(self.node_lookup)

    def __len__(self) -> int:
        return len(self.node_lookup)

    def __iter__(self) -> Iterator[Operator]:
        return iter(self.order())

    def find_node_by_id(self, node_id: int) -> Operator | None:
        return self.node_lookup.get(node_id)

    def add_node(self, node: Operator, parents: list[Operator] | None = None) -> None:
        assert node.id not in self.node_lookup, "Node already in DAG"
        if parents:
            for parent in parents:
                assert parent.id in self.node_lookup, "Parent not in DAG"
                parent.children.append(node)
                node.parents.append(parent)
        else:
            self.roots.append(node)
        self.node_lookup[node.id] = node
        self._order = None

    def order(self) -> list[Operator]:
        if self._order is None:
            queue = list(self.roots)
            missing = {node_id: len({p.id for p in node.parents}) for node_id, node in self.node_lookup.items()}
            taken: set[int] = set()  # by id: hashing an int is much faster
            for current in queue:  # grows while it is walked
                children = current.children
                if current.id not in taken:
                    taken.add(current.id)
                    for child_id in {child.id for child in children}:
                        missing[child_id] -= 1
                for child in children:
                    if not missing[child.id] and child.id not in taken:
                        queue.append(child)
            self._order = queue
        return self._order


class Pipeline:
    __slots__ = (
        "__dict__", "__weakref__", "_arrival", "_estimates", "_first_operator", "_made", "_parents", "_status",
        "_values", "id", "pipeline_id", "priority",
    )  # fmt: skip

    def __init__(self, pipeline_id: str, priority: Priority) -> None:
        self.id = -id(self)
        self.pipeline_id = pipeline_id
        self.priority = priority
        self._values: DAG | None = None
        self._status: PipelineRuntimeStatus | None = None
        self._made: list[Operator] = []  # by position, whatever the policy does to the DAG
        self._parents: Sequence[Sequence[int]] = ()
        self._estimates: list[float] | None = None
        self._first_operator = 0
        self._arrival: tuple[Any, int, int] | None = None

    @classmethod
    def arrived(
        cls,
        number: int,
        message: Any,
        first_operator: int,
        arrival: tuple[Any, int, int],
    ) -> Pipeline:
        """From the engine's message; `arrival` is (clock, tick, max_job_ticks). Operators are made on first use."""
        pipeline_id, priority, parents, estimates = message
        pipeline = cls(pipeline_id, PRIORITIES[priority])
        pipeline.id = number + 1
        pipeline._parents = parents
        pipeline._estimates = estimates
        pipeline._first_operator = first_operator
        pipeline._arrival = arrival
        return pipeline

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<Pipeline {self.pipeline_id} {self.priority.name}>"

    @property
    def values(self) -> DAG:
        if self._values is None:
            self._values = self._make_operators()
        return self._values

    def _make_operators(self) -> DAG:
        dag = DAG()
        made, lookup = self._made, dag.node_lookup
        chain = True  # each operator under the one before it, as most pipelines are
        for position, above in enumerate(self._parents):
            operator = Operator(self, self._first_operator + position)
            if self._estimates is not None:
                operator._estimate = Estimate(self._estimates[position])
            operator.parents = [made[parent] for parent in above]
            for parent in operator.parents:
                parent.children.append(operator)
            if not above:
                dag.roots.append(operator)
            chain = chain and (len(above) == 1 and above[0] == position - 1 if position else not above)
            made.append(operator)
            lookup[operator.id] = operator
        if chain:
            dag._order = made
        self._parents = ()
        return dag

    def operator_at(self, position: int) -> Operator:
        if self._values is None:
            self._values = self._make_operators()
        return self._made[position]

    def new_operator(self, parents: list[Operator] | None = None) -> Operator:
        operator = Operator(self)
        self.values.add_node(operator, parents)
        return operator

    def runtime_status(self) -> PipelineRuntimeStatus:
        if self._status is None:
            self._status = PipelineRuntimeStatus(self)
            if self._arrival is not None:
                self._status.clock, self._status.arrival_tick, self._status.max_job_ticks = self._arrival
        return self._status

    def to_dict(self) -> dict[str, Any]:
        status = self.runtime_status()
        return {
            "pipeline_id": self.pipeline_id,
            "priority": self.priority.name,
            "arrival_tick": status.arrival_tick,
            "is_complete": status.is_pipeline_successful(),
            "has_failures": status.state_counts[FAILED] > 0,
            "timed_out": status.has_timed_out(),
            "operators": [operator.to_dict() for operator in self.values],
        }


class PipelineRuntimeStatus:
    """States live on the operators. The two dicts of Eudoxia are made when a policy asks, and kept up to date from then
    on."""

    __slots__ = (
        "__dict__", "__weakref__", "_completed", "_counts", "_operators", "_states", "_visits", "arrival_tick", "clock",
        "finish_tick", "max_job_ticks", "pipeline",
    )  # fmt: skip

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        visits = pipeline.values.order()
        self._visits = len(visits)
        self._operators = list(dict.fromkeys(visits)) if len(visits) != len(pipeline.values) else visits
        self._completed = 0
        self._states: dict[Operator, OperatorState] | None = None
        self._counts: dict[OperatorState, int] | None = None
        self.arrival_tick: int | None = None
        self.finish_tick: int | None = None
        self.max_job_ticks = 0
        self.clock: Any = None

    @property
    def operator_states(self) -> dict[Operator, OperatorState]:
        if self._states is None:
            self._states = {operator: operator.current_state for operator in self._operators}
        return self._states

    @property
    def state_counts(self) -> dict[OperatorState, int]:
        if self._counts is None:
            counts = dict.fromkeys(STATES, 0)
            for operator in self._operators:
                counts[operator.current_state] += 1
            counts[PENDING] += self._visits - len(self._operators)  # doubled edges count twice at the start
            self._counts = counts
        return self._counts

    def record_arrival(self, clock: Any, max_job_ticks: int = 0) -> None:
        assert self.arrival_tick is None, "arrival_tick already recorded"
        self.clock, self.arrival_tick, self.max_job_ticks = clock, clock._tick, max_job_ticks

    def record_finish(self) -> None:
        assert self.finish_tick is None, "finish_tick already recorded"
        self.finish_tick = self.clock._tick

    def get_ops(
        self, states: OperatorState | Collection[OperatorState], require_parents_complete: bool = False
    ) -> list[Operator]:
        wanted: Collection[OperatorState]
        if isinstance(states, OperatorState):
            wanted = (states,)
        else:
            wanted = tuple(states) if isinstance(states, set | frozenset) else states  # a tuple compares by identity
        if not require_parents_complete:
            return [operator for operator in self._operators if operator.current_state in wanted]
        found = []
        for operator in self._operators:
            if operator.current_state in wanted:
                for parent in operator.parents:
                    if parent.current_state is not COMPLETED:
                        break
                else:
                    found.append(operator)
        return found

    def is_pipeline_successful(self) -> bool:
        return self._completed == len(self._operators)

    def has_timed_out(self) -> bool:
        if self.max_job_ticks <= 0:
            return False
        assert self.arrival_tick is not None, "arrival_tick not recorded"
        return self.clock._tick - self.arrival_tick >= self.max_job_ticks and not self.is_pipeline_successful()

    def get_latency_ticks(self) -> int:
        assert self.arrival_tick is not None, "arrival_tick not recorded"
        assert self.finish_tick is not None, "finish_tick not recorded"
        return self.finish_tick - self.arrival_tick

    def check_transition(self, operator: Operator, new_state: OperatorState) -> tuple[bool, str | None]:
        old = operator.current_state
        if new_state not in VALID_TRANSITIONS[old]:
            name = f"operator {operator.id} of {operator.pipeline.pipeline_id}"
            return False, f"{name}: cannot go from {old.value} to {new_state.value}"
        if new_state is RUNNING and any(parent.current_state is not COMPLETED for parent in operator.parents):
            return False, "Dependencies not satisfied"
        return True, None

    def transition(self, operator: Operator, new_state: OperatorState) -> None:
        allowed, reason = self.check_transition(operator, new_state)
        assert allowed, reason
        self.set_state(operator, new_state)

    def set_state(self, operator: Operator, new_state: OperatorState) -> None:
        old = operator.current_state
        operator.current_state = new_state
        if new_state is COMPLETED:
            self._completed += 1
        elif old is COMPLETED:
            self._completed -= 1
        if self._states is not None:
            self._states[operator] = new_state
        if self._counts is not None:
            self._counts[old] -= 1
            self._counts[new_state] += 1


class Assignment:
    """Creating one moves its operators to ASSIGNED at once, whether it is returned or not."""

    def __init__(
        self,
        ops: list[Operator],
        cpu: float,
        ram: float,
        priority: Priority,
        pool_id: int,
        pipeline_id: str,
        container_id: str | None = None,
        is_resume: bool = False,
        force_run: bool = False,
    ) -> None:
        assert len(ops) > 0, "an Assignment needs at least one operator"
        assert cpu > 0, f"an Assignment's cpu must be positive, got {cpu}"
        assert ram > 0, f"an Assignment's ram must be positive, got {ram}"
        for operator in ops:
            operator.transition(ASSIGNED)
        self.ops = ops
        self.cpu = cpu
        self.ram = ram
        self.priority = priority
        self.pool_id = pool_id
        self.pipeline_id = pipeline_id
        self.container_id = container_id
        self.is_resume = is_resume
        self.force_run = force_run

    def __repr__(self) -> str:
        return f"<Assignment of {len(self.ops)} operators, {self.cpu} cpus, {self.ram} GB, pool {self.pool_id}>"


class Suspend:
    def __init__(self, container_id: str, pool_id: int) -> None:
        self.container_id = container_id
        self.pool_id = pool_id


class ExecutionResult:
    def __init__(
        self,
        ops: list[Operator],
        cpu: float,
        ram: float,
        priority: Priority,
        pool_id: int,
        container_id: str | None = None,
        error: str | None = None,
    ) -> None:
        self.ops = ops
        self.cpu = cpu
        self.ram = ram
        self.priority = priority
        self.pool_id = pool_id
        self.container_id = container_id
        self.error = error

    def failed(self) -> bool:
        return self.error is not None

    def to_dict(self) -> dict[str, Any]:
        return {
            "ops": [str(operator.id) for operator in self.ops],
            "cpu": self.cpu,
            "ram": self.ram,
            "priority": self.priority.name,
            "pool_id": self.pool_id,
            "container_id": self.container_id,
            "error": self.error,
        }


class RetryStats:
    def __init__(
        self, old_ram: float, old_cpu: float, error: str | None, container_id: str | None, pool_id: int | None
    ) -> None:
        self.old_ram = old_ram
        self.old_cpu = old_cpu
        self.error = error
        self.container_id = container_id
        self.pool_id = pool_id


class WaitingQueueJob:
    def __init__(
        self,
        priority: Priority,
        p: Pipeline | None = None,
        ops: list[Operator] | None = None,
        retry_stats: RetryStats | None = None,
    ) -> None:
        self.priority = priority
        self.pipeline = p
        self.ops = ops
        self.retry_stats = retry_stats
