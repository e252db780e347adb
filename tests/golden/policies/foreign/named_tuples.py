from typing import NamedTuple, List
from collections import namedtuple

class Entry(NamedTuple):
    priority: int
    op: object
    ram: int

Size = namedtuple("Size", "cpu ram")
DEFAULT = Size(2, 16)

@register_scheduler_init(key="k")
def init(s):
    s.entries: List[Entry] = []

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        s.entries += [Entry(p.priority.value, op, DEFAULT.ram) for op in p.values]
    for r in results:
        if r.failed():
            s.entries.extend(Entry(r.priority.value, op, int(min(r.ram * 2, 128))) for op in r.ops)
    pool = s.executor.pools[0]
    size = Size(pool.avail_cpu_pool, pool.avail_ram_pool)
    out, rest = [], []
    for e in s.entries:
        ok = all(x.state() == OperatorState.COMPLETED for x in e.op.parents)
        if ok and size.cpu >= DEFAULT.cpu and size.ram >= e.ram:
            size = size._replace(cpu=size.cpu - DEFAULT.cpu, ram=size.ram - e.ram)
            out.append(Assignment([e.op], DEFAULT.cpu, e.ram, e.op.pipeline.priority, 0, e.op.pipeline.pipeline_id))
        else:
            rest.append(e)
    s.entries = sorted(rest, key=lambda e: e.priority)
    return [], out
