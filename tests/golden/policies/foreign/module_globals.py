QUEUE = []
SIZES = {}
STATS = {"oom": 0, "calls": 0}
TOTAL = 0

@register_scheduler_init(key="k")
def init(s):
    global TOTAL
    QUEUE.clear()
    SIZES.clear()
    TOTAL = s.executor.get_total_ram_gb()

@register_scheduler(key="k")
def step(s, results, pipelines):
    global TOTAL
    TOTAL = s.executor.get_total_ram_gb()
    QUEUE.extend(pipelines)
    for r in results:
        if r.failed():
            STATS["oom"] += 1
            for op in r.ops:
                SIZES[op.id] = min(2 * r.ram, TOTAL)
    pool = s.executor.pools[0]
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for p in list(QUEUE):
        if p.runtime_status().is_pipeline_successful():
            QUEUE.remove(p)
            continue
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = SIZES.get(op.id, 17)
            if cpu >= 2 and ram >= want:
                cpu -= 2
                ram -= want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
