@register_scheduler_init(key="k")
def init(s):
    s.live = {}
    s.dropped = []
    s.sizes = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.live.update({p.pipeline_id: p for p in pipelines})
    for name in [n for n, p in s.live.items() if p.runtime_status().has_timed_out()]:
        s.dropped.append(s.live.pop(name))
    for r in results:
        if r.error == "OOM":
            s.sizes.update({o.id: min(128, r.ram * 2) for o in r.ops})
    out = []
    cpu, ram = s.executor.pools[0].avail_cpu_pool, s.executor.pools[0].avail_ram_pool
    for name, p in s.live.items():
        status = p.runtime_status()
        if status.is_pipeline_successful():
            continue
        for op in status.get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.sizes.get(op.id, 24)
            if cpu >= 2 and ram >= want:
                cpu, ram = cpu - 2, ram - want
                out.append(Assignment([op], 2, want, p.priority, 0, name))
    return [], out
