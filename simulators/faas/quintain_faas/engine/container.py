"""A container: an operator after the other, each with its own timing and memory."""

from __future__ import annotations

import math
from typing import NamedTuple

from quintain_faas.engine.curve import ReadingCurve
from quintain_faas.engine.rules import rejected
from quintain_faas.engine.state import OperatorRef
from quintain_faas.protocol import SCAN_GB_PER_SECOND
from quintain_faas.workload import OperatorSpec
from quintain_faas.workload.scaling import cpu_seconds

# What a container does next.
STARTS = 0  # its next operator starts
COMPLETES = 1  # the last tick of its operator
OUTGROWS = 2  # its memory exceeds its ram


class Timing(NamedTuple):
    """How an operator runs with a given cpu and ram. Offsets are ticks from its start."""

    ticks: int
    read_ticks: int
    outgrows_at: int  # -1: never
    most_memory: float  # an upper bound while it lives


class Timings:
    """Timings by (cpu, ram, needs), computed once."""

    def __init__(self, tick_length_seconds: float, curve: ReadingCurve) -> None:
        self._tick_length = tick_length_seconds
        self._curve = curve
        self._known: dict[tuple[object, ...], Timing] = {}

    def of(self, needs: OperatorSpec, cpu: int | float, ram: int | float) -> Timing:
        """Raises PolicyError (duration_not_finite)."""
        key = (cpu, ram, needs.baseline_cpu_seconds, needs.cpu_scaling, needs.memory_gb, needs.storage_read_gb)
        timing = self._known.get(key)
        if timing is None:
            timing = self._known[key] = self._timing(needs, cpu, ram)
        return timing

    def _timing(self, needs: OperatorSpec, cpu: int | float, ram: int | float) -> Timing:
        read_ticks = int(needs.storage_read_gb / SCAN_GB_PER_SECOND / self._tick_length)
        cpu_ticks = cpu_seconds(needs.cpu_scaling, cpu, needs.baseline_cpu_seconds) / self._tick_length
        if not math.isfinite(cpu_ticks):
            raise rejected(
                "duration_not_finite", f"an operator with scaling law {needs.cpu_scaling} runs on {cpu} cpus"
            )
        ticks = read_ticks + int(cpu_ticks)
        if ticks <= 0:
            return Timing(0, 0, -1, 0.0)
        read_ticks = max(0, min(read_ticks, ticks))
        if needs.memory_gb is not None:
            return Timing(ticks, read_ticks, 0 if needs.memory_gb > ram else -1, max(needs.memory_gb, 0.0))
        most = self._curve.at(read_ticks - 1) if read_ticks else 0.0
        if most > ram:
            return Timing(ticks, read_ticks, self._first_above(ram), ram)
        if read_ticks < ticks:
            if needs.storage_read_gb > ram:
                return Timing(ticks, read_ticks, read_ticks, ram)
            most = max(most, needs.storage_read_gb)
        return Timing(ticks, read_ticks, -1, most)

    def _first_above(self, ram: int | float) -> int:
        offset = max(0, int(ram / SCAN_GB_PER_SECOND / self._tick_length) - 3)
        while offset > 0 and self._curve.at(offset) > ram:
            offset -= 1
        while not self._curve.at(offset) > ram:
            offset += 1
        return offset


class Container:
    """`operators` run in order. `current` is the position of the one that runs or starts next; `completed` counts those
    that completed. `event_tick` and `event` say what it does next. Memory fields describe the running operator."""

    __slots__ = (
        "boundary_tick",
        "changes_until",
        "completed",
        "cpu",
        "current",
        "curve",
        "error",
        "event",
        "event_tick",
        "fixed_memory",
        "frozen_memory",
        "is_active",
        "is_done",
        "memory_before",
        "most_memory",
        "number",
        "operator_start",
        "operators",
        "peak_memory",
        "pool",
        "priority",
        "ram",
        "read_ticks",
        "start_tick",
        "ticks",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        pool: int,
        operators: list[OperatorRef],
        cpu: int | float,
        ram: int | float,
        priority: int,
        tick: int,
        curve: ReadingCurve,
    ) -> None:
        self.number = number
        self.pool = pool
        self.operators = operators
        self.cpu = cpu
        self.ram = ram
        self.priority = priority
        self.start_tick = tick
        self.curve = curve
        self.current = 0
        self.completed = 0
        self.event = STARTS
        self.event_tick = tick
        self.boundary_tick = -2
        self.is_active = True  # in its pool's list of active containers
        self.is_done = False  # completed or killed
        self.error: str | None = None
        self.operator_start = tick
        self.ticks = 0
        self.read_ticks = 0
        self.fixed_memory: int | float | None = None
        self.peak_memory: int | float = 0.0
        self.memory_before: int | float = 0.0  # on the tick before operator_start
        self.changes_until = tick  # no change of memory after this tick
        self.most_memory: int | float = 0.0
        self.frozen_memory: int | float = 0.0  # of a suspended container

    def memory_at(self, tick: int) -> int | float:
        """Memory after the work of `tick`, from the tick before the current operator's start on."""
        offset = tick - self.operator_start
        if offset < 0:
            return self.memory_before
        if self.fixed_memory is not None:
            return self.fixed_memory
        if offset < self.read_ticks:
            return self.curve.at(offset)
        return self.peak_memory

    def begin(self, tick: int, needs: OperatorSpec, timing: Timing) -> None:
        """The current operator starts on `tick`."""
        if self.current:
            self.memory_before = self.memory_at(tick - 1)
        self.operator_start = tick
        self.ticks = timing.ticks
        self.read_ticks = timing.read_ticks
        self.fixed_memory = needs.memory_gb
        self.peak_memory = needs.peak_memory_gb
        self.most_memory = timing.most_memory
        if needs.memory_gb is not None:
            self.changes_until = tick
        else:
            self.changes_until = tick + min(timing.read_ticks, timing.ticks - 1)
        if timing.outgrows_at >= 0:
            self.event = OUTGROWS
            self.event_tick = tick + timing.outgrows_at
        else:
            self.event = COMPLETES
            self.event_tick = tick + timing.ticks - 1

    def may_be_suspended_after(self, tick: int, outgrew: bool) -> bool:
        """The suspendable flag after `tick`: set by a boundary, kept while the next operator does not get going."""
        return self.boundary_tick == tick or (outgrew and self.boundary_tick == tick - 1)
