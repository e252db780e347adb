import itertools

@register_scheduler_init(key="k")
def init(s):
    s.pipelines = []
    s.ram = {}

def candidates(s):
    for wanted in (Priority.QUERY, Priority.INTERACTIVE, Priority.BATCH_PIPELINE):
        for p in s.pipelines:
            if p.priority == wanted:
                yield from p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True)

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipelines = list(itertools.chain(s.pipelines, pipelines))
    for r in filter(lambda r: r.failed(), results):
        s.ram.update({op.id: min(r.ram * 2, 128) for op in r.ops})
    pool = s.executor.pools[0]
    cpu, ram = pool.avail_cpu_pool, pool.avail_ram_pool
    out = []
    for op in itertools.islice(candidates(s), 100):
        want = s.ram.get(op.id, 20)
        if cpu < 3 or ram < want:
            continue
        cpu, ram = cpu - 3, ram - want
        out.append(Assignment([op], 3, want, op.pipeline.priority, 0, op.pipeline.pipeline_id))
    return [], out
