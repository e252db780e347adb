"""Requests of many tenants' functions, with the marginals that public traces publish: docs/tenants.md says which figure
comes from which source. All of it is drawn from one seed."""

import heapq
import itertools
import math

from quintain_system import Record

# Tenants take turns: weight of a request, and seconds within which it should be answered beyond twice its
# function's usual work.
TIERS = ((4, 0.5), (2, 1.0), (1, 3.0))
WORK_MEDIAN, WORK_SIGMA, WORK_MOST = 0.7, 1.3, 30.0  # seconds, over functions
WORK_NOISE = 0.5  # sigma of one function's requests
MEMORY_MEDIAN, MEMORY_SIGMA, MEMORY_LEAST = 170.0, math.log(400 / 170) / 1.2816, 32  # MB: 90 % below 400
IMAGE_MEDIAN, IMAGE_SIGMA = 300.0, 0.7  # MB
INIT_MEDIAN, INIT_SIGMA, INIT_MOST = 0.5, 0.8, 10.0  # seconds
CONCURRENCY = (1, 1, 1, 2, 4)
TIMER_PERIODS = (60.0, 120.0, 300.0)
BURST_SECONDS, QUIET_SECONDS = 10.0, 90.0  # means; a bursty function is called in bursts alone
CHAIN_SECONDS = 0.5  # mean, from a request to the one that follows from it
OUTAGE_SECONDS = (30.0, 180.0)


class Function:
    def __init__(self, number, tenant, config, random):
        self.number, self.tenant = number, tenant
        self.weight, patience = TIERS[tenant % len(TIERS)]
        memory = MEMORY_MEDIAN * random.lognormvariate(0.0, MEMORY_SIGMA) * config.memory_factor
        self.memory_mb = min(config.node_memory_mb, max(MEMORY_LEAST, round(memory)))
        self.image_mb = round(IMAGE_MEDIAN * random.lognormvariate(0.0, IMAGE_SIGMA))
        self.init_seconds = round(min(INIT_MOST, INIT_MEDIAN * random.lognormvariate(0.0, INIT_SIGMA)), 3)
        self.concurrency = random.choice(CONCURRENCY)
        self.work = min(WORK_MOST, WORK_MEDIAN * random.lognormvariate(0.0, WORK_SIGMA) * config.work_factor)
        self.objective_seconds = round(2.0 * self.work + patience, 3)
        kind = random.random()
        self.timer = kind < config.timers
        self.bursty = config.timers <= kind < config.timers + config.bursts
        self.period = random.choice(TIMER_PERIODS)
        self.rate = 1.0 / self.period  # requests per second; the others' comes from their popularity

    def peak(self, config):
        """Requests per second when it is busiest."""
        swing = 1.0 if self.timer else 1.0 + config.daily
        return self.rate * swing * ((BURST_SECONDS + QUIET_SECONDS) / BURST_SECONDS if self.bursty else 1.0)


def inputs(config, random, duration):
    functions = made_functions(config, random)
    yield from introductions(config, functions)
    numbers = itertools.count()
    for time, kind, about in heapq.merge(
        calls(functions, config, random, duration), outages(config, random, duration), key=lambda entry: entry[0]
    ):
        if kind != "request":
            yield time, Record(kind, node=about)
            continue
        f = functions[about]
        work = min(WORK_MOST, f.work * random.lognormvariate(-(WORK_NOISE**2) / 2, WORK_NOISE))
        yield (
            time,
            Record(
                "request",
                request=next(numbers),
                function=f.number,
                tenant=f.tenant,
                weight=f.weight,
                objective_seconds=f.objective_seconds,
                work=round(work, 4),
            ),
        )


def made_functions(config, random):
    """Every tenant has one; who has more of the others is as uneven as their popularity."""
    tenants = list(range(config.tenants))
    sizes = [1.0 / (rank + 1) for rank in tenants]
    owners = tenants + random.choices(tenants, sizes, k=max(0, config.functions - config.tenants))
    functions = [Function(n, tenant, config, random) for n, tenant in enumerate(owners[: config.functions])]
    called = [f for f in functions if not f.timer]
    random.shuffle(called)
    shares = [(rank + 1) ** -config.popularity for rank in range(len(called))]
    for f, share in zip(called, shares, strict=True):
        f.rate = config.requests_per_second * share / sum(shares)
    return functions


def introductions(config, functions):
    for tenant in range(config.tenants):
        owned = [f for f in functions if f.tenant == tenant]
        # One instance of each of its functions, and half more than its requests keep at work when it is busiest.
        quota = max(2, len(owned) + math.ceil(1.5 * sum(f.peak(config) * f.work for f in owned)))
        yield 0.0, Record("tenant", tenant=tenant, weight=TIERS[tenant % len(TIERS)][0], quota=quota)
    for f in functions:
        yield (
            0.0,
            Record(
                "function",
                function=f.number,
                tenant=f.tenant,
                memory_mb=f.memory_mb,
                image_mb=f.image_mb,
                init_seconds=f.init_seconds,
                concurrency=f.concurrency,
                objective_seconds=f.objective_seconds,
            ),
        )


def calls(functions, config, random, duration):
    """(time, "request", function) in order of time: each function's own, and those that follow from others."""
    siblings = {}
    for f in functions:
        siblings.setdefault(f.tenant, []).append(f.number)
    own = [times(f, config, random, duration) for f in functions]
    due = []  # heap of (time, function, whether it is the function's own)
    for number, of in enumerate(own):
        push_next(due, number, of)
    while due:
        time, number, is_own = heapq.heappop(due)
        yield round(time, 6), "request", number
        if is_own:
            push_next(due, number, own[number])
        later = time + random.expovariate(1.0 / CHAIN_SECONDS)
        if random.random() < config.chains and later < duration:
            heapq.heappush(due, (later, random.choice(siblings[functions[number].tenant]), False))


def push_next(due, number, times):
    for time in itertools.islice(times, 1):
        heapq.heappush(due, (time, number, True))


def times(f, config, random, duration):
    if f.timer:
        time = random.uniform(0.0, f.period)
        while time < duration:
            yield time
            time += f.period
    elif f.bursty:
        dense = f.rate * (BURST_SECONDS + QUIET_SECONDS) / BURST_SECONDS
        begin = random.expovariate(1.0 / QUIET_SECONDS)
        while begin < duration:
            end = min(duration, begin + random.expovariate(1.0 / BURST_SECONDS))
            yield from daily(dense, begin, end, config, random, duration)
            begin = end + random.expovariate(1.0 / QUIET_SECONDS)
    else:
        yield from daily(f.rate, 0.0, duration, config, random, duration)


def daily(rate, begin, end, config, random, duration):
    """A Poisson process whose rate swings once over the run: quiet at both ends, busy in the middle."""
    peak = rate * (1.0 + config.daily)
    time = begin
    while True:
        time += random.expovariate(peak)
        if time >= end:
            return
        if random.random() * peak < rate * (1.0 - config.daily * math.cos(2.0 * math.pi * time / duration)):
            yield time


def outages(config, random, duration):
    """(time, "node_failed" or "node_back", node) in order of time."""
    found = []
    for _ in range(config.failures):
        begin = random.uniform(0.1, 0.8) * duration
        node = random.randrange(config.nodes)
        end = min(duration, begin + random.uniform(*OUTAGE_SECONDS))
        found += [(round(begin, 6), "node_failed", node), (round(end, 6), "node_back", node)]
    return sorted(found)
