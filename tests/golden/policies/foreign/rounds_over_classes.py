ORDER = [Priority.QUERY, Priority.INTERACTIVE, Priority.BATCH_PIPELINE]

@register_scheduler_init(key="k")
def init(s):
    s.q = {prio: [] for prio in ORDER}
    s.turn = 0
    s.known = {}

def pick(s):
    for i in range(len(ORDER)):
        prio = ORDER[(s.turn + i) % len(ORDER)]
        for p in s.q[prio]:
            ops = p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True)
            if ops:
                return prio, p, ops[0]
    return None

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        s.q[p.priority].append(p)
    for r in results:
        if r.failed():
            s.known[r.ops[0].id] = min(128, 2 * r.ram)
    for prio in ORDER:
        s.q[prio] = [p for p in s.q[prio] if not p.runtime_status().is_pipeline_successful()]
    found = pick(s)
    pool = s.executor.pools[0]
    if found is None:
        return [], []
    prio, p, op = found
    want = s.known.get(op.id, 30)
    if pool.avail_cpu_pool < 2 or pool.avail_ram_pool < want:
        return [], []
    s.turn += 1
    return [], [Assignment([op], 2, want, prio, 0, p.pipeline_id)]
