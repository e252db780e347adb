"""Spot whenever it exists, otherwise wait; on-demand for the rest once the time has become short."""


def decide(job, now):
    ticks_needed = -(-(now.work_left + 2 * job.overhead) // job.gap) + 1
    if now.last == "on_demand" or ticks_needed >= now.time_left // job.gap:
        return "on_demand"
    return "spot" if now.spot else "none"
