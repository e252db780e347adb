@register_scheduler_init(key="k")
def init(s):
    s.pipes, s.mem = [], {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    pool = s.executor.pools[0]
    cpu, out = pool.avail_cpu_pool, []
    ram = pool.avail_ram_pool
    if ram < 20:
        return [], []
    busy = [c.get_current_memory_usage() for c in pool.active_containers]
    pressed = sum(busy) > 0.9 * pool.max_ram_pool
    for p in s.pipes:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.mem.get(op.id, 20)
            if not pressed and cpu >= 1 and ram >= want:
                cpu, ram = cpu - 1, ram - want
                out.append(Assignment([op], 1, want, p.priority, 0, p.pipeline_id))
    return [], out
