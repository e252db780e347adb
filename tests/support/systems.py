"""Packages for tests, and runs of them in this process: their models are this repository's."""

from __future__ import annotations

from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import Outcome, RunOptions
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_system.package_simulator import PackageSimulator

# A counter: jobs come, a policy starts them, each takes one second of one of `slots` slots.
SYSTEM = """\
name = "counter"
[config]
slots = { default = 2, min = 1 }
[inputs.job]
fields = { id = "id", seconds = { type = "float", min = 0.0, hidden = true } }
[decisions.start]
fields = { job = "ref:job" }
[events.started]
fields = { job = "ref:job" }
[events.done]
fields = { job = "ref:job" }
[observation]
free = "int"
[policy]
calls = ["job", "done"]
[invariants]
slots = { type = "capacity", acquire = "started", release = ["done"], item = "job", limit = "slots" }
started = { type = "order", first = "started", then = "done", by = "job" }
[metrics]
seconds = { type = "time", from = "job", to = ["done"], by = "job" }
done = { type = "count", of = ["done"] }
[objectives.seconds]
metric = "seconds"
direction = "minimize"
bound = "job_seconds_mean"
"""
MODEL = """\
import heapq
from quintain_system import Event, Rejected

class Model:
    def __init__(self, config, parameters, random):
        self.free = config.slots
        self.jobs = {}
        self.due = []

    def on_input(self, time, job):
        self.jobs[job.id] = job.seconds

    def on_decision(self, time, start):
        if self.free == 0:
            raise Rejected("no_slot", "every slot is taken")
        if start.job not in self.jobs:
            raise Rejected("started_twice")
        self.free -= 1
        heapq.heappush(self.due, (time, 0, start.job, self.jobs.pop(start.job)))

    def next_event_time(self):
        return self.due[0][0] if self.due else None

    def advance(self, time):
        _, done, job, seconds = heapq.heappop(self.due)
        if done:
            self.free += 1
            return [Event("done", job=job)]
        heapq.heappush(self.due, (time + seconds, 1, job, 0.0))
        return [Event("started", job=job)]

    def observe(self):
        return {"free": self.free}
"""
POLICY = '''\
"""First come, first served."""
from quintain_system import Decision

waiting = []

def decide(observation, happened):
    waiting.extend(record.id for record in happened if record.kind == "job")
    free = observation["free"]
    started, waiting[:] = waiting[:free], waiting[free:]
    return [Decision("start", job=job) for job in started]
'''
SUITE = """\
objective = "seconds"
[[scenarios]]
name = "few"
part = "train"
duration = 10.0
trace = "few.csv"
[[scenarios]]
name = "many"
part = "held_out"
duration = 20.0
seed = 3
arrivals = [{ kind = "job", rate = 2.0, fields = { seconds = { exponential = 0.8 } } }]
"""
TRACE = "time,id,seconds\n0.5,1,1.0\n0.5,2,2.0\n1.0,3,1.0\n6.0,4,1.5\n"


def package(**changed: str | None) -> dict[str, bytes]:
    """The counter's files, with `changed` ones (``model`` for model.py and so on; None: left out)."""
    files: dict[str, str | None] = {
        "system.toml": SYSTEM,
        "model.py": MODEL,
        "suite.toml": SUITE,
        "few.csv": TRACE,
        "baselines/fifo.py": POLICY,
    }
    names = {"system": "system.toml", "model": "model.py", "suite": "suite.toml", "trace": "few.csv"}
    files |= {names.get(key, key): text for key, text in changed.items()}
    return {name: text.encode() for name, text in files.items() if text is not None}


def suite_files(files: dict[str, bytes]) -> pb.SuiteFiles:
    return pb.SuiteFiles(files=[pb.File(name=name, content=content) for name, content in files.items()])


def run(simulator: PackageSimulator, scenario: str, source: str, options: RunOptions | None = None) -> Outcome:
    found, open_policy = simulator.scenario(scenario), in_process(simulator, source)
    return simulate(simulator, found, open_policy, options or RunOptions())


# The load balancer as somebody might model it who has seen its recordings only.
BALANCER_MODEL = """\
import math
from collections import deque
from quintain_system import Event, Parameter, Rejected

PARAMETERS = {
    "small_seconds": Parameter(0.01, 0.2, "s"),
    "large_seconds": Parameter(0.1, 2.0, "s"),
    "sigma": Parameter(0.1, 1.0),
    "slow": Parameter(1.0, 4.0),
}

class Model:
    def __init__(self, config, parameters, random):
        self.p = p = parameters
        self.seconds = {"small": p.small_seconds, "large": p.large_seconds}
        self.random = random
        self.waiting = [deque() for _ in range(config.servers)]
        self.busy = [False] * config.servers
        self.size = {}
        self.due = []

    def on_input(self, time, request):
        self.size[request.id] = request.size

    def on_decision(self, time, route):
        self.waiting[route.server].append(route.request)
        if not self.busy[route.server]:
            self.begin(time, route)

    def begin(self, time, request):
        self.busy[request.server] = True
        self.due.append((time, False, request.server, None))

    def next_event_time(self):
        return min(self.due)[0] if self.due else None

    def advance(self, time):
        self.due.sort()
        _, ends, server, done = self.due.pop(0)
        events = [Event("finished", request=done, server=server)] if ends else []
        if not self.waiting[server]:
            self.busy[server] = False
            return events
        request = self.waiting[server].popleft()
        seconds = self.seconds[self.size[request]] * math.exp(self.random.gauss(0.0, self.p.sigma))
        if server % 4 == 3:
            seconds *= self.p.slow
        self.due.append((time + seconds, True, server, request))
        return [*events, Event("started", request=request, server=server)]

    def observe(self):
        return {"queued": [len(w) for w in self.waiting]}
"""
