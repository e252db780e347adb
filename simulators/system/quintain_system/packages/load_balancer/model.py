import heapq
from collections import deque

from quintain_system import Event, Rejected


class Model:
    def __init__(self, config, parameters, random):
        self.waiting = [deque() for _ in range(config.servers)]
        self.busy = [False] * config.servers
        self.speed = [0.5 if i % config.slow_every == config.slow_every - 1 else 1.0 for i in range(config.servers)]
        self.unrouted = {}
        self.due = []

    def on_input(self, time, request):
        self.unrouted[request.id] = request.work

    def on_decision(self, time, route):
        if route.request not in self.unrouted:
            raise Rejected("routed_twice", f"request {route.request} was routed already")
        self.waiting[route.server].append((route.request, self.unrouted.pop(route.request)))
        if not self.busy[route.server]:
            self.busy[route.server] = True
            heapq.heappush(self.due, (time, 0, route.server, None))

    def next_event_time(self):
        return self.due[0][0] if self.due else None

    def advance(self, time):
        _, _, server, done = heapq.heappop(self.due)
        events = []
        if done is not None:
            self.waiting[server].popleft()
            events.append(Event("finished", request=done, server=server))
        if self.waiting[server]:
            request, work = self.waiting[server][0]
            heapq.heappush(self.due, (time + work / self.speed[server], 1, server, request))
            events.append(Event("started", request=request, server=server))
        else:
            self.busy[server] = False
        return events

    def observe(self):
        return {"queued": [len(queue) for queue in self.waiting]}
