@register_scheduler_init(key="k")
def init(s):
    s.front, s.back = [], []
    s.sizes = dict()

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.front = s.front + pipelines
    s.back = []
    for r in results:
        s.sizes.update((o.id, min(128, r.ram * 2)) for o in r.ops if r.failed())
    cpu, ram = s.executor.pools[0].avail_cpu_pool, s.executor.pools[0].avail_ram_pool
    out = []
    for p in s.front:
        if p.runtime_status().is_pipeline_successful():
            continue
        s.back.append(p)
        for o in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.sizes.get(o.id, 24)
            if cpu >= 2 and ram >= want:
                cpu, ram = cpu - 2, ram - want
                out.append(Assignment([o], 2, want, p.priority, 0, p.pipeline_id))
    s.front, s.back = s.back, s.front
    return [], out
