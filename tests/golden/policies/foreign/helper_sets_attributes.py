@register_scheduler_init(key="k")
def init(s):
    setup(s)

def setup(s):
    s.pipes = []
    s.state = {}
    s.last_free = None
    s.busy = False

def refresh(s):
    pool = s.executor.pools[0]
    s.free_cpu = pool.avail_cpu_pool
    s.free_ram = pool.avail_ram_pool
    s.busy = len(pool.active_containers) > 0
    s.last_free = (s.free_cpu, s.free_ram)

def take(s, op, cpu, ram):
    s.free_cpu -= cpu
    s.free_ram -= ram
    return Assignment([op], cpu, ram, op.pipeline.priority, 0, op.pipeline.pipeline_id)

@register_scheduler(key="k")
def step(s, results, pipelines):
    refresh(s)
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.state[op.id] = min(2 * r.ram, 128)
    out = []
    for p in s.pipes:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            ram = s.state.get(op.id, 21)
            if s.free_cpu >= 2 and s.free_ram >= ram:
                out.append(take(s, op, 2, ram))
    return [], out
