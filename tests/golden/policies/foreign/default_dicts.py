from collections import defaultdict, Counter

@register_scheduler_init(key="k")
def init(s):
    s.by_class = defaultdict(list)
    s.failures = Counter()
    s.sizes = defaultdict(lambda: 15)

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        s.by_class[p.priority].append(p)
    for r in results:
        if r.failed():
            s.failures[r.error] += 1
            for op in r.ops:
                s.sizes[op.id] = min(2 * r.ram, 128)
    pool = s.executor.pools[0]
    left = [pool.avail_cpu_pool, pool.avail_ram_pool]
    out = []
    for priority in Priority:
        for p in s.by_class[priority]:
            for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, True):
                ram = s.sizes[op.id]
                if left[0] >= 2 and left[1] >= ram:
                    left[0] -= 2
                    left[1] -= ram
                    out.append(Assignment([op], 2, ram, priority, 0, p.pipeline_id))
    return [], out
