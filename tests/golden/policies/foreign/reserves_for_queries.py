import math

class Reserve:
    SHARE = 0.25

    def __init__(self, scheduler):
        self.pool = scheduler.executor.pools[0]

    def limit(self, priority):
        total = self.pool.max_ram_pool
        held = math.floor(total * self.SHARE)
        return total if priority is Priority.QUERY else total - held

@register_scheduler_init(key="k")
def init(s):
    s.reserve = Reserve(s)
    s.pipes, s.mem = [], {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes = [*s.pipes, *pipelines]
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(96, 2 * r.ram)
    pool = s.executor.pools[0]
    used = pool.get_allocated_ram_gb()
    cpu, out = pool.avail_cpu_pool, []
    for p in sorted(s.pipes, key=lambda p: p.priority.value):
        limit = s.reserve.limit(p.priority)
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.mem.get(op.id, 20)
            if cpu >= 2 and used + want <= limit:
                cpu -= 2
                used += want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
