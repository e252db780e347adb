@register_scheduler_init(key="k")
def init(s):
    s.queue, s.mem, s.stats = [], {}, {"seen": 0, "last": None}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.queue.extend(pipelines)
    s.stats["seen"] += len(pipelines)
    s.stats["last"] = pipelines[-1] if pipelines else s.stats["last"]
    s.queue.sort(key=lambda p: (p.priority.value, p.runtime_status().arrival_tick))
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    s.queue[:] = [p for p in s.queue if not p.runtime_status().is_pipeline_successful()]
    pool = s.executor.pools[0]
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for p in s.queue:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.mem.get(op.id, 20)
            if cpu >= 2 and ram >= want:
                cpu, ram = cpu - 2, ram - want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
