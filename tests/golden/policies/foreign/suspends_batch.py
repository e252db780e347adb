@register_scheduler_init(key="k")
def init(s):
    s.pipes = []
    s.mem = {}
    s.suspended = []

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    pool = s.executor.pools[0]
    cpu, ram = pool.avail_cpu_pool, pool.avail_ram_pool
    waiting_query = any(
        p.priority == Priority.QUERY and p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True)
        for p in s.pipes
    )
    suspensions = []
    if waiting_query and cpu < 4:
        for c in pool.active_containers:
            if c.priority == Priority.BATCH_PIPELINE and c.can_suspend_container():
                suspensions.append(Suspend(c.container_id, c.pool_id))
                s.suspended.append(c.container_id)
    out = []
    for priority in Priority:
        for p in [p for p in s.pipes if p.priority == priority]:
            ops = p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True)
            if priority == Priority.BATCH_PIPELINE and s.params["multi_operator_containers"]:
                ops = p.runtime_status().get_ops(ASSIGNABLE_STATES)
                ops = ops if all(o.state() == OperatorState.PENDING for o in ops) else ops[:0]
                if ops and any(x.state() != OperatorState.COMPLETED and x not in ops for o in ops for x in o.parents):
                    ops = []
            if not ops:
                continue
            want = max(s.mem.get(o.id, 26) for o in ops)
            if cpu >= 4 and ram >= want:
                cpu, ram = cpu - 4, ram - want
                out.append(Assignment(list(ops) if priority == Priority.BATCH_PIPELINE else [ops[0]], 4, want, priority, 0,
                                      p.pipeline_id))
    return suspensions, out
