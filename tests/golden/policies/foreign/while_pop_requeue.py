@register_scheduler_init(key="k")
def init(s):
    s.queue = []
    s.need = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        s.queue.insert(0, p)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.need[op] = min(r.ram * 2, 128)
    pool = s.executor.pools[0]
    cpu = pool.avail_cpu_pool
    ram = pool.avail_ram_pool
    back = []
    out = []
    while len(s.queue) > 0:
        p = s.queue.pop()
        if p.runtime_status().is_pipeline_successful():
            continue
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            need = s.need.get(op, 19)
            if need <= ram and cpu >= 1:
                ram = ram - need
                cpu = cpu - 1
                out.append(Assignment([op], 1, need, p.priority, 0, p.pipeline_id))
        back.append(p)
    back.reverse()
    s.queue.extend(back)
    return [], out
