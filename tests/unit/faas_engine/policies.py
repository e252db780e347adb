"""Running a policy's text on a small trace."""

from __future__ import annotations

from textwrap import dedent

from quintain_faas import Params, Result, Workload, simulate

HEADER = (
    "pipeline_id,arrival_seconds,priority,operator_id,parents,"
    "baseline_cpu_seconds,cpu_scaling,memory_gb,storage_read_gb"
)
TWO_STEPS = f"""{HEADER}
p1,0.2,QUERY,a,,1,const,,10
p1,,,b,a,1,const,4,0
p2,0.5,BATCH_PIPELINE,a,,2,const,,10
"""

PARAMS = Params(
    duration=20, ticks_per_second=10, num_pools=1, cpus_per_pool=8, ram_gb_per_pool=32, multi_operator_containers=True
)


def policy(body: str, init: str = "pass") -> str:
    """A policy whose scheduler function has this body (arguments s, results, pipelines)."""
    return "\n".join(
        (
            '@register_scheduler_init(key="test")',
            "def init(s):",
            *(f"    {line}" for line in dedent(init).strip().splitlines()),
            '@register_scheduler(key="test")',
            "def schedule(s, results, pipelines):",
            *(f"    {line}" for line in dedent(body).strip("\n").splitlines()),
            "",
        )
    )


def simulate_on(
    source: str, trace: str = TWO_STEPS, params: Params = PARAMS, calling_mode: str = "", strict: bool = True
) -> Result:
    return simulate(source, params, Workload.from_trace_text(trace, strict=strict), calling_mode)
