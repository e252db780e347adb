"""Work done in proportion to time: spot where it exists, on-demand when behind, and on until well ahead."""


def decide(job, now):
    if ticks_needed(job, now) >= now.time_left // job.gap:  # near the end: nothing that could be lost
        return "spot" if now.spot and now.last == "spot" else "on_demand"
    if now.last == "on_demand" and behind(job, now, 2 * job.overhead):
        return "on_demand"  # not back to spot before two launches are worked off
    if now.spot:
        return "spot"
    return "on_demand" if behind(job, now, 0) else "none"


def ticks_needed(job, now):
    """For the rest of the work with two launches, and one tick to be safe."""
    return -(-(now.work_left + 2 * job.overhead) // job.gap) + 1


def behind(job, now, margin):
    """Is less done than the share of the deadline that has passed, `margin` seconds of work apart?"""
    return (now.work_done - margin) * job.deadline < job.duration * now.elapsed
