WEIGHTS = {"priority": -10.0, "width": 1.0, "depth": 0.5}
FEATURES = {
    "priority": lambda op: op.pipeline.priority.value,
    "width": lambda op: len(op.children),
    "depth": lambda op: len(op.parents),
}

def score(op):
    return sum(WEIGHTS[name] * feature(op) for name, feature in FEATURES.items())

@register_scheduler_init(key="k")
def init(s):
    s.pipes, s.mem = [], {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    ready = [op for p in s.pipes for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True)]
    ready.sort(key=score, reverse=True)
    cpu, ram, out = s.executor.pools[0].avail_cpu_pool, s.executor.pools[0].avail_ram_pool, []
    for op in ready:
        want = s.mem.get(op.id, 21)
        if cpu >= 2 and ram >= want:
            cpu, ram = cpu - 2, ram - want
            out.append(Assignment([op], 2, want, op.pipeline.priority, 0, op.pipeline.pipeline_id))
    return [], out
