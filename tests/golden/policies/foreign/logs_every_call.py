import logging

log = logging.getLogger("policy")
log.addHandler(logging.NullHandler())

@register_scheduler_init(key="k")
def init(s):
    log.info("starting with %d pools", s.executor.num_pools)
    s.pipes, s.mem = [], {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    log.debug("called with %d results and %d pipelines", len(results), len(pipelines))
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            log.warning("OOM of %s with %s GB", r.container_id, r.ram)
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    cpu, ram, out = s.executor.pools[0].avail_cpu_pool, s.executor.pools[0].avail_ram_pool, []
    for p in s.pipes:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.mem.get(op.id, 21)
            if cpu >= 2 and ram >= want:
                cpu, ram = cpu - 2, ram - want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
            else:
                log.debug("no room for %s", op.id)
    return [], out
