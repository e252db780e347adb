@register_scheduler_init(key="k")
def init(s):
    s.pipes = []
    s.table = {}

def size_of(s, op):
    match s.table.get(op.id):
        case None:
            return 17
        case int() | float() as known if known > 128:
            return 128
        case known:
            return known

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        s.pipes.append(p)
    for r in results:
        match r.error:
            case "OOM":
                for op in r.ops:
                    s.table[op.id] = r.ram * 2
            case None | "timeout":
                pass
    pool = s.executor.pools[0]
    free = [pool.avail_cpu_pool, pool.avail_ram_pool]
    out = []
    for p in s.pipes:
        match p.priority:
            case Priority.QUERY:
                cpu = 3
            case _:
                cpu = 2
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            if (want := size_of(s, op)) <= free[1] and cpu <= free[0]:
                free = [free[0] - cpu, free[1] - want]
                out.append(Assignment([op], cpu, want, p.priority, 0, p.pipeline_id))
    return [], out
