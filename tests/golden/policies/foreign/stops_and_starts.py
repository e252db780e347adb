@register_scheduler_init(key="k")
def init(s):
    s.pipes, s.mem = [], {}
    s.paused = False

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    pool = s.executor.pools[0]
    s.paused = pool.avail_ram_pool < (60 if s.paused else 20)
    if s.paused:
        return [], []
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    while True:
        best = None
        for p in s.pipes:
            for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                want = s.mem.get(op.id, 20)
                if cpu >= 2 and ram >= want and (best is None or (p.priority.value, want) < best[0]):
                    best = ((p.priority.value, want), op, p)
        if best is None:
            break
        (_, want), op, p = best
        cpu, ram = cpu - 2, ram - want
        out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
