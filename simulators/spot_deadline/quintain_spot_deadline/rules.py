"""The rules of one job on its way: pure integer arithmetic, standard library only.

The engine computes the truth with them, and the guest the mirror that a policy sees, so that the two cannot differ by
anything but what a policy did to its own process. Times are whole seconds; a tick is `Job.gap` of them. Spot exists or
is gone for whole ticks.
"""

from __future__ import annotations

from typing import NamedTuple

NONE, SPOT, ON_DEMAND = "none", "spot", "on_demand"
MACHINES = (NONE, SPOT, ON_DEMAND)


class Job(NamedTuple):
    """What never changes during a run. Seconds, and dollars an hour."""

    gap: int
    duration: int
    deadline: int
    overhead: int  # lost at every launch before work goes on
    spot_price: float
    on_demand_price: float


class Progress:
    """One job on its way. Each tick: `begin(available)`, then `run(request, available)`.

    `last` is the machine of the tick before (still ``spot`` when it has just been preempted), `held` the machine that
    is alive now. `overhead_left` and `work_left` in seconds.
    """

    __slots__ = ("held", "job", "last", "overhead_left", "tick", "work_left")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tick = 0
        self.work_left = job.duration
        self.overhead_left = 0
        self.last = NONE
        self.held = NONE

    def begin(self, available: bool) -> None:
        """Spot may have vanished; the tick before is accounted for: its overhead first, then work."""
        last = self.last
        if last != NONE:
            gap = self.job.gap
            useful = gap - self.overhead_left
            if useful < 0:
                useful = 0
            self.overhead_left -= gap - useful
            self.work_left -= useful if useful < self.work_left else self.work_left
        self.held = NONE if last == SPOT and not available else last

    def must_hurry(self) -> bool:
        """Whether the deadline leaves no choice: the whole ticks left are not more than those that are needed, a launch
        included. Once true it stays true to the end of the work."""
        job = self.job
        ticks_left = (job.deadline - self.tick * job.gap) // job.gap
        ticks_needed = -(-(self.work_left + job.overhead) // job.gap)
        return self.work_left > 0 and ticks_needed >= ticks_left

    def hurried(self) -> str:
        """What runs when the deadline leaves no choice, whatever the policy wants."""
        return SPOT if self.last == SPOT and self.overhead_left == 0 else ON_DEMAND

    def run(self, request: str, available: bool) -> None:
        """Let the tick pass with `request` (one of MACHINES): spot that does not exist is none."""
        if request == SPOT and not available:
            request = NONE
        if request not in (NONE, self.held):
            self.overhead_left = self.job.overhead
        self.last = request
        self.tick += 1
