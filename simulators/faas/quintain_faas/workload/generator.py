"""The random workload: the same bits as Eudoxia's for the same seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from quintain.plugins.simulator import InvalidInput
from quintain_faas.params import Params
from quintain_faas.workload.model import MAX_OPERATORS, OperatorSpec, PipelineSpec, visiting_order

_PRIORITIES = ("INTERACTIVE", "QUERY", "BATCH_PIPELINE")
_SHAPES = ("linear", "branch_in", "branch_out")
_QUERY_NEEDS = (15, "linear3", None, 35)
_OTHER_NEEDS = (1, "const", None, 55)


def generate(params: Params, max_ticks: int) -> Iterator[tuple[int, tuple[PipelineSpec, ...]]]:
    """Batches of pipelines with their tick, as far as the horizon. The order of the draws is part of the contract.
    Raises InvalidInput for more operators than a run can hold."""
    rng = np.random.default_rng(params.random_seed)
    mean_wait = int(params.waiting_seconds_mean * params.ticks_per_second)
    priorities = _cumulative(params.interactive_prob, params.query_prob, params.batch_prob)
    shapes = _cumulative(params.dag_linear_prob, params.dag_branch_in_prob, params.dag_branch_out_prob)
    made: dict[tuple[bool, str, int], tuple[tuple[OperatorSpec, ...], tuple[int, ...]]] = {}
    count = operators_made = 0
    tick = 0
    while tick < max_ticks:
        group = []
        for _ in range(params.num_pipelines):
            priority = _PRIORITIES[int(priorities.searchsorted(rng.random(), side="right"))]
            shape = _SHAPES[int(shapes.searchsorted(rng.random(), side="right"))]
            query = priority == "QUERY"
            size = 1 if query else max(1, int(rng.normal(params.num_operators, params.num_operators / 4)))
            key = (query, shape, size)
            if key not in made:
                made[key] = _operators(query, shape, size)
            operators, order = made[key]
            count += 1
            operators_made += size
            if operators_made > MAX_OPERATORS:
                raise InvalidInput("params.num_pipelines", f"the workload has more than {MAX_OPERATORS} operators")
            group.append(PipelineSpec(f"p{count}", tick * params.tick_length_seconds, priority, operators, order))
        yield tick, tuple(group)
        wait = int(rng.normal(mean_wait, mean_wait / 4))
        tick += (wait if wait > 0 else mean_wait) + 1


def _cumulative(*probabilities: float) -> NDArray[np.float64]:
    p = np.array(probabilities)
    p = p / np.sum(p, dtype=float)
    cumulative: NDArray[np.float64] = p.cumsum()
    cumulative /= cumulative[-1]
    return cumulative


def _operators(query: bool, shape: str, size: int) -> tuple[tuple[OperatorSpec, ...], tuple[int, ...]]:
    needs = _QUERY_NEEDS if query else _OTHER_NEEDS
    parents: list[tuple[int, ...]] = []
    for position in range(size):
        if position == 0:
            parents.append(())
        elif shape == "linear":
            parents.append((position - 1,))
        elif shape == "branch_out":
            parents.append((0,))
        else:
            parents.append(tuple(range(position)) if position == size - 1 else ())
    operators = tuple(OperatorSpec(f"op{i + 1}", above, *needs) for i, above in enumerate(parents))
    return operators, visiting_order(parents)
