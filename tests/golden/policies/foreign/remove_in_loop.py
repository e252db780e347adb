@register_scheduler_init(key="k")
def init(s):
    s.active = []
    s.finished = 0
    s.requested = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        if p not in s.active:
            s.active.append(p)
    for p in s.active[:]:
        if p.runtime_status().is_pipeline_successful():
            s.active.remove(p)
            s.finished += 1
    for r in results:
        if r.failed():
            for o in r.ops:
                s.requested[o.id] = r.ram
    out = []
    cpu, ram = s.executor.pools[0].avail_cpu_pool, s.executor.pools[0].avail_ram_pool
    for p in s.active:
        for o in p.runtime_status().get_ops([OperatorState.PENDING, OperatorState.FAILED], True):
            want = min(128, s.requested.get(o.id, 8) * 2)
            if cpu < 1 or ram < want:
                break
            cpu -= 1
            ram -= want
            out.append(Assignment([o], 1, want, p.priority, 0, p.pipeline_id))
    return ([], out)
