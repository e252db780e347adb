import copy

@register_scheduler_init(key="k")
def init(s):
    s.pending = {}
    s.order = []
    s.sizes = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    pending = dict(s.pending)
    order = s.order.copy()
    for p in pipelines:
        pending[p.pipeline_id] = p
        order.append(p.pipeline_id)
    sizes = {**s.sizes}
    for r in results:
        if r.failed():
            sizes |= {op.id: min(128, 2 * r.ram) for op in r.ops}
    pool = s.executor.pools[0]
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for name in list(order):
        p = pending[name]
        if p.runtime_status().is_pipeline_successful():
            order.remove(name)
            del pending[name]
            continue
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = sizes.get(op.id, 15)
            if cpu >= 1 and ram >= want:
                cpu, ram = cpu - 1, ram - want
                out.append(Assignment([op], 1, want, p.priority, 0, p.pipeline_id))
    s.pending, s.order, s.sizes = pending, order, sizes
    return [], out
