@register_scheduler_init(key="k")
def init(s):
    s.todo = []
    s.mem = {}
    print("ready", s.params["num_pools"])

@register_scheduler(key="k")
def step(s, results, pipelines):
    assert isinstance(results, list), "results"
    assert s.executor.num_pools >= 1
    s.todo.extend(pipelines)
    for r in results:
        assert r.pool_id is not None
        if r.failed():
            print("failed", r.container_id)
            for op in r.ops:
                s.mem[op.id] = min(2 * r.ram, 128)
    out = []
    for pool in s.executor.pools:
        cpu, ram = pool.avail_cpu_pool, pool.avail_ram_pool
        assert cpu >= 0 and ram >= 0, (cpu, ram)
        for p in s.todo:
            for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                need = s.mem.get(op.id, 25)
                if cpu >= 2 and ram >= need:
                    cpu -= 2
                    ram -= need
                    out.append(Assignment(ops=[op], cpu=2, ram=need, priority=p.priority, pool_id=pool.pool_id,
                                          pipeline_id=p.pipeline_id))
    print(f"assigning {len(out)}", end="\n")
    return [], out
