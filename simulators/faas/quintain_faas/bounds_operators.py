"""The least that an operator costs: time on a whole pool, memory, and shares of a pool's memory-time and CPU-time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quintain_faas.params import Params

FloatArray = npt.NDArray[np.float64]
DISK_GB_PER_SECOND = 20
SMALLEST_CPU = 0.001
CPU_STEP = 1.15  # growth of the grid of CPU counts
TOO_SLOW = 1e200  # ticks: what does not end within the horizon is no option

Need = tuple[float, str, float | None, float]
"""Baseline CPU seconds, scaling law, memory in GB (None: grows with what is read), GB to read."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Arrays over the kinds of operators.

    `fastest` in ticks (at least 1), `memory` in GB (the least allocation), `possible` is false for what no pool can
    hold. `memory_time[k, i]` and `cpu_time[k, i]` are the least shares of a pool's memory and CPU, times ticks, when
    the operator gets a CPU count from the i-th interval.
    """

    pool_memory: float
    fastest: npt.NDArray[np.int64]
    memory: FloatArray
    possible: npt.NDArray[np.bool_]
    memory_time: FloatArray
    cpu_time: FloatArray

    def mixed(self, mix: float) -> FloatArray:
        """The least mix * memory share + (1 - mix) * CPU share, in ticks of one pool, by kind."""
        if not self.fastest.size:
            return np.zeros(0)
        cost: FloatArray = (mix * self.memory_time + (1.0 - mix) * self.cpu_time).min(axis=1)
        return cost


def operator_costs(needs: Sequence[Need], params: Params) -> Costs:
    """Costs of each kind of operator on one of the pools. Slower than the horizon is no option."""
    cpus, memory = float(params.cpus_per_pool), float(params.ram_gb_per_pool)
    ticks_per_second, overcommit = params.ticks_per_second, params.allow_memory_overcommit
    grid = cpu_grid(cpus)
    kinds = len(needs)
    fastest = np.ones(kinds, dtype=np.int64)
    least_memory = np.zeros(kinds)
    memory_time = np.zeros((kinds, len(grid)))
    cpu_time = np.zeros((kinds, len(grid)))
    for k, need in enumerate(needs):
        if need[1] == "log":
            continue  # no bound but the trivial one, see quintain_faas.bounds
        ticks = durations(need, np.array(grid), ticks_per_second)
        io = read_ticks(need[3], ticks_per_second)
        fastest[k] = max(1, int(ticks[-1]))
        least_memory[k] = peak_memory(need, int(ticks[-1]) - io, io, ticks_per_second)
        # an interval's CPU counts take at least as long as its upper end, and hold at least its lower end
        ticks = np.maximum(1, ticks)
        held = _memory_ticks(need, ticks, io, least_memory[k], ticks_per_second, overcommit)
        used = np.concatenate(([0.0], grid[:-1])) * ticks
        used = np.maximum(used, _linear_cpu_ticks(need, np.array(grid), io, ticks_per_second))
        late = ticks > params.max_ticks
        memory_time[k] = np.where(late, TOO_SLOW, held / memory)
        cpu_time[k] = np.where(late, TOO_SLOW, used / cpus)
    possible = np.ones(kinds, dtype=np.bool_) if overcommit else least_memory <= memory
    return Costs(memory, fastest, least_memory, possible, memory_time, cpu_time)


def cpu_grid(cpus: float) -> list[float]:
    """Ascending upper ends of the intervals that cover (0, cpus]; the last is `cpus`."""
    steps = {float(n) for n in range(1, min(int(cpus), 64) + 1)}
    value = SMALLEST_CPU
    while value < cpus:
        steps.add(value)
        value *= CPU_STEP
    return sorted({s for s in steps if s < cpus} | {cpus})


def read_ticks(storage_gb: float, ticks_per_second: int) -> int:
    return int((storage_gb / DISK_GB_PER_SECOND) / (1.0 / ticks_per_second))


def durations(need: Need, cpus: FloatArray, ticks_per_second: int) -> npt.NDArray[np.int64]:
    """Ticks from start to end for each number of CPUs, by the simulator's truncations."""
    base, law, _, storage = need
    seconds: FloatArray
    match law:
        case "const":
            seconds = np.full_like(cpus, base)
        case "linear3":
            seconds = base / np.minimum(cpus, 3)
        case "linear7":
            seconds = base / np.minimum(cpus, 7)
        case "sqrt":
            seconds = base / np.sqrt(cpus)
        case "squared":
            seconds = base / np.power(cpus, 2)
        case "exp":
            seconds = base / np.where(cpus < 4, np.power(2.0, np.minimum(cpus, 4)), 16.0)
        case _:
            raise ValueError(f"unknown scaling law {law!r}")
    ticks = np.minimum(seconds / (1.0 / ticks_per_second), 2.0**62)
    return ticks.astype(np.int64) + read_ticks(storage, ticks_per_second)


def peak_memory(need: Need, cpu_ticks: int, io: int, ticks_per_second: int) -> float:
    _, _, memory, storage = need
    if memory is not None:
        return memory
    read = io * (1.0 / ticks_per_second) * DISK_GB_PER_SECOND
    return max(read, storage) if cpu_ticks > 0 else read


def _memory_ticks(
    need: Need, ticks: npt.NDArray[np.int64], io: int, peak: float, ticks_per_second: int, overcommit: bool
) -> FloatArray:
    """GB * ticks held: the allocation for the whole life, or with overcommit what is really consumed.

    On its last tick a container's memory is given back before the pool is checked, so it does not count there.
    """
    if not overcommit:
        return ticks * np.float64(peak)
    before_last: FloatArray = np.maximum(0, ticks - 1).astype(np.float64)
    if need[2] is not None:
        return need[2] * before_last
    reading = np.minimum(before_last, io)
    grown = reading * (reading + 1) / 2 * (1.0 / ticks_per_second) * DISK_GB_PER_SECOND
    held: FloatArray = grown + need[3] * (before_last - reading)
    return held


def _linear_cpu_ticks(need: Need, grid: FloatArray, io: int, ticks_per_second: int) -> FloatArray:
    """CPU * ticks for the linear laws up to their limit: the work itself, less what truncation gives away."""
    limits = {"linear3": 3.0, "linear7": 7.0}
    if need[1] not in limits:
        return np.zeros_like(grid)
    lower = np.concatenate(([0.0], grid[:-1]))
    work = need[0] / (1.0 / ticks_per_second) - grid + lower * io
    used: FloatArray = np.where(grid <= limits[need[1]], np.maximum(0.0, work), 0.0)
    return used
