class _Config:
    _instance = None

    def __new__(cls):
        if cls._instance is None:
            cls._instance = super().__new__(cls)
            cls._instance.ram = 20
        return cls._instance

class Policy:
    def __init__(self, s):
        self.s = s
        self.config = _Config()
        self.queue = []
        self.need = {}

    @classmethod
    def of(cls, s):
        if not hasattr(s, "_policy"):
            s._policy = cls(s)
        return s._policy

    def decide(self, results, pipelines):
        self.queue.extend(pipelines)
        for r in results:
            if r.failed():
                for op in r.ops:
                    self.need[op.id] = min(128, 2 * r.ram)
        pool = self.s.executor.pools[0]
        cpu, ram = pool.avail_cpu_pool, pool.avail_ram_pool
        made = []
        for p in self.queue:
            for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                want = self.need.get(op.id, _Config().ram)
                if cpu >= 2 and ram >= want:
                    cpu -= 2
                    ram -= want
                    made.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
        return [], made

@register_scheduler_init(key="k")
def init(s):
    Policy.of(s)

@register_scheduler(key="k")
def step(s, results, pipelines):
    return Policy.of(s).decide(results, pipelines)
