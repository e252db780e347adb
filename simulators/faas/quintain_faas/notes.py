"""What an author of policies may know of a scenario before the first run: cluster, arrivals, needs, what binds.

Facts of the scenario only. What a policy scored, or which size was best, is not among them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from quintain_faas.bounds import Bounds, scenario_bounds
from quintain_faas.bounds_operators import durations, peak_memory, read_ticks
from quintain_faas.objective import CLASS_OF_PRIORITY, CLASSES
from quintain_faas.params import Params
from quintain_faas.scenario import SMALL_WORKLOAD, FaasScenario, workload_of
from quintain_faas.workload.model import OperatorSpec, PipelineSpec

_CPUS_SHOWN = (1, 2, 4, 8, 16)
_TIGHT = 0.9  # of a resource over the whole run, to call it scarce
_BINDING = {
    "arrivals": "what arrives early enough to complete",
    "capacity": "memory and CPU over the whole run, as if work could be cut and moved freely",
    "packing": "how many containers fit side by side in a pool's memory, as if the best mix were always there",
}


def scenario_notes(spec: FaasScenario) -> str:
    """One fact a line; see `quintain.plugins.simulator.ScenarioNotes`."""
    params = spec.params
    if spec.cost > SMALL_WORKLOAD:  # to look at every operator would hold up whoever starts a search
        return "\n".join([_cluster(params), _rules(params)])
    arrivals = [
        (tick, p) for tick, batch in workload_of(spec).batches(params) for p in batch if tick < params.max_ticks
    ]
    by_class: dict[str, list[PipelineSpec]] = {name: [] for name in CLASSES}
    for _, pipeline in arrivals:
        by_class[CLASS_OF_PRIORITY[pipeline.priority]].append(pipeline)
    lines = [_cluster(params), _rules(params)]
    lines += [_needs(name, pipelines, params) for name, pipelines in by_class.items() if pipelines]
    bounds = scenario_bounds(spec)
    lines += [f"- the throughput bound counts only {_BINDING[bounds.binding]}", _ids([p for _, p in arrivals])]
    lines += [_arrivals(by_class), _demand(bounds)]
    return "\n".join(lines)


def _cluster(params: Params) -> str:
    pools = "1 pool" if params.num_pools == 1 else f"{params.num_pools} pools, each"
    return f"- {pools} of {params.cpus_per_pool:g} CPUs and {params.ram_gb_per_pool:g} GB; {params.duration:g} s"


def _rules(params: Params) -> str:
    said = [
        "several operators in a container allowed" if params.multi_operator_containers else "one operator a container"
    ]
    said.append(f"deadline {params.max_job_seconds:g} s" if params.max_job_seconds else "no deadline")
    estimator = f"memory estimates, off by a factor of about {np.exp(params.noisy_estimator_sigma):.2f}"
    said.append(estimator if params.estimator_algo else "no memory estimates")
    if params.allow_memory_overcommit:
        said.append("memory may be overcommitted")
    return f"- {', '.join(said)}; {params.ticks_per_second} ticks/s"


def _arrivals(by_class: Mapping[str, Sequence[PipelineSpec]]) -> str:
    said = [f"{name} {len(ps)} ({sum(len(p.operators) for p in ps)} operators)" for name, ps in by_class.items() if ps]
    return f"- pipelines that arrive: {', '.join(said) or 'none'}"


def _needs(name: str, pipelines: Sequence[PipelineSpec], params: Params) -> str:
    """What the operators of a class need."""
    operators = [o for p in pipelines for o in p.operators]
    needs = [(o.baseline_cpu_seconds, o.cpu_scaling, o.memory_gb, o.storage_read_gb) for o in operators]
    said = [f"- {name} operators: peak memory GB {_quantiles([_peak(o, params) for o in operators])}"]
    if known := [n for n in needs if n[1] != "log"]:
        shown = [float(c) for c in _CPUS_SHOWN if c <= params.cpus_per_pool] or [float(params.cpus_per_pool)]
        cpus = np.array(shown)
        ticks = np.array([durations(n, cpus, params.ticks_per_second) for n in known])
        seconds = [f"{s:.3g}" for s in np.median(np.maximum(1, ticks), axis=0) * params.tick_length_seconds]
        said.append(
            f"seconds {seconds[0]} whatever the CPUs"
            if len(set(seconds)) == 1 and len(seconds) > 1
            else f"median seconds {', '.join(f'{s} on {c:g}' for c, s in zip(shown, seconds, strict=True))} CPUs"
        )
    laws = Counter(o.cpu_scaling for o in operators)
    said.append(f"laws {', '.join(f'{law} {count / len(operators):.0%}' for law, count in sorted(laws.items()))}")
    return "; ".join(said)


def _peak(operator: OperatorSpec, params: Params) -> float:
    need = (operator.baseline_cpu_seconds, operator.cpu_scaling, operator.memory_gb, operator.storage_read_gb)
    return peak_memory(need, 1, read_ticks(operator.storage_read_gb, params.ticks_per_second), params.ticks_per_second)


def _quantiles(values: Iterable[float]) -> str:
    counts = Counter(round(v, 2) for v in values)
    if len(counts) == 1:
        return f"{next(iter(counts)):g}"
    low, middle, high = np.quantile(sorted(counts.elements()), (0.1, 0.5, 0.9), method="nearest")
    return f"{low:g} / {middle:g} / {high:g} (10 %, median, 90 %), most {max(counts):g}"


def _demand(bounds: Bounds) -> str:
    scarce = [name for name, share in (("memory", bounds.memory_share), ("CPU", bounds.cpu_share)) if share >= _TIGHT]
    words = f"scarce: {' and '.join(scarce)}" if scarce else "neither is scarce on the whole, order and fit bind"
    return (
        f"- all that can complete needs at least {bounds.memory_share:.0%} of the memory and {bounds.cpu_share:.0%} of "
        f"the CPU, each taken alone ({words})"
    )


def _ids(pipelines: Sequence[PipelineSpec]) -> str:
    """An example of each form that ids have, digits taken as equal."""
    forms: dict[str, PipelineSpec] = {}
    for pipeline in pipelines:
        forms.setdefault(re.sub(r"\d+", "0", pipeline.id), pipeline)
    shown = [f"{p.id[:60]} with operator {p.operators[0].id[:60]}" for p in list(forms.values())[:3] if p.operators]
    return f"- ids look like {'; '.join(shown)}" if shown else "- nothing arrives"
