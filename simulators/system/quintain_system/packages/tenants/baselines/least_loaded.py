"""Least loaded: a request goes to the node with the fewest requests in work, warm or not.

A new instance is started there if none has a free place. Idle instances stay for ten minutes, or until their memory is
needed; the longest unused goes first.
"""

from collections import deque

from quintain_system import Decision


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
        return self.decisions

    # -------------------------------------------------------------------------------------------------------- books

    def on_tenant(self, tenant):
        self.tenants[tenant.tenant] = tenant
        self.held[tenant.tenant] = 0

    def on_function(self, function):
        self.functions[function.function] = function
        self.at[function.function] = {}

    def on_request(self, request):
        self.requests[request.request] = request
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
        del self.requests[record.request]

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
        for node in sorted(range(len(self.free)), key=self.running.__getitem__):
            if self.free[node] < 0:
                continue  # failed
            if not self.open_on(node, of) and not self.start_on(node, of):
                continue
            open_ = self.open_on(node, of)
            instance = next((i for i in open_ if i.ready), None) or open_[0]
            instance.load += 1
            self.running[node] += 1
            self.decisions.append(Decision("place", request=request.request, node=node))
            return True
        return False

    def open_on(self, node, of):
        return [i for i in self.at[of.function].get(node, ()) if i.load < of.concurrency]

    def start_on(self, node, of):
        """Whether the node has memory for a new instance, after evictions if it must be."""
        if self.held[of.tenant] >= self.tenants[of.tenant].quota:
            return False
        free, victims = self.free[node], []
        for instance in sorted((i for i in self.idle() if i.node == node), key=self.worth):
            if free >= of.memory_mb:
                break
            free += self.functions[instance.function].memory_mb
            victims.append(instance)
        if free < of.memory_mb:
            return False
        for victim in victims:
            self.evict(victim)
        self.started(of, node)
        return True

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
