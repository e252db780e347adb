import dataclasses
from dataclasses import dataclass, replace

@dataclass(frozen=True, order=True)
class Request:
    rank: int
    number: int
    ram: int = dataclasses.field(compare=False, default=20)
    op: object = dataclasses.field(compare=False, default=None)

@register_scheduler_init(key="k")
def init(s):
    s.requests = []
    s.count = 0

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        for op in p.values:
            s.count += 1
            s.requests.append(Request(p.priority.value, s.count, op=op))
    for r in results:
        if r.failed():
            for op in r.ops:
                s.count += 1
                s.requests.append(Request(r.priority.value, s.count, min(128, int(2 * r.ram)), op))
    s.requests = sorted(s.requests)
    pool = s.executor.pools[0]
    cpu, ram, out, left = pool.avail_cpu_pool, pool.avail_ram_pool, [], []
    for request in s.requests:
        ready = not [x for x in request.op.parents if x.state() != OperatorState.COMPLETED]
        if ready and cpu >= 2 and ram >= request.ram:
            cpu, ram = cpu - 2, ram - request.ram
            out.append(Assignment([request.op], 2, request.ram, request.op.pipeline.priority, 0,
                                  request.op.pipeline.pipeline_id))
        else:
            left.append(request)
    s.requests = left
    return [], out
