def handle_query(s, p, free):
    return 4, 30

def handle_interactive(s, p, free):
    return 2, 25

HANDLERS = {
    Priority.QUERY: handle_query,
    Priority.INTERACTIVE: handle_interactive,
    Priority.BATCH_PIPELINE: lambda s, p, free: (1, 20),
}

@register_scheduler_init(key="k")
def init(s):
    s.pipes, s.over = [], {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.over[op.id] = min(128, 2 * r.ram)
    free = [s.executor.pools[0].avail_cpu_pool, s.executor.pools[0].avail_ram_pool]
    out = []
    for p in s.pipes:
        cpu, ram = HANDLERS[p.priority](s, p, free)
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.over.get(op.id, ram)
            if free[0] >= cpu and free[1] >= want:
                free[0] -= cpu
                free[1] -= want
                out.append(Assignment([op], cpu, want, p.priority, 0, p.pipeline_id))
    return [], out
