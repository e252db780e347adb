import heapq

class Item:
    counter = 0

    def __init__(self, rank, op):
        Item.counter += 1
        self.rank = rank
        self.seq = Item.counter
        self.op = op
        self.ram = 10

    def __lt__(self, other):
        return (self.rank, self.seq) < (other.rank, other.seq)

    def __repr__(self):
        return f"<Item {self.rank} {self.seq}>"

@register_scheduler_init(key="k")
def init(s):
    s.heap = []
    s.of = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        for op in p.values:
            s.of[op] = Item(p.priority.value, op)
            heapq.heappush(s.heap, s.of[op])
    for r in results:
        if r.failed():
            for op in r.ops:
                s.of[op].ram = min(2 * r.ram, 120)
                heapq.heappush(s.heap, s.of[op])
    pool = s.executor.pools[0]
    cpu, ram = pool.avail_cpu_pool, pool.avail_ram_pool
    out, later = [], []
    while s.heap:
        item = heapq.heappop(s.heap)
        if cpu >= 1 and ram >= item.ram and all(x.state() is OperatorState.COMPLETED for x in item.op.parents):
            cpu, ram = cpu - 1, ram - item.ram
            out.append(Assignment([item.op], 1, item.ram, item.op.pipeline.priority, 0, item.op.pipeline.pipeline_id))
        else:
            later.append(item)
    for item in later:
        heapq.heappush(s.heap, item)
    return [], out
