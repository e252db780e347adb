def make_policy(start_ram, factor):
    sizes = {}
    waiting = []

    def learn(result):
        for op in result.ops:
            sizes[op.id] = min(result.ram * factor, 128)

    def size(op):
        return sizes.get(op.id, start_ram)

    def add(pipelines):
        for p in pipelines:
            waiting.append(p)

    def plan(pool):
        cpu, ram = pool.avail_cpu_pool, pool.avail_ram_pool
        plan = []
        for p in waiting:
            for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                if cpu >= 1 and ram >= size(op):
                    cpu -= 1
                    ram -= size(op)
                    plan.append((op, size(op)))
        return plan

    return learn, add, plan

@register_scheduler_init(key="k")
def init(s):
    s.learn, s.add, s.plan = make_policy(14, 2)

@register_scheduler(key="k")
def step(s, results, pipelines):
    for r in results:
        if r.failed():
            s.learn(r)
    s.add(pipelines)
    return [], [Assignment([op], 1, ram, op.pipeline.priority, 0, op.pipeline.pipeline_id)
                for op, ram in s.plan(s.executor.pools[0])]
