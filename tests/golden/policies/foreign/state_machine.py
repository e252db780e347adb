class Machine:
    TRANSITIONS = {"idle": "filling", "filling": "full", "full": "idle"}

    def __init__(self):
        self.state = "idle"
        self.pipes = []
        self.mem = {}

    def __call__(self, s, results, pipelines):
        handler = getattr(self, "on_" + self.state)
        self.pipes.extend(pipelines)
        for r in results:
            if r.failed():
                self.mem.update({op.id: min(128, 2 * r.ram) for op in r.ops})
        return handler(s)

    def on_idle(self, s):
        self.state = "filling" if self.pipes else "idle"
        return self.fill(s)

    def on_filling(self, s):
        out = self.fill(s)
        self.state = "full" if s.executor.pools[0].avail_cpu_pool < 2 else "filling"
        return out

    def on_full(self, s):
        self.state = "filling" if s.executor.pools[0].avail_cpu_pool >= 2 else "full"
        return self.fill(s)

    def fill(self, s):
        pool = s.executor.pools[0]
        cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
        for p in self.pipes:
            for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                want = self.mem.get(op.id, 16)
                if cpu >= 2 and ram >= want:
                    cpu, ram = cpu - 2, ram - want
                    out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
        return [], out

@register_scheduler_init(key="k")
def init(s):
    s.machine = Machine()

@register_scheduler(key="k")
def step(s, results, pipelines):
    return s.machine(s, results, pipelines)
