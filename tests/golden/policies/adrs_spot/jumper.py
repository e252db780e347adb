"""Changes its machine for no reason: launches, refused requests and forcing under stress."""


def decide(job, now):
    r = (now.tick**2 + 3 * now.tick + now.tick // 5) % 11
    return "none" if r < 3 else "spot" if r < 8 else "on_demand"
