import random

@register_scheduler_init(key="k")
def init(s):
    s.rng = random.Random(7)
    s.pipes, s.mem = [], {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    order = list(s.pipes)
    s.rng.shuffle(order)
    pool = s.executor.pools[0]
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for p in order:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.mem.get(op.id, 22)
            if cpu >= 2 and ram >= want and s.rng.random() < 0.5:
                cpu, ram = cpu - 2, ram - want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
