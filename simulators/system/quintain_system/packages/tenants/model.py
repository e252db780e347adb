"""Multi-tenant functions on worker nodes: image pulls, runtime starts, warm instances, shared cores, failures.

Requests on a node share its cores evenly. A node's clock of work runs at the speed that each request gets, so that a
change of speed moves the next finish only, and a request is done when that clock has advanced by its work.
"""

import heapq
from collections import OrderedDict, deque

from quintain_system import Event, Rejected


class Instance:
    __slots__ = ("end_at", "function", "gone", "idle_since", "node", "number", "queue", "ready", "running")

    def __init__(self, number, function, node):
        self.number, self.function, self.node = number, function, node
        self.ready = self.gone = False
        self.running = 0
        self.queue = deque()  # requests that wait for it to start
        self.idle_since = None
        self.end_at = None  # when the calendar looks at it next


class Request:
    __slots__ = ("cold", "function", "instance", "number", "waits", "work")

    def __init__(self, given):
        self.number, self.function, self.work = given.request, given.function, given.work
        self.waits, self.cold, self.instance = True, False, None


class Node:
    __slots__ = ("active", "clock", "epoch", "failed", "free_mb", "image_mb", "images", "instances", "since", "speed")

    def __init__(self, memory_mb, time=0.0, epoch=0):
        self.free_mb = memory_mb
        self.instances = {}  # function -> [Instance], oldest first
        self.images = OrderedDict()  # function -> (MB, when it is there), least recently used first
        self.image_mb = 0
        self.failed = False
        self.active = []  # heap of (clock at which it is done, request's number)
        self.clock, self.since, self.speed = 0.0, time, 1.0
        self.epoch = epoch  # of the finish that is due; an older one in the calendar means nothing


