@register_scheduler_init(key="k")
def init(s):
    s.seen = set()
    s.running = set()
    s.pipes = []
    s.mem = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes += pipelines
    for r in results:
        for op in r.ops:
            s.running.discard(op.id)
            if r.failed():
                s.mem[op.id] = min(128, 2 * r.ram)
    out = []
    pool = s.executor.pools[0]
    cpu, ram = pool.avail_cpu_pool, pool.avail_ram_pool
    for p in s.pipes:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            s.seen.add(op.id)
            if op.id in s.running:
                continue
            want = s.mem.get(op.id, 23)
            if cpu >= 1 and ram >= want:
                s.running.add(op.id)
                cpu -= 1
                ram -= want
                out.append(Assignment([op], 1, want, p.priority, 0, p.pipeline_id))
    return [], out
