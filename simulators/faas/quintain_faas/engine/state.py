"""The truth about operators and pipelines."""

from __future__ import annotations

from typing import TypeAlias

from quintain_faas.engine.outbox import Outbox
from quintain_faas.engine.rules import rejected
from quintain_faas.protocol import ASSIGNED, COMPLETED, NEXT_STATES, RUNNING, STATE_FACTOR, STATE_NAMES
from quintain_faas.workload import PipelineSpec

OperatorRef: TypeAlias = "tuple[PipelineRun, int]"

_ALLOWED = tuple(sum(1 << state for state in following) for following in NEXT_STATES)


class PipelineRun:
    """One pipeline in one run. `states` holds the state of each operator by position."""

    __slots__ = (
        "arrival_tick",
        "completed",
        "deadline",
        "finish_tick",
        "first_operator",
        "number",
        "rank",
        "spec",
        "states",
    )

    def __init__(self, spec: PipelineSpec, number: int, first_operator: int, tick: int, max_job_ticks: int) -> None:
        self.spec = spec
        self.number = number
        self.first_operator = first_operator
        self.arrival_tick = tick
        self.deadline = tick + max_job_ticks if max_job_ticks > 0 else None
        self.states = bytearray(len(spec.operators))
        self.completed = 0
        self.finish_tick: int | None = None
        self.rank = number  # place among the outstanding pipelines: a repeated id takes its forerunner's

    @property
    def is_complete(self) -> bool:
        return self.completed == len(self.states)

    def timed_out(self, tick: int) -> bool:
        return self.deadline is not None and tick >= self.deadline and not self.is_complete


class OperatorStates:
    """The state machine. Tells the outbox about every step and collects the pipelines that became complete."""

    def __init__(self, outbox: Outbox) -> None:
        self._told = outbox.states
        self.newly_complete: list[PipelineRun] = []

    def move(self, operator: OperatorRef, new: int) -> None:
        """Raises PolicyError (illegal_transition, operator_not_assignable, dependencies_not_satisfied)."""
        pipeline, position = operator
        states = pipeline.states
        if not _ALLOWED[states[position]] >> new & 1:
            raise self._illegal(pipeline, position, new)
        if new == RUNNING:
            for parent in pipeline.spec.operators[position].parents:
                if states[parent] != COMPLETED:
                    raise rejected(
                        "dependencies_not_satisfied",
                        f"operator {_name(pipeline, position)} starts while its parent "
                        f"{_name(pipeline, parent)} is {STATE_NAMES[states[parent]]}",
                    )
        states[position] = new
        if new == COMPLETED:
            pipeline.completed += 1
            if pipeline.is_complete:
                self.newly_complete.append(pipeline)
        if new != ASSIGNED:
            self._told.append((pipeline.first_operator + position) * STATE_FACTOR + new)

    def _illegal(self, pipeline: PipelineRun, position: int, new: int) -> Exception:
        rule = "operator_not_assignable" if new == ASSIGNED else "illegal_transition"
        old = STATE_NAMES[pipeline.states[position]]
        return rejected(rule, f"operator {_name(pipeline, position)} is {old} and cannot become {STATE_NAMES[new]}")


def _name(pipeline: PipelineRun, position: int) -> str:
    return f"{pipeline.spec.operators[position].id} of pipeline {pipeline.spec.id}"
