import bisect
import math

@register_scheduler_init(key="k")
def init(s):
    s.order = []
    s.by_key = {}
    s.sizes = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        for op in p.values:
            key = (p.priority.value, len(op.parents), op.id)
            bisect.insort(s.order, key)
            s.by_key[key] = op
    for r in results:
        if r.failed():
            for op in r.ops:
                s.sizes[op.id] = min(128, math.ceil(r.ram * 1.5))
    i = bisect.bisect_left(s.order, (0,))
    cpu, ram = s.executor.pools[0].avail_cpu_pool, s.executor.pools[0].avail_ram_pool
    out = []
    while i < len(s.order):
        op = s.by_key[s.order[i]]
        i += 1
        if op.state() not in ASSIGNABLE_STATES or any(x.state() != OperatorState.COMPLETED for x in op.parents):
            continue
        want = s.sizes.get(op.id, 14)
        if math.isclose(ram, want) or (ram > want and cpu >= 2):
            cpu, ram = cpu - 2, ram - want
            out.append(Assignment([op], 2, want, op.pipeline.priority, 0, op.pipeline.pipeline_id))
        if cpu < 2:
            break
    else:
        pass
    return [], out
