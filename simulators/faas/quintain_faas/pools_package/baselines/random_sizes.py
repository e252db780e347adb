"""In random order and in random sizes, other ones at each try: bad, and so it shows what others never try.

Every amount is as likely as one twice as large. Half of the tries are between the most memory that was too little for
an operator of the same class and the least that was enough, and the class that had the fewest tries is first: what is
just enough is soon known closely, for a rare class too."""

import math
import random
from collections import Counter

from quintain_system import Decision

SMALLEST, LARGEST = 1 / 64, 1 / 3  # of a pool


class Policy:
    def __init__(self, config):
        self.config = config
        self.random = random.Random(1)
        self.missing = {}  # operator -> parents that are not finished
        self.children = {}
        self.given = {}  # operator -> (cpu, ram) of its next try
        self.waiting = []
        self.priority = {}  # pipeline -> its class
        self.kind = {}  # operator -> its class
        self.too_little, self.enough = {}, {}  # class -> GB
        self.tries = Counter()  # by class

    def hear(self, record):
        if record.kind == "pipeline":
            self.priority[record.pipeline] = record.priority
        elif record.kind == "operator":
            self.kind[record.operator] = self.priority[record.pipeline]
            parents = {int(parent) for parent in (record.parents or "").split()}
            self.missing[record.operator] = parents
            for parent in parents:
                self.children.setdefault(parent, []).append(record.operator)
            if not parents:
                self.waiting.append(record.operator)
        elif record.kind == "finished":
            kind, ram = self.kind[record.operator], self.given[record.operator][1]
            self.enough[kind] = min(ram, self.enough.get(kind, ram))
            for child in self.children.pop(record.operator, ()):
                self.missing[child].discard(record.operator)
                if not self.missing[child]:
                    self.waiting.append(child)
        elif record.kind == "out_of_memory":
            kind, ram = self.kind[record.operator], self.given[record.operator][1]
            self.too_little[kind] = max(ram, self.too_little.get(kind, ram))
            if ram < self.config.ram_gb_per_pool:
                self.given[record.operator] = self.size(record.operator, more_than=ram)
                self.waiting.append(record.operator)

    def size(self, operator, more_than=0.0):
        config, kind = self.config, self.kind[operator]
        least = max(more_than, SMALLEST * config.ram_gb_per_pool)
        most = min(config.ram_gb_per_pool, max(3 * more_than, LARGEST * config.ram_gb_per_pool))
        low, high = max(least, self.too_little.get(kind, 0.0)), self.enough.get(kind, 0.0)
        if low < high and self.random.random() < 0.5:
            least, most = low, high
        cpu = self.between(SMALLEST * config.cpus_per_pool, LARGEST * config.cpus_per_pool)
        return cpu, self.between(least, most)

    def between(self, least, most):
        """A multiple of 1/4, more than `least`."""
        return (math.floor(4 * least * (most / least) ** self.random.random()) + 1) / 4

    def decide(self, observation, happened):
        for record in happened:
            self.hear(record)
        free = [list(pair) for pair in zip(observation["free_cpu"], observation["free_ram"], strict=True)]
        self.random.shuffle(self.waiting)
        self.waiting.sort(key=lambda operator: self.tries[self.kind[operator]])
        decisions = []
        while self.waiting:
            operator = self.waiting[0]
            cpu, ram = self.given.setdefault(operator, self.size(operator))
            pool = max(range(len(free)), key=lambda number: free[number][1])
            if cpu > free[pool][0] or ram > free[pool][1]:
                break
            self.waiting.pop(0)
            self.tries[self.kind[operator]] += 1
            free[pool][0] -= cpu
            free[pool][1] -= ram
            decisions.append(Decision("assign", operator=operator, pool=pool, cpu=cpu, ram=ram))
        return decisions
