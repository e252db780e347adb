from contextlib import suppress

@register_scheduler_init(key="k")
def init(s):
    s.pipes = []
    s.mem = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    with suppress(IndexError):
        last = results[-1]
        for op in last.ops:
            if last.failed():
                s.mem[op.id] = min(last.ram * 2, 128)
    for r in results[:-1]:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(r.ram * 2, 128)
    out = []
    cpu, ram = s.executor.pools[0].avail_cpu_pool, s.executor.pools[0].avail_ram_pool
    for p in s.pipes:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            with suppress(KeyError):
                want = 28
                want = s.mem[op.id]
            if cpu >= 2 and ram >= want:
                cpu -= 2
                ram -= want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
