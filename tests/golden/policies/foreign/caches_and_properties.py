from functools import cached_property, lru_cache

class View:
    def __init__(self, s):
        self.s = s

    @cached_property
    def pool(self):
        return self.s.executor.pools[0]

    @cached_property
    def total(self):
        return self.pool.max_ram_pool

    @property
    def share(self):
        return self.pool.avail_ram_pool / self.total

@lru_cache(maxsize=128)
def step_up(ram, limit):
    return min(limit, ram * 2)

@register_scheduler_init(key="k")
def init(s):
    s.view = View(s)
    s.pipes, s.mem = [], {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = step_up(r.ram, 128)
    if s.view.share < 0.1:
        return [], []
    cpu, ram, out = s.view.pool.avail_cpu_pool, s.view.pool.avail_ram_pool, []
    for p in s.pipes:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.mem.get(op.id, 20)
            if cpu >= 2 and ram >= want:
                cpu, ram = cpu - 2, ram - want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
