"""How the system behaves: inputs and decisions in, events out. It runs jailed, with the standard library alone."""

import heapq

from quintain_system import Event, Rejected


class Model:
    def __init__(self, config, parameters, random):
        self.free = config.workers
        self.waiting = {}  # job -> seconds of work
        self.due = []  # (time, order, job, whether it ends): what happens next by itself

    def on_input(self, time, job):
        self.waiting[job.id] = job.seconds

    def on_decision(self, time, start):
        if start.job not in self.waiting:
            raise Rejected("started_twice", f"job {start.job} is not waiting")
        if self.free == 0:
            raise Rejected("no_worker", "every worker has a job")
        self.free -= 1
        heapq.heappush(self.due, (time, 0, start.job, False))

    def next_event_time(self):
        return self.due[0][0] if self.due else None

    def advance(self, time):
        _, _, job, ends = heapq.heappop(self.due)
        if ends:
            self.free += 1
            return [Event("finished", job=job)]
        heapq.heappush(self.due, (time + self.waiting.pop(job), 1, job, True))
        return [Event("started", job=job)]

    def observe(self):
        return {"free": self.free}
