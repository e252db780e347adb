@register_scheduler_init(key="k")
def init(s):
    s.pipes, s.mem = [], {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            s.mem[r.ops[0].pipeline.pipeline_id] = min(128, 2 * r.ram)
    pool = s.executor.pools[0]
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    remaining = list(s.pipes)
    remaining.sort(key=lambda p: (p.priority.value, len(p.values)))
    for p in remaining:
        states = p.runtime_status().operator_states
        if not all(state in (OperatorState.PENDING, OperatorState.FAILED, OperatorState.COMPLETED) for state in states.values()):
            continue
        ops = [op for op, state in states.items() if state != OperatorState.COMPLETED]
        want = s.mem.get(p.pipeline_id, 40)
        if ops and cpu >= 4 and ram >= want:
            cpu, ram = cpu - 4, ram - want
            out.append(Assignment(ops, 4, want, p.priority, 0, p.pipeline_id))
    return [], out
