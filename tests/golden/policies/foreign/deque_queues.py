from collections import deque, OrderedDict

@register_scheduler_init(key="k")
def init(s):
    s.queues = OrderedDict((p, deque()) for p in (Priority.QUERY, Priority.INTERACTIVE, Priority.BATCH_PIPELINE))
    s.need = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        s.queues[p.priority].append(p)
    for r in results:
        if r.error == "OOM":
            for op in r.ops:
                s.need[op.id] = min(r.ram * 2, 128)
    pool = s.executor.pools[0]
    free_cpu = pool.avail_cpu_pool
    free_ram = pool.avail_ram_pool
    out = []
    for priority, queue in s.queues.items():
        for _ in range(len(queue)):
            p = queue.popleft()
            if p.runtime_status().is_pipeline_successful():
                continue
            queue.append(p)
            for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                need = s.need.get(op.id, 16)
                if free_cpu >= 4 and free_ram >= need:
                    free_cpu -= 4
                    free_ram -= need
                    out.append(Assignment([op], 4, need, priority, 0, p.pipeline_id))
    return [], out
