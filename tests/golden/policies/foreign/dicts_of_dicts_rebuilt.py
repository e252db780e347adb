@register_scheduler_init(key="k")
def init(s):
    s.pipes, s.mem, s.view = [], {}, {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    s.view = {
        "pools": {p.pool_id: {"cpu": p.avail_cpu_pool, "ram": p.avail_ram_pool} for p in s.executor.pools},
        "waiting": {prio.name: [p for p in s.pipes if p.priority == prio] for prio in Priority},
    }
    free = s.view["pools"][0]
    out = []
    for name, waiting in s.view["waiting"].items():
        for p in waiting:
            for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                want = s.mem.get(op.id, 20)
                if free["cpu"] >= 2 and free["ram"] >= want:
                    free["cpu"] -= 2
                    free["ram"] -= want
                    out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
