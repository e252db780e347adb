from __future__ import annotations
from dataclasses import dataclass, field
from typing import Optional

@dataclass
class Job:
    op: object
    pipeline: object
    ram: float = 20.0
    tries: int = 0
    note: Optional[str] = None
    history: list = field(default_factory=list)

@dataclass
class State:
    jobs: dict[int, Job] = field(default_factory=dict)
    waiting: list[Job] = field(default_factory=list)

@register_scheduler_init(key="k")
def init(s):
    s.state = State()

@register_scheduler(key="k")
def step(s, results, pipelines):
    st: State = s.state
    for p in pipelines:
        for op in p.values:
            st.jobs[op.id] = Job(op, p)
            st.waiting.append(st.jobs[op.id])
    for r in results:
        if r.error:
            for op in r.ops:
                job = st.jobs[op.id]
                job.tries += 1
                job.ram *= 2
                job.history.append(r.error)
                if job not in st.waiting:
                    st.waiting.append(job)
    pool = s.executor.pools[0]
    cpu, ram = pool.avail_cpu_pool, pool.avail_ram_pool
    out = []
    for job in sorted(st.waiting, key=lambda j: (j.pipeline.priority.value, j.tries)):
        ready = all(parent.state() == OperatorState.COMPLETED for parent in job.op.parents)
        want = min(job.ram, pool.max_ram_pool)
        if ready and cpu >= 2 and ram >= want:
            cpu -= 2
            ram -= want
            out.append(Assignment([job.op], 2, want, job.pipeline.priority, 0, job.pipeline.pipeline_id))
            st.waiting.remove(job)
    return [], out
