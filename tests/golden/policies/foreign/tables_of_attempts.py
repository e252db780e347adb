from collections import defaultdict

@register_scheduler_init(key="k")
def init(s):
    s.attempts = defaultdict(int)
    s.groups = defaultdict(lambda: defaultdict(list))
    s.given_up = set()

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        s.groups[p.priority][len(p.values)].append(p)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.attempts[op.id] += 1
                if s.attempts[op.id] > 6:
                    s.given_up.add(op.id)
    pool = s.executor.pools[0]
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for priority in sorted(s.groups, key=lambda p: p.value):
        for size in sorted(s.groups[priority]):
            for p in s.groups[priority][size]:
                for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                    if op.id in s.given_up:
                        continue
                    want = min(128, 10 * 2 ** s.attempts[op.id])
                    if cpu >= 1 and ram >= want:
                        cpu, ram = cpu - 1, ram - want
                        out.append(Assignment([op], 1, want, priority, 0, p.pipeline_id))
    return [], out
