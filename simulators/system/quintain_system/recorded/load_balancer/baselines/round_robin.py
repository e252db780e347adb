"""One server after the other, whatever their queues."""

from quintain_system import Decision


class Policy:
    def __init__(self, config):
        self.servers = config.servers
        self.next = 0

    def decide(self, observation, happened):
        decisions = []
        for record in happened:
            if record.kind == "request":
                decisions.append(Decision("route", request=record.id, server=self.next))
                self.next = (self.next + 1) % self.servers
        return decisions
