@register_scheduler_init(key="k")
def init(s):
    class Box:
        def __init__(self):
            self.items = []

        def put(self, item):
            self.items.append(item)
            return self

        def __len__(self):
            return len(self.items)

        def __iter__(self):
            return iter(self.items)

        def __contains__(self, item):
            return item in self.items

        def __getitem__(self, i):
            return self.items[i]

    s.box = Box()
    s.ram = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        if p not in s.box:
            s.box.put(p)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.ram[op.id] = min(128, r.ram * 2)
    if len(s.box) == 0:
        return [], []
    first = s.box[0]
    pool = s.executor.pools[0]
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for p in s.box:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.ram.get(op.id, 20 if p is first else 22)
            if cpu >= 1 and ram >= want:
                cpu, ram = cpu - 1, ram - want
                out.append(Assignment([op], 1, want, p.priority, 0, p.pipeline_id))
    return [], out
