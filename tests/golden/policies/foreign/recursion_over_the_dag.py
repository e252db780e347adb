@register_scheduler_init(key="k")
def init(s):
    s.pipes, s.mem, s.depth = [], {}, {}

def depth(s, op):
    if op.id not in s.depth:
        s.depth[op.id] = 1 + max((depth(s, child) for child in op.children), default=0)
    return s.depth[op.id]

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes += pipelines
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    ready = []
    for p in s.pipes:
        ready += p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True)
    ready = sorted(ready, key=lambda op: (-depth(s, op), op.pipeline.priority.value))
    pool = s.executor.pools[0]
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for op in ready:
        want = s.mem.get(op.id, 20)
        if cpu >= 2 and ram >= want:
            cpu, ram = cpu - 2, ram - want
            out.append(Assignment([op], 2, want, op.pipeline.priority, 0, op.pipeline.pipeline_id))
    return [], out
