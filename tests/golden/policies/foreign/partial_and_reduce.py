import operator
from functools import partial, reduce

def assign(pool, cpu, op, ram):
    return Assignment([op], cpu, ram, op.pipeline.priority, pool, op.pipeline.pipeline_id)

@register_scheduler_init(key="k")
def init(s):
    s.small = partial(assign, 0, 1)
    s.pipes = []
    s.ram = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            s.ram.update(dict.fromkeys((o.id for o in r.ops), min(2 * r.ram, 128)))
    held = reduce(operator.add, [c.assignment.ram for c in s.executor.pools[0].active_containers], 0)
    ram = s.executor.pools[0].max_ram_pool - held
    cpu = s.executor.pools[0].avail_cpu_pool
    ready = sorted((o for p in s.pipes for o in p.runtime_status().get_ops(ASSIGNABLE_STATES, True)),
                   key=operator.attrgetter("pipeline.priority.value", "id"))
    out = []
    for o in ready:
        want = s.ram.get(o.id, 26)
        if cpu >= 1 and ram >= want:
            cpu, ram = cpu - 1, ram - want
            out.append(s.small(o, want))
    return [], out
