"""Hybrid histogram keep-alive (Shahrad et al., USENIX ATC 2020): each function stays as long as its own idle times say.

Of each function the times between its requests are counted in bins. Once they are known well enough, its instances go
at once if the next request will not come soon, one is started again before it is likely to, and stays until it is
unlikely to still come; until then they stay as long as the histogram reaches. Time series (the paper's third case) are
left out. Placement is as with the fixed keep-alive.
"""

from collections import deque

from quintain_system import Decision

BIN_SECONDS, BINS = 10.0, 60
HEAD, TAIL, MARGIN = 0.05, 0.99, 0.1  # shares of the idle times below the window's ends; how far the ends are moved out
KNOWN = 5  # idle times
CALLED_EVERY = 10.0  # seconds between calls without a request
VARIED = 2.0  # a histogram whose bins vary less (standard deviation / mean) says nothing


class Instance:
    def __init__(self, function, node):
        self.function, self.node = function, node
        self.number = None  # known after the call that starts it
        self.ready, self.load, self.used = False, 0, 0.0  # load: requests that work or wait on it


class Policy:
    def __init__(self, config):
        self.functions, self.tenants = {}, {}
        self.waiting = {}  # function -> deque of requests, oldest first
        self.requests = {}  # those that are not answered
        self.instances = {}  # number -> Instance
        self.at = {}  # function -> {node: [Instance, oldest first]}
        self.held = {}  # tenant -> instances
        self.bins = {}  # function -> idle times in each bin; the last: longer than all of them
        self.quiet_since = {}  # function -> when the last of its requests was answered, if none is there
        self.open = {}  # function -> requests that are not answered
        self.kept = {}  # function -> seconds
        self.start_at = {}  # function -> when an instance should be started again

    def decide(self, observation, happened):
        self.now, self.free = observation["time"], list(observation["free_mb"])
        self.running = list(observation["running"])
        for record in happened:
            note = getattr(self, "on_" + record.kind, None)
            if note is not None:
                note(record)
        self.decisions = []
        for function in sorted(self.waiting, key=lambda f: self.waiting[f][0].time):
            queue = self.waiting[function]
            while queue and self.serve(queue[0], self.functions[function]):
                queue.popleft()
            if not queue:
                del self.waiting[function]
        for function in {r.function: None for r in happened if r.kind == "request"}:
            start, keep = self.window(function)
            self.keep(function, 0.0 if start > 0 else keep)
        for function in [f for f, at in self.start_at.items() if at <= self.now + CALLED_EVERY]:
            del self.start_at[function]
            self.start_again(self.functions[function])
        return self.decisions

    # ------------------------------------------------------------------------------------------------- keep-alive

    def window(self, function):
        """(seconds after the last answer to start an instance at, 0 to keep the one there is; seconds to keep it)"""
        counts = self.bins[function]
        seen, mean = sum(counts), sum(counts) / len(counts)
        spread = (sum((c - mean) ** 2 for c in counts) / len(counts)) ** 0.5
        if seen < KNOWN or counts[BINS] > seen / 2 or spread < VARIED * mean:
            return 0.0, BINS * BIN_SECONDS
        head = self.quantile(counts, HEAD * seen) * BIN_SECONDS * (1 - MARGIN)
        tail = (self.quantile(counts, TAIL * seen) + 1) * BIN_SECONDS * (1 + MARGIN)
        return (head, tail - head) if head > 2 * CALLED_EVERY else (0.0, tail)

    @staticmethod
    def quantile(counts, rank):
        """The bin with the idle time of this rank."""
        for number, count in enumerate(counts):
            rank -= count
            if rank <= 0:
                return number
        return BINS

    def keep(self, function, seconds):
        if self.kept.get(function) != seconds:
            self.kept[function] = seconds
            self.decisions.append(Decision("keep_alive", function=function, seconds=seconds))

    def start_again(self, of):
        if self.at[of.function] or self.held[of.tenant] >= self.tenants[of.tenant].quota:
            return
        node = max(range(len(self.free)), key=self.free.__getitem__)
        if self.free[node] >= of.memory_mb:
            self.keep(of.function, self.window(of.function)[1])
            self.started(of, node)
            self.decisions.append(Decision("warm", function=of.function, node=node))

    # -------------------------------------------------------------------------------------------------------- books

    def on_tenant(self, tenant):
        self.tenants[tenant.tenant] = tenant
        self.held[tenant.tenant] = 0

    def on_function(self, function):
        self.functions[function.function] = function
        self.at[function.function] = {}
        self.bins[function.function] = [0] * (BINS + 1)
        self.open[function.function] = 0

    def on_request(self, request):
        self.requests[request.request] = request
        self.open[request.function] += 1
        self.start_at.pop(request.function, None)
        if request.function in self.quiet_since:
            idle = request.time - self.quiet_since.pop(request.function)
            self.bins[request.function][min(BINS, int(idle / BIN_SECONDS))] += 1
        self.waiting.setdefault(request.function, deque()).append(request)

    def on_instance(self, record):
        new = self.at[record.function][record.node]
        instance = next(i for i in new if i.number is None)
        instance.number = record.instance
        self.instances[record.instance] = instance

    def on_ready(self, record):
        self.instances[record.instance].ready = True
        self.instances[record.instance].used = record.time

    def on_finished(self, record):
        instance = self.instances[record.instance]
        instance.load -= 1
        instance.used = record.time
        request = self.requests.pop(record.request)
        self.open[request.function] -= 1
        if not self.open[request.function]:
            self.quiet_since[request.function] = record.time
            start, _ = self.window(request.function)
            if start > 0:
                self.start_at[request.function] = record.time + start

    def on_interrupted(self, record):
        request = self.requests[record.request]
        self.waiting.setdefault(request.function, deque()).appendleft(request)

    def on_gone(self, record):
        if record.instance in self.instances:
            self.forget(self.instances.pop(record.instance))

    def forget(self, instance):
        nodes = self.at[instance.function]
        nodes[instance.node].remove(instance)
        if not nodes[instance.node]:
            del nodes[instance.node]
        self.held[self.functions[instance.function].tenant] -= 1

    # ---------------------------------------------------------------------------------------------------- decisions

    def serve(self, request, of):
        """Whether there is a place for the request now."""
        node = self.with_place(of, ready=True)
        if node is None:
            node = self.with_place(of, ready=False)
        if node is None:
            node = self.room_for(of)
            if node is None:
                return False
            self.started(of, node)
        places = self.at[of.function][node]
        open_ = [i for i in places if i.load < of.concurrency]
        instance = next((i for i in open_ if i.ready), None) or open_[0]
        instance.load += 1
        self.running[node] += 1
        self.decisions.append(Decision("place", request=request.request, node=node))
        return True

    def with_place(self, of, ready):
        """The node with the fewest requests in work that has such an instance with a free place."""
        nodes = [
            node
            for node, instances in self.at[of.function].items()
            if any(i.ready == ready and i.load < of.concurrency for i in instances)
        ]
        return min(nodes, key=self.running.__getitem__, default=None)

    def room_for(self, of):
        """A node with memory for a new instance, after evictions if it must be; None if there is none."""
        if self.held[of.tenant] >= self.tenants[of.tenant].quota:
            return None
        node = max(range(len(self.free)), key=self.free.__getitem__)
        if self.free[node] >= of.memory_mb:
            return node
        freed, chosen = {}, {}
        for instance in sorted(self.idle(), key=self.worth):
            node = instance.node
            freed[node] = freed.get(node, self.free[node]) + self.functions[instance.function].memory_mb
            chosen.setdefault(node, []).append(instance)
            if freed[node] >= of.memory_mb:
                for victim in chosen[node]:
                    self.evict(victim)
                return node
        return None

    def idle(self):
        return [i for i in self.instances.values() if i.ready and not i.load]

    def worth(self, instance):
        return instance.used

    def evict(self, instance):
        del self.instances[instance.number]
        self.forget(instance)
        self.free[instance.node] += self.functions[instance.function].memory_mb
        self.decisions.append(Decision("evict", instance=instance.number))

    def started(self, of, node):
        self.at[of.function].setdefault(node, []).append(Instance(of.function, node))
        self.held[of.tenant] += 1
        self.free[node] -= of.memory_mb
