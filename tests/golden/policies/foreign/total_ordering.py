import functools
import heapq

@functools.total_ordering
class Ticket:
    def __init__(self, op, seq):
        self.op = op
        self.key = (op.pipeline.priority.value, seq)

    def __lt__(self, other):
        return self.key < other.key

    def __eq__(self, other):
        return self.key == other.key

@register_scheduler_init(key="k")
def init(s):
    s.tickets = []
    s.seq = 0
    s.ram = {}

@functools.lru_cache(maxsize=None)
def rounded(ram):
    return min(128, int(ram))

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        for op in p.values:
            s.seq += 1
            heapq.heappush(s.tickets, Ticket(op, s.seq))
    for r in results:
        if r.failed():
            for op in r.ops:
                s.ram[op.id] = rounded(r.ram * 2)
                s.seq += 1
                heapq.heappush(s.tickets, Ticket(op, s.seq))
    cpu, ram = s.executor.pools[0].avail_cpu_pool, s.executor.pools[0].avail_ram_pool
    out, chosen = [], []
    for t in heapq.nsmallest(50, s.tickets):
        want = rounded(s.ram.get(t.op.id, 20))
        if all(x.state() is OperatorState.COMPLETED for x in t.op.parents) and cpu >= 2 and ram >= want:
            cpu, ram = cpu - 2, ram - want
            out.append(Assignment([t.op], 2, want, t.op.pipeline.priority, 0, t.op.pipeline.pipeline_id))
            chosen.append(t)
    if chosen:
        s.tickets = [t for t in s.tickets if t not in chosen]
        heapq.heapify(s.tickets)
    return [], out
