import abc
import enum

class Outcome(enum.Enum):
    FITS = "fits"
    TOO_BIG = "too big"

class Base(abc.ABC):
    @abc.abstractmethod
    def size(self, op): ...

    def fits(self, op, cpu, ram):
        c, r = self.size(op)
        return Outcome.FITS if c <= cpu and r <= ram else Outcome.TOO_BIG

class Doubling(Base):
    def __init__(self, start=12):
        super().__init__()
        self.start = start
        self.known = {}

    def size(self, op):
        return 2, self.known.get(op.id, self.start)

    def learn(self, op, ram):
        self.known[op.id] = min(ram * 2, 128)

class Manager:
    def __init__(self, scheduler):
        self.scheduler = scheduler
        self.sizer = Doubling()
        self._pipelines = []

    @property
    def pool(self):
        return self.scheduler.executor.pools[0]

    @staticmethod
    def order(p):
        return p.priority.value

    def ready(self):
        for p in sorted(self._pipelines, key=self.order):
            yield from p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True)

    def run(self, results, pipelines):
        self._pipelines.extend(pipelines)
        for r in results:
            if r.failed():
                for op in r.ops:
                    self.sizer.learn(op, r.ram)
        cpu, ram = self.pool.avail_cpu_pool, self.pool.avail_ram_pool
        out = []
        for op in self.ready():
            if self.sizer.fits(op, cpu, ram) is Outcome.FITS:
                c, r = self.sizer.size(op)
                cpu -= c
                ram -= r
                out.append(Assignment([op], c, r, op.pipeline.priority, 0, op.pipeline.pipeline_id))
        return [], out

@register_scheduler_init(key="k")
def init(s):
    s.manager = Manager(s)

@register_scheduler(key="k")
def step(s, results, pipelines):
    return s.manager.run(results, pipelines)
