"""One job through one window of recorded or generated availability: holds the truth and the bill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from quintain_spot_deadline.rules import NONE, ON_DEMAND, SPOT, Job, Progress

LETTERS = {NONE: "-", SPOT: "s", ON_DEMAND: "d"}


@dataclass(frozen=True, slots=True)
class Window:
    """Availability by tick (1: spot exists during the whole of it) and the job that runs through it.

    `forced`: the environment does not let a job miss its deadline without need (see `Progress.must_hurry`).
    """

    job: Job
    available: str  # one "0" or "1" a tick
    forced: bool = True


@dataclass(slots=True)
class Run:
    """What became of one job, up to its end or the policy's failure."""

    machines: str = ""  # one letter a tick: "-" none, "s" spot, "d" on-demand
    finish_tick: int | None = None  # the first tick that finds no work left; None: it never ended
    decided: list[str] = field(default_factory=list)  # what the policy asked for, tick by tick, while it was asked
    launches: int = 0
    preemptions: int = 0

    @property
    def spot_ticks(self) -> int:
        return self.machines.count("s")

    @property
    def on_demand_ticks(self) -> int:
        return self.machines.count("d")

    @property
    def waited_ticks(self) -> int:
        return self.machines.count("-")

    def cost(self, job: Job) -> float:
        """Dollars: whole ticks are billed, also where the work ends inside one and while a launch's overhead passes."""
        hours = job.gap / 3600
        return self.on_demand_ticks * (job.on_demand_price * hours) + self.spot_ticks * (job.spot_price * hours)

    def late(self, job: Job) -> bool:
        """Whether the work ended after the deadline, or never."""
        return self.finish_tick is None or self.finish_tick * job.gap > job.deadline


# (tick, whether spot exists in it) -> one of MACHINES; raises PolicyError for whatever the policy does wrong
Decide = Callable[[int, bool], str]


def run_window(window: Window, decide: Decide, run: Run) -> None:
    """Fill in `run`. The policy is asked for every tick until the work is done or the deadline leaves no choice: then
    its answers could not matter any more. A job whose window ends first stays unfinished.

    The public evaluator asks once more after the end and needs a sample for that, so a window does here too.
    """
    job, samples = window.job, window.available
    progress = Progress(job)
    hurry = False
    for tick in range(len(samples) - 1):
        available = samples[tick] == "1"
        progress.begin(available)
        if progress.last == SPOT and not available:
            run.preemptions += 1
        if progress.work_left == 0:
            run.finish_tick = tick
            return
        hurry = hurry or (window.forced and progress.must_hurry())
        if hurry:
            request = progress.hurried()
        else:
            request = decide(tick, available)
            run.decided.append(request)
        held = progress.held
        progress.run(request, available)
        run.launches += progress.last not in (NONE, held)
        run.machines += LETTERS[progress.last]
