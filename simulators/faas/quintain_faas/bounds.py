"""What no policy can exceed on a scenario: a throughput from above, a penalised latency from below.

Both are functions of the workload and the cluster only. The arguments, with T the horizon, R and C a pool's memory and
CPUs, and for an operator its need m (GB), its duration d(c) on c CPUs and its fastest duration d = d(C):

*available*   A completed operator started after its parents, so its arrival plus its longest path of fastest durations
              ends inside the horizon (and the deadline). Counting those that can is an upper bound.
*area*        A container holds at least m of memory and c of CPU for d(c). For any mix lam in [0, 1] its operator costs
              at least min over c of d(c) * (lam m/R + (1 - lam) c/C) of one pool, and all pools offer one unit each
              per tick. The most jobs with release times that fit is the optimum of a one-machine relaxation, which
              Moore and Hodgson's rule solves in reversed time. The minimum over the mixes is an upper bound.
*packing*     At any instant the operators that run (and will complete) fit their pool's memory, and each of them
              contributes at most 1/d of a completion per tick: T * pools * the best knapsack of rates is an upper
              bound.

A completed container has completed its last operator, so the number of operators bounds the number of containers.

Latency: a pipeline that completes takes at least its critical path and consumes at least its operators' area; one that
does not counts the penalty. Which to complete is a knapsack over the area of the horizon; its fractional optimum is a
lower bound of the weighted mean, and the best over the mixes is taken. It does not see queueing, so it is optimistic.

With memory overcommit the need is what the container really consumes, tick by tick, and packing is not used. The
scaling law ``log`` becomes negative below 1/e CPUs and then *shortens* the reading part, so its operators get the only
bound that holds: one tick and no memory. A tighter linear program over time slots would need a solver and is left out.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quintain_faas.bounds_operators import Costs, Need, operator_costs
from quintain_faas.objective import CLASS_OF_PRIORITY, WEIGHTS
from quintain_faas.params import Params
from quintain_faas.scenario import FaasScenario, workload_of
from quintain_faas.workload import OperatorSpec

MIXES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
SLACK = 1e-9  # in favour of the bound: a rounding must never make it too tight


@dataclass(frozen=True, slots=True)
class Bounds:
    """`throughput` in containers/s, `penalised_latency` in s with the scenario's duration as the penalty.

    `binding`: which argument sets the throughput's, "arrivals" (available), "capacity" (area) or "packing".
    `memory_share`, `cpu_share`: the least that all that can complete costs, of the cluster over the whole run, each
    taken alone.
    """

    throughput: float
    penalised_latency: float
    binding: str
    memory_share: float
    cpu_share: float


@dataclass(frozen=True, slots=True)
class Job:
    """An operator that can complete. Times in ticks: `release` to `end`, `kind` indexes the costs."""

    kind: int
    release: int
    end: int


_known: dict[str, Bounds] = {}  # by digest: keeps no trace alive; a race computes the same twice
MOST_KNOWN = 10_000


def scenario_bounds(spec: FaasScenario) -> Bounds:
    """The bounds of a scenario, computed once for its digest (which is a scenario's identity)."""
    bounds = _known.get(spec.digest)
    if bounds is None:
        bounds = _compute(spec)
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[spec.digest] = bounds
    return bounds


def _compute(spec: FaasScenario) -> Bounds:
    model = Model.of(spec)
    duration = float(spec.params.duration)
    jobs = model.jobs()
    limits = {"arrivals": len(jobs), "capacity": _area(model, jobs), "packing": _packing(model, jobs)}
    binding = min(limits, key=lambda name: limits[name])
    kinds = [job.kind for job in jobs]
    room = model.params.num_pools * model.params.max_ticks
    memory, cpu = (float(model.costs.mixed(mix)[kinds].sum()) / room if kinds else 0.0 for mix in (1.0, 0.0))
    return Bounds(limits[binding] / duration, _latency(model, duration), binding, memory, cpu)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A pipeline in the terms of the bounds. By operator: its kind, and the ticks from arrival to its earliest end."""

    tick: int
    weight: float
    kinds: tuple[int, ...]
    paths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A scenario in the terms of the bounds."""

    arrivals: Sequence[Arrival]
    costs: Costs
    params: Params

    @classmethod
    def of(cls, spec: FaasScenario) -> Model:
        params = spec.params
        batches = workload_of(spec).batches(params)
        pipelines = [(tick, p) for tick, batch in batches for p in batch if tick < params.max_ticks]
        index: dict[Need, int] = {}
        kinds = [tuple(index.setdefault(_need(o), len(index)) for o in p.operators) for _, p in pipelines]
        costs = operator_costs(list(index), params)
        fastest = costs.fastest.tolist()
        arrivals = []
        for (tick, pipeline), kind in zip(pipelines, kinds, strict=True):
            paths: list[int] = []
            for operator, k in zip(pipeline.operators, kind, strict=True):
                paths.append(max((paths[i] for i in operator.parents), default=0) + fastest[k])
            weight = WEIGHTS[CLASS_OF_PRIORITY[pipeline.priority]]
            arrivals.append(Arrival(tick, weight, kind, tuple(paths)))
        return cls(arrivals, costs, params)

    def end(self, arrival: Arrival, fastest: int) -> int:
        """The tick before which an operator of `fastest` ticks must have ended.

        The tick of the deadline itself still runs, and so does a container's first tick after it: an operator
        of one tick is never too late.
        """
        if not self.params.max_job_ticks or fastest == 1:
            return self.params.max_ticks
        return min(self.params.max_ticks, arrival.tick + self.params.max_job_ticks + 1)

    def last_end(self, arrival: Arrival) -> int:
        """The tick before which the pipeline must be complete: late ones are dropped once a second."""
        if not self.params.max_job_ticks:
            return self.params.max_ticks
        late = arrival.tick + self.params.max_job_ticks + 1 + self.params.ticks_per_second
        return min(self.params.max_ticks, late)

    def jobs(self) -> list[Job]:
        """The operators that can complete."""
        possible = self.costs.possible.tolist()
        fastest = self.costs.fastest.tolist()
        jobs = []
        for arrival in self.arrivals:
            for kind, path in zip(arrival.kinds, arrival.paths, strict=True):
                end = self.end(arrival, fastest[kind])
                if possible[kind] and arrival.tick + path <= end:
                    jobs.append(Job(kind, arrival.tick + path - fastest[kind], end))
        return jobs


def _need(operator: OperatorSpec) -> Need:
    return operator.baseline_cpu_seconds, operator.cpu_scaling, operator.memory_gb, operator.storage_read_gb


def _area(model: Model, jobs: Sequence[Job]) -> int:
    horizon = model.params.max_ticks
    by_release = sorted(jobs, key=lambda job: -job.release)
    by_end = sorted(jobs, key=lambda job: job.end)
    best = len(jobs)
    for mix in MIXES:
        cost = (model.costs.mixed(mix) / model.params.num_pools).tolist()
        # reversed in time, a release is a deadline
        best = min(best, most_on_time([cost[j.kind] for j in by_release], [horizon - j.release for j in by_release]))
        if model.params.max_job_ticks:
            best = min(best, most_on_time([cost[j.kind] for j in by_end], [j.end for j in by_end]))
    return best


def most_on_time(durations: Sequence[float], deadlines: Sequence[float]) -> int:
    """The most jobs that one machine can end on time (Moore and Hodgson). `deadlines` must be ascending."""
    kept: list[float] = []
    total = 0.0
    for duration, deadline in zip(durations, deadlines, strict=True):
        heapq.heappush(kept, -duration)
        total += duration
        if total > deadline * (1 + SLACK) + SLACK:
            total += heapq.heappop(kept)
    return len(kept)


def _packing(model: Model, jobs: Sequence[Job]) -> float:
    used = sorted({job.kind for job in jobs})
    if model.params.allow_memory_overcommit or not used:
        return math.inf
    rate = best_rate(model.costs.memory[used] / model.costs.pool_memory, 1.0 / model.costs.fastest[used])
    most = rate * model.params.num_pools * model.params.max_ticks * (1 + SLACK)
    return math.floor(most) if math.isfinite(most) else most


def best_rate(sizes: npt.NDArray[np.float64], rates: npt.NDArray[np.float64], cells: int = 1000) -> float:
    """Unbounded knapsack of capacity 1: the highest sum of rates. Sizes are rounded down to cells, so never too low."""
    rounded = np.floor(sizes * cells * (1 + SLACK)).astype(int)
    free = rates[rounded == 0]
    if free.size:
        return math.inf
    by_size: dict[int, float] = {}
    for size, rate in zip(rounded.tolist(), rates.tolist(), strict=True):
        by_size[size] = max(rate, by_size.get(size, 0.0))
    item_sizes, item_rates = [], []
    highest = 0.0
    for size in sorted(by_size):  # a larger item of no higher rate is never needed
        if by_size[size] > highest:
            highest = by_size[size]
            item_sizes.append(size)
            item_rates.append(highest)
    take, gain = np.array(item_sizes), np.array(item_rates)
    best = np.zeros(cells + 1)
    for room in range(1, cells + 1):
        fits = int(np.searchsorted(take, room, side="right"))
        best[room] = max(best[room - 1], (best[room - take[:fits]] + gain[:fits]).max(initial=0.0))
    return float(best[cells])


def _latency(model: Model, penalty: float) -> float:
    weights = np.array([a.weight for a in model.arrivals])
    if not weights.size:
        return 0.0
    possible = model.costs.possible.tolist()
    least = np.array([(max(a.paths) - 1) * model.params.tick_length_seconds for a in model.arrivals])
    can = np.array(
        [a.tick + max(a.paths) <= model.last_end(a) and all(possible[k] for k in a.kinds) for a in model.arrivals]
    )
    gains = np.where(can, weights * np.maximum(0.0, penalty - least), 0.0)
    best = 0.0
    for mix in MIXES:
        cost = (model.costs.mixed(mix) / model.params.num_pools).tolist()
        areas = np.where(can, [math.fsum(cost[k] for k in a.kinds) for a in model.arrivals], 0.0)
        gained = fractional_knapsack(gains, areas, model.params.max_ticks * (1 + SLACK))
        best = max(best, (float(weights.sum()) * penalty - gained) / float(weights.sum()))
    return max(0.0, best * (1 - SLACK))


def fractional_knapsack(gains: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64], room: float) -> float:
    """The highest gain when items may be cut."""
    order = np.argsort(-gains / np.maximum(sizes, 1e-300), kind="stable")
    gains, sizes = gains[order], sizes[order]
    before = np.cumsum(sizes) - sizes
    part = np.clip((room - before) / np.maximum(sizes, 1e-300), 0.0, 1.0)
    return math.fsum((gains * part).tolist())  # the same on every machine and Python version
