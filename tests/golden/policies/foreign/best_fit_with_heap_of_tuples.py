from heapq import heappush, heappop

@register_scheduler_init(key="k")
def init(scheduler):
    scheduler.heap = []
    scheduler.tie = 0
    scheduler.hints = {}

@register_scheduler(key="k")
def step(scheduler, results, pipelines):
    for pipeline in pipelines:
        for op in pipeline.values:
            scheduler.tie += 1
            heappush(scheduler.heap, (pipeline.priority.value, scheduler.tie, op))
    for result in results:
        if result.failed():
            for op in result.ops:
                scheduler.tie += 1
                scheduler.hints[op.id] = min(result.ram * 2, 128)
                heappush(scheduler.heap, (0, scheduler.tie, op))
    deferred, assignments = [], []
    free = {p.pool_id: [p.avail_cpu_pool, p.avail_ram_pool] for p in scheduler.executor.pools}
    while scheduler.heap:
        entry = heappop(scheduler.heap)
        _, _, op = entry
        want = scheduler.hints.get(op.id, 18)
        fitting = [i for i, (c, r) in free.items() if c >= 1 and r >= want]
        if not fitting or any(x.state() != OperatorState.COMPLETED for x in op.parents):
            deferred.append(entry)
            continue
        best = min(fitting, key=lambda i: free[i][1] - want)
        free[best][0] -= 1
        free[best][1] -= want
        assignments.append(Assignment([op], 1, want, op.pipeline.priority, best, op.pipeline.pipeline_id))
    for entry in deferred:
        heappush(scheduler.heap, entry)
    return [], assignments
