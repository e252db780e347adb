@register_scheduler_init(key="k")
def init(s):
    s.pipes = []
    s.used = {}
    s.mem = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        for op in r.ops:
            if r.failed():
                s.mem[op.id] = min(128, 2 * r.ram)
    out = []
    for pool in s.executor.pools:
        s.used[pool.pool_id] = sum(c.assignment.ram for c in pool.active_containers)
        ids = [c.container_id for c in pool.active_containers if c.error is None]
        free = pool.max_ram_pool - s.used[pool.pool_id]
        cpu = pool.avail_cpu_pool
        if len(ids) >= 6:
            continue
        for p in s.pipes:
            for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                want = s.mem.get(op.id, 20)
                if cpu >= 2 and free >= want and len(out) + len(ids) < 6:
                    cpu -= 2
                    free -= want
                    out.append(Assignment([op], 2, want, p.priority, pool.pool_id, p.pipeline_id))
    return [], out
