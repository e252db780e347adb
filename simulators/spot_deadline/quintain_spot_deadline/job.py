"""Jobs as the public table has them, and what makes a job and a window possible at all."""

from __future__ import annotations

import math

from quintain.plugins.simulator import InvalidInput
from quintain_spot_deadline.engine import Window
from quintain_spot_deadline.rules import Job

GAP, DURATION = 600, 172_800  # seconds: ticks of ten minutes, 48 h of work
SPOT_PRICE, ON_DEMAND_PRICE = 0.9731, 3.06  # dollars an hour
DEADLINES = (187_200, 252_000)  # seconds: 52 h and 70 h
OVERHEADS = (72, 180, 360)  # seconds
MAX_SECONDS = 10**7
MAX_TICKS, MAX_OVERHEAD_TICKS = 10_000, 20
MAX_CELLS = 50_000_000  # ticks, states and steps of work left that the optimum looks at: seconds of computing


def job(
    *,
    overhead: int,
    deadline: int,
    duration: int = DURATION,
    gap: int = GAP,
    spot_price: float = SPOT_PRICE,
    on_demand_price: float = ON_DEMAND_PRICE,
) -> Job:
    """Seconds and dollars an hour; what is not given is as in the public table."""
    return Job(gap, duration, deadline, overhead, spot_price, on_demand_price)


def checked_window(place: str, window: Window) -> Window:
    """`window` itself. Raises InvalidInput, with `place`, if its job cannot be done or its series ends too early."""
    check_job(place, window.job)
    if unknown := sorted(set(window.available) - {"0", "1"}):
        raise InvalidInput(place, f"the series holds {unknown[0]!r}; a tick is 1 (spot exists) or 0 (gone)")
    needed = ticks_needed(window.job)
    if len(window.available) < needed:
        raise InvalidInput(
            place,
            f"the window of {len(window.available)} ticks is shorter than the deadline: {needed} ticks are needed"
            f" for one of {window.job.deadline} s",
        )
    return window


def check_job(place: str, job: Job) -> None:
    """Raises InvalidInput, with `place`, if the job cannot be done."""
    for name, least in (("gap", 1), ("duration", 1), ("deadline", 1), ("overhead", 0)):
        value = getattr(job, name)
        if not least <= value <= MAX_SECONDS:
            raise InvalidInput(place, f"{name} is {value} s; must be from {least} to {MAX_SECONDS}")
    _check_size(place, job)
    if job.deadline % job.gap:
        raise InvalidInput(place, f"the deadline of {job.deadline} s is no whole number of ticks of {job.gap} s")
    if job.deadline < job.duration + job.overhead:
        raise InvalidInput(
            place,
            f"the deadline of {job.deadline} s is shorter than the work and one launch:"
            f" {job.duration} + {job.overhead} s; nobody could keep it",
        )
    for name in ("spot_price", "on_demand_price"):
        price = getattr(job, name)
        if not (math.isfinite(price) and 0 < price <= 1e6):
            raise InvalidInput(place, f"{name} is {price}; must be dollars an hour, above 0")
    if job.spot_price >= job.on_demand_price:
        raise InvalidInput(
            place, f"spot costs {job.spot_price} and on-demand {job.on_demand_price}: there is no choice to make"
        )


def ticks_needed(job: Job) -> int:
    """The shortest window for a job: a forced run may be late by its launch, and a sample more is asked for."""
    return job.deadline // job.gap + 2 + -(-job.overhead // job.gap)


def _check_size(place: str, job: Job) -> None:
    """What the optimum can be computed for in reasonable time."""
    if job.deadline // job.gap > MAX_TICKS or job.overhead // job.gap > MAX_OVERHEAD_TICKS:
        raise InvalidInput(
            place,
            f"the deadline is {job.deadline // job.gap} ticks away and a launch takes {job.overhead // job.gap};"
            f" {MAX_TICKS} and {MAX_OVERHEAD_TICKS} are possible: give longer ticks",
        )
    step = math.gcd(job.gap, job.overhead, job.duration)
    spare_steps = (max(job.deadline - job.duration, 0) + job.overhead) // step
    cells = spare_steps * (job.deadline // job.gap) * (1 + 2 * max(1, -(-job.overhead // job.gap)))
    if cells > MAX_CELLS:
        raise InvalidInput(
            place,
            f"gap, overhead and duration have {step} s in common: the optimum has {cells} states; {MAX_CELLS} are"
            " possible: give rounder times or longer ticks",
        )
