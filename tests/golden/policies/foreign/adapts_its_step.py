@register_scheduler_init(key="k")
def init(s):
    s.pipes, s.mem = [], {}
    s.base, s.good, s.bad = 16.0, 0, 0

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            s.bad += 1
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
        else:
            s.good += 1
    rate = s.bad / max(1, s.good + s.bad)
    s.base = min(64.0, 16.0 * (1 + 2 * rate))
    pool = s.executor.pools[0]
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for p in s.pipes:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.mem.get(op.id, int(s.base))
            if cpu >= 2 and ram >= want:
                cpu, ram = cpu - 2, ram - want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
