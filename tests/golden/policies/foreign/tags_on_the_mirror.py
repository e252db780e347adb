@register_scheduler_init(key="k")
def init(s):
    s.pipes = []

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        p.tag = "new"
        s.pipes.append(p)
        for op in p.values:
            op.want = 15
    for r in results:
        if r.failed():
            for op in r.ops:
                op.want = min(128, 2 * r.ram)
    pool = s.executor.pools[0]
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for p in s.pipes:
        p.tag = "done" if p.runtime_status().is_pipeline_successful() else "open"
        if p.tag == "done":
            continue
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            if cpu >= 1 and ram >= op.want:
                cpu, ram = cpu - 1, ram - op.want
                out.append(Assignment([op], 1, op.want, p.priority, 0, p.pipeline_id))
    return [], out
