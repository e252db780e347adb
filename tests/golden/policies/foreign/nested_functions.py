@register_scheduler_init(key="k")
def init(s):
    s.all = []
    s.ram = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    def note_failures():
        for r in results:
            if r.error is not None:
                for op in r.ops:
                    s.ram[op.id] = min(r.ram * 2, 128)

    def ready():
        found = []

        def visit(p):
            found.extend(p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True))

        for p in s.all:
            visit(p)
        return found

    free = {"cpu": s.executor.pools[0].avail_cpu_pool, "ram": s.executor.pools[0].avail_ram_pool}

    def fits(cpu, ram):
        nonlocal free
        if free["cpu"] < cpu or free["ram"] < ram:
            return False
        free = {"cpu": free["cpu"] - cpu, "ram": free["ram"] - ram}
        return True

    note_failures()
    s.all.extend(pipelines)
    return [], [Assignment([op], 2, s.ram.get(op.id, 22), op.pipeline.priority, 0, op.pipeline.pipeline_id)
                for op in ready() if fits(2, s.ram.get(op.id, 22))]