class Model:
    def __init__(self, config, parameters, random):
        self.config = config
        self.nodes = [Node(config.node_memory_mb) for _ in range(config.nodes)]
        self.tenants, self.functions = {}, {}
        self.requests = {}  # not yet answered
        self.instances = {}  # not yet gone
        self.started = 0  # instances so far
        self.keep = {}  # function -> seconds
        self.held = {}  # tenant -> instances
        self.waiting = {}  # function -> requests that are not placed, if there are any
        self.calendar = []  # heap of (time, order, method, its arguments)
        self.order = 0
        self.now = 0.0
        self.said = []  # events of now

    # ------------------------------------------------------------------------------------------------------- inputs

    def on_input(self, time, given):
        self.now = time
        getattr(self, f"on_{given.kind}")(given)

    def on_tenant(self, tenant):
        self.tenants[tenant.tenant] = tenant
        self.held[tenant.tenant] = 0

    def on_function(self, function):
        self.functions[function.function] = function

    def on_request(self, request):
        self.requests[request.request] = made = Request(request)
        self.wait(made)

    def on_node_failed(self, given):
        node = self.nodes[given.node]
        if node.failed:
            return
        lost = [self.requests[number] for _, number in sorted(node.active)]
        for instance in [i for group in node.instances.values() for i in group]:
            lost.extend(instance.queue)
            self.drop(instance)
        self.nodes[given.node] = Node(self.config.node_memory_mb, self.now, node.epoch + 1)
        self.nodes[given.node].failed = True
        for request in lost:
            request.cold, request.instance = False, None
            self.wait(request)
            self.said.append(Event("interrupted", request=request.number))

    def on_node_back(self, given):
        self.nodes[given.node].failed = False

    def wait(self, request):
        request.waits = True
        self.waiting[request.function] = self.waiting.get(request.function, 0) + 1

    def wait_no_more(self, request):
        request.waits = False
        self.waiting[request.function] -= 1
        if not self.waiting[request.function]:
            del self.waiting[request.function]

    # ---------------------------------------------------------------------------------------------------- decisions

    def on_decision(self, time, decision):
        self.now = time
        getattr(self, decision.kind)(decision)

    def place(self, decision):
        request, number = self.waiting_request(decision.request), decision.node
        node = self.up(number)
        limit = self.functions[request.function].concurrency
        instances = node.instances.get(request.function, ())
        for instance in instances:
            if instance.ready and instance.running < limit:
                break
        else:
            starting = (i for i in instances if not i.ready and len(i.queue) < limit)
            instance = next(starting, None) or self.start(request.function, number)
            request.cold = True
        self.wait_no_more(request)
        if request.cold:
            instance.queue.append(request)
        else:
            self.begin(request, instance)

    def warm(self, decision):
        self.start(decision.function, decision.node)

    def keep_for(self, function):
        return self.keep.get(function, self.config.keep_alive_seconds)

    def keep_alive(self, decision):
        self.keep[decision.function] = decision.seconds
        for node in self.nodes:
            for instance in node.instances.get(decision.function, ()):
                if instance.idle_since is not None:
                    self.look_at(instance)

    def evict(self, decision):
        instance = self.instances.get(decision.instance)
        if instance is None:
            raise Rejected("instance_gone", f"instance {decision.instance} is gone already")
        if instance.idle_since is None:
            raise Rejected("instance_busy", f"instance {decision.instance} is starting or at work")
        self.drop(instance)

    def refuse(self, decision):
        request = self.waiting_request(decision.request)
        del self.requests[request.number]
        self.wait_no_more(request)
        self.said.append(Event("refused", request=request.number))

    def waiting_request(self, number):
        request = self.requests.get(number)
        if request is None or not request.waits:
            raise Rejected("request_not_waiting", f"request {number} is {'placed' if request else 'answered'} already")
        return request

    def up(self, number):
        if self.nodes[number].failed:
            raise Rejected("node_failed", f"node {number} is failed")
        return self.nodes[number]

    # ----------------------------------------------------------------------------------------------------- instances

    def start(self, function, number):
        node, of = self.up(number), self.functions[function]
        if of.memory_mb > node.free_mb:
            raise Rejected(
                "no_memory",
                f"an instance of function {function} needs {of.memory_mb} MB, node {number} has {node.free_mb} MB free",
            )
        quota = self.tenants[of.tenant].quota
        if self.held[of.tenant] >= quota:
            raise Rejected("over_quota", f"tenant {of.tenant} has its {quota} instances already")
        self.started += 1
        instance = self.instances[self.started] = Instance(self.started, function, number)
        self.held[of.tenant] += 1
        node.free_mb -= of.memory_mb
        node.instances.setdefault(function, []).append(instance)
        self.said.append(
            Event("instance", instance=instance.number, function=function, node=number, memory_mb=of.memory_mb)
        )
        seconds = self.config.runtime_seconds + of.init_seconds + self.pull(node, function, of.image_mb)
        self.plan(self.now + seconds, self.on_ready, instance)
        return instance

    def pull(self, node, function, size_mb):
        """Seconds until the node has the image; one that is on its way is not pulled a second time."""
        if function in node.images:
            node.images.move_to_end(function)
            return max(0.0, node.images[function][1] - self.now)
        seconds = size_mb / self.config.pull_mb_per_second
        if size_mb <= self.config.image_cache_mb:
            while node.image_mb + size_mb > self.config.image_cache_mb:
                node.image_mb -= node.images.popitem(last=False)[1][0]
            node.images[function] = (size_mb, self.now + seconds)
            node.image_mb += size_mb
        return seconds

    def on_ready(self, instance):
        if instance.gone:
            return
        instance.ready = True
        self.said.append(Event("ready", instance=instance.number))
        while instance.queue:
            self.begin(instance.queue.popleft(), instance)
        if not instance.running:
            self.idle(instance)

    def idle(self, instance):
        instance.idle_since = self.now
        self.look_at(instance)
        self.room(instance)

    def look_at(self, instance):
        """Plan to end it once it has been idle for long enough. At most one plan counts: the earliest."""
        due = max(self.now, instance.idle_since + self.keep_for(instance.function))
        if instance.end_at is None or due < instance.end_at:
            instance.end_at = due
            self.plan(due, self.on_end, instance, due)

    def on_end(self, instance, planned):
        if instance.gone or instance.end_at != planned:
            return
        instance.end_at = None
        if instance.idle_since is None:
            return
        if instance.idle_since + self.keep_for(instance.function) > self.now:
            self.look_at(instance)
        else:
            self.drop(instance)
            self.room(instance)

    def drop(self, instance):
        instance.gone = True
        del self.instances[instance.number]
        node, of = self.nodes[instance.node], self.functions[instance.function]
        group = node.instances[instance.function]
        group.remove(instance)
        if not group:
            del node.instances[instance.function]
        node.free_mb += of.memory_mb
        self.held[of.tenant] -= 1
        self.said.append(Event("gone", instance=instance.number))

    def room(self, instance):
        """Something is free that was not. Said only while a request waits that may use it: one of the same function,
        or, if all of the instance is free or gone, one whose tenant may have more instances then."""
        if instance.function in self.waiting:
            self.said.append(Event("room", node=instance.node))
        elif instance.gone or instance.idle_since is not None:
            own = self.functions[instance.function].tenant
            tenants = {self.functions[function].tenant for function in self.waiting}
            if any(tenant == own or self.held[tenant] < self.tenants[tenant].quota for tenant in tenants):
                self.said.append(Event("room", node=instance.node))

    # ---------------------------------------------------------------------------------------------------------- work

    def begin(self, request, instance):
        request.instance = instance
        instance.running += 1
        instance.idle_since = None
        node = self.nodes[instance.node]
        self.tick(node)
        heapq.heappush(node.active, (node.clock + request.work, request.number))
        self.said.append(Event("started", request=request.number, instance=instance.number, cold=request.cold))
        self.set_speed(instance.node)

    def tick(self, node):
        node.clock += (self.now - node.since) * node.speed
        node.since = self.now

    def set_speed(self, number):
        """The number of requests in work has changed: so have their speed, and when the next one is done."""
        node, cores = self.nodes[number], self.config.node_cores
        count = len(node.active)
        node.epoch += 1
        if count:
            crowd = max(0.0, count / cores - 0.5)
            node.speed = min(1.0, cores / count) / (1.0 + self.config.contention * crowd)
            left = max(0.0, node.active[0][0] - node.clock)
            self.plan(self.now + left / node.speed, self.on_finish, number, node.epoch)

    def on_finish(self, number, epoch):
        node = self.nodes[number]
        if node.epoch != epoch:
            return
        self.tick(node)
        done, first = heapq.heappop(node.active)
        node.clock = max(node.clock, done)
        instance = self.requests.pop(first).instance
        instance.running -= 1
        self.said.append(Event("finished", request=first, instance=instance.number))
        self.set_speed(number)
        if instance.running:
            self.room(instance)
        else:
            self.idle(instance)

    # ------------------------------------------------------------------------------------------------------ calendar

    def plan(self, time, method, *arguments):
        self.order += 1
        heapq.heappush(self.calendar, (time, self.order, method, arguments))

    def next_event_time(self):
        if self.said:
            return self.now
        return self.calendar[0][0] if self.calendar else None

    def advance(self, time):
        self.now = time
        while self.calendar and self.calendar[0][0] <= time:
            _, _, method, arguments = heapq.heappop(self.calendar)
            method(*arguments)
        events, self.said = self.said, []
        return events

    def observe(self):
        return {
            "free_mb": [-1 if node.failed else node.free_mb for node in self.nodes],
            "running": [len(node.active) for node in self.nodes],
        }
