class Tracker:
    __slots__ = ("op", "_ram", "attempts")

    def __init__(self, op):
        self.op = op
        self._ram = 10
        self.attempts = 0

    @property
    def ram(self):
        return min(self._ram * (2 ** self.attempts), 128)

    @property
    def ready(self):
        return all(p.state() == OperatorState.COMPLETED for p in self.op.parents) and self.op.state() in ASSIGNABLE_STATES

    def __eq__(self, other):
        return isinstance(other, Tracker) and other.op is self.op

    def __hash__(self):
        return hash(self.op)

    def __str__(self):
        return "Tracker(%s)" % self.op.id

@register_scheduler_init(key="k")
def init(s):
    s.trackers = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        for op in p.values:
            s.trackers[op.id] = Tracker(op)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.trackers[op.id].attempts += 1
    free = s.executor.pools[0].avail_ram_pool
    cores = s.executor.pools[0].avail_cpu_pool
    out = []
    for t in s.trackers.values():
        if t.ready and t.ram <= free and cores > 0:
            free -= t.ram
            cores -= 1
            out.append(Assignment([t.op], 1, t.ram, t.op.pipeline.priority, 0, t.op.pipeline.pipeline_id))
    return [], out
