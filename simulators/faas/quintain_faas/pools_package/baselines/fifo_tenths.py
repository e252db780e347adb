"""First come, first served, a tenth of a pool each; after running out of memory twice as much, and first in line."""

from quintain_system import Decision

SHARE = 10


class Policy:
    def __init__(self, config):
        self.config = config
        self.cpu = max(1, int(config.cpus_per_pool) // SHARE)
        self.ram = max(1, int(config.ram_gb_per_pool) // SHARE)
        self.missing = {}  # operator -> parents that are not finished
        self.children = {}
        self.given = {}  # operator -> (cpu, ram) of its next try
        self.waiting = []

    def hear(self, record):
        if record.kind == "operator":
            parents = {int(parent) for parent in (record.parents or "").split()}
            self.missing[record.operator] = parents
            for parent in parents:
                self.children.setdefault(parent, []).append(record.operator)
            if not parents:
                self.waiting.append(record.operator)
        elif record.kind == "finished":
            for child in self.children.pop(record.operator, ()):
                self.missing[child].discard(record.operator)
                if not self.missing[child]:
                    self.waiting.append(child)
        elif record.kind == "out_of_memory":
            cpu, ram = self.given[record.operator]
            most = self.config.ram_gb_per_pool
            if ram < most:
                self.given[record.operator] = (min(2 * cpu, self.config.cpus_per_pool), min(2 * ram, most))
                self.waiting.insert(0, record.operator)

    def decide(self, observation, happened):
        for record in happened:
            self.hear(record)
        free = [list(pair) for pair in zip(observation["free_cpu"], observation["free_ram"], strict=True)]
        decisions = []
        while self.waiting:
            operator = self.waiting[0]
            cpu, ram = self.given.setdefault(operator, (self.cpu, self.ram))
            pool = max(range(len(free)), key=lambda number: free[number][1])
            if cpu > free[pool][0] or ram > free[pool][1]:
                break
            self.waiting.pop(0)
            free[pool][0] -= cpu
            free[pool][1] -= ram
            decisions.append(Decision("assign", operator=operator, pool=pool, cpu=cpu, ram=ram))
        return decisions
