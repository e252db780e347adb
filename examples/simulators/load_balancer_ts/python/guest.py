"""What runs beside a policy, in the sandbox: the servers as a balancer sees them. Standard library only.

The simulator sends this file to the verifier as `guest_source`. A message is

    {"time": microseconds, "responses": [[server, kind, microseconds, good], ...], "health": [[server, healthy], ...],
     "requests": [[kind, microseconds waited], ...]}

and its answer is the list of the servers for the requests, in order. All of it is over when the policy decides.
"""

import sys
from types import ModuleType

POLICY_FILENAME = "policy.py"
KINDS = ("small", "large")
MICROS = 1_000_000
SMOOTHING = 0.1  # weight of the newest response in `Server.latency`


class Server:
    """A server as the balancer sees it. Policies may keep attributes of their own on it."""

    def __init__(self, index, name, slots, queue):
        self.index = index
        self.name = name
        self.slots = slots  # requests that it works on at a time
        self.queue = queue  # requests that may wait there; more are refused
        self.healthy = True  # by the last health check
        self.healthy_since = 0.0  # seconds: when health checks last found it back
        self.outstanding = 0  # sent, and not answered yet
        self.sent = 0
        self.answered = 0  # good answers
        self.failed = 0  # errors: refused, or lost with the server
        self.last_failure = None  # seconds
        self.latency = None  # seconds from sending to a good answer, the newest counting a tenth; None before the first


class Request:
    def __init__(self, kind, waited):
        self.kind = kind  # "small" or "large"
        self.waited = waited  # seconds


class Balancer:
    """Policies may keep attributes of their own on it."""

    def __init__(self, servers, seed):
        self.time = 0.0  # seconds
        self.servers = [Server(index, *server) for index, server in enumerate(servers)]
        self.seed = seed  # of the scenario, for a generator of the policy's own


def _ignore(*_):
    return None


class Session:
    """One loaded policy and its balancer."""

    def __init__(self, source, setup):
        policy = ModuleType("policy")
        sys.modules["policy"] = policy  # where dataclasses and typing look for a class's module
        exec(compile(source, POLICY_FILENAME, "exec"), policy.__dict__)
        if not callable(getattr(policy, "choose", None)):
            raise TypeError("the policy must define a function choose(balancer, request)")
        self._choose = policy.choose
        self._on_response = getattr(policy, "on_response", _ignore)
        self._balancer = Balancer(setup["servers"], setup["seed"])
        getattr(policy, "start", _ignore)(self._balancer)
        self.info = {}

    def answer(self, message):
        balancer = self._balancer
        balancer.time = message["time"] / MICROS
        for index, healthy in message["health"]:
            server = balancer.servers[index]
            server.healthy = bool(healthy)
            if healthy:
                server.healthy_since = balancer.time
        for response in message["responses"]:
            self._respond(*response)
        return [self._send(KINDS[kind], waited / MICROS) for kind, waited in message["requests"]]

    def _respond(self, index, kind, micros, good):
        balancer = self._balancer
        server = balancer.servers[index]
        seconds = micros / MICROS
        server.outstanding -= 1
        if good:
            server.answered += 1
            before = seconds if server.latency is None else server.latency
            server.latency = before + SMOOTHING * (seconds - before)
        else:
            server.failed += 1
            server.last_failure = balancer.time
        self._on_response(balancer, server, KINDS[kind], seconds, bool(good))

    def _send(self, kind, waited):
        index = self._choose(self._balancer, Request(kind, waited))
        if type(index) is int and 0 <= index < len(self._balancer.servers):  # the engine says what else is wrong
            server = self._balancer.servers[index]
            server.outstanding += 1
            server.sent += 1
        return index


def load(source, setup, query):
    return Session(source, setup)
