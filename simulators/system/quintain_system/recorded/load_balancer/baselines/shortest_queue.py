"""The server with the fewest requests; the first of several."""

from quintain_system import Decision


def decide(observation, happened):
    queued = list(observation["queued"])
    decisions = []
    for record in happened:
        if record.kind == "request":
            server = queued.index(min(queued))
            queued[server] += 1
            decisions.append(Decision("route", request=record.id, server=server))
    return decisions
