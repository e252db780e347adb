# Found by a search, not written by hand: seed 1 of
#   python -m benchmarks.offline --simulator spot_deadline --suite spot --evaluations 200 --seeds 5 --methods evolve
# the best of its 5 seeds on the train part of the suite `spot` (0.9703 of the optimum; held out 0.9625).
# It has never seen a run of the public table: docs/spot-deadline.md.
# genes: {"reserve_ticks": 1.2, "reserve_launches": 4.0, "waiting": "age", "kept_per_tick": 0.1, "kept_power": 1.0,
#   "dear_launches": 0.5, "young_ticks": 1, "kept_while_young": 0.71, "back": "priced", "back_launches": 2.0,
#   "back_per_tick": 0.045, "new_spot": 1.7, "proven_ticks": 10, "stop": "never", "memory": "both",
#   "recent_ticks": 72, "recent_waiting": 0.72, "recent_back": 0.76, "runs_waiting": 0.2, "runs_back": 0.2}
"""Wait for young gaps, and back to spot where it pays.

Reserve: 1.2 ticks are never waited away, nor the time of 4.0 launches.
Waiting: spare time is waited away in proportion to the time that passes, more freely while a gap is young, 0.1
    spare ticks are kept for each tick that is left, (to the power of 1.0), and by 0.5 times as many more as a
    launch takes ticks beyond a third of one, a gap is young for 1 ticks, and then 0.71 of that has to be kept.
Back: on-demand is left for spot when that is worth it: the longer spot has lasted, the sooner, with the time of
    2.0 launches to spare, and 0.045 of a launch more for each tick that is left, 1.7 times that while spot has
    just come, and less and less until it has lasted 10 ticks.
Memory: better days than average, and long stretches of spot so far, lower the thresholds, a day is the last 72
    ticks, counting 0.72 for waiting, and 0.76 for going back to spot, stretches count 0.2 for waiting, and 0.2
    for going back to spot.
"""

import math

RESERVE_TICKS = 1.2
RESERVE_LAUNCHES = 4.0
KEPT_PER_TICK = 0.1  # spare ticks, for each tick that is left
KEPT_POWER = 1.0
DEAR_LAUNCHES = 0.5
YOUNG_TICKS = 1  # so long may a gap be a short one
KEPT_WHILE_YOUNG = 0.71
BACK_LAUNCHES = 2.0
BACK_PER_TICK = 0.045  # launches, for each tick that is left
NEW_SPOT = 1.7
PROVEN_TICKS = 10
RECENT_TICKS = 72
RECENT_WAITING = 0.72
RECENT_BACK = 0.76
TYPICAL_STRETCH = 8  # ticks
RUNS_WAITING = 0.2
RUNS_BACK = 0.2


def decide(job, now):
    launch = job.overhead / job.gap  # ticks, like all that follows
    left = now.time_left / job.gap
    spare = left - now.work_left / job.gap - launch
    age = len(now.history) - len(now.history.rstrip(now.history[-1]))  # how long it has been as it is
    if now.spot:
        if now.held == "spot":
            return "spot"
        if -(-(now.work_left + 2 * job.overhead) // job.gap) >= now.time_left // job.gap:
            return "on_demand"  # a second launch would not fit any more
        if now.last == "on_demand" and spare < needed_for_spot(job, now, launch, left, age):
            return "on_demand"
        return "spot"
    reserve = RESERVE_TICKS + RESERVE_LAUNCHES * launch
    kept = kept_for_later(now, launch, left, age)
    if now.last == "on_demand":
        return "on_demand"
    return "none" if spare >= reserve + kept else "on_demand"


def kept_for_later(now, launch, left, age):
    """The spare ticks that must not be waited away in this gap."""
    kept = 400 * KEPT_PER_TICK * (max(left, 0) / 400) ** KEPT_POWER * max(0, 1 + DEAR_LAUNCHES * (launch - 0.3))
    kept *= max(0, 1 - RECENT_WAITING * (recent_share(now) - 0.5))
    kept *= max(0, 1 - RUNS_WAITING * stretch_length(now))
    return kept * KEPT_WHILE_YOUNG if age <= YOUNG_TICKS else kept


def needed_for_spot(job, now, launch, left, age):
    """The spare ticks from which on it pays to leave on-demand."""
    per_tick = BACK_PER_TICK
    per_tick *= max(0, 1 - RECENT_BACK * (recent_share(now) - 0.5))
    per_tick *= max(0, 1 - RUNS_BACK * stretch_length(now))
    saving = 1 - job.spot_price / job.on_demand_price
    needed = launch * (1 + (BACK_LAUNCHES + per_tick * left) * 0.68 / saving)
    return needed * (NEW_SPOT if age == 1 else max(0.1, 1 - age / PROVEN_TICKS))


def recent_share(now):
    """In what share of the last ticks was there spot? Half and half before anything is known."""
    seen = now.history[-RECENT_TICKS:]
    return (seen.count("1") + 3) / (len(seen) + 6)


def stretch_length(now):
    """How long stretches of spot have been so far, against the typical: above 0 longer, below 0 shorter."""
    ended = now.history.count("10")
    current = len(now.history) - len(now.history.rstrip("1"))
    mean = (now.history.count("1") - current + 3 * TYPICAL_STRETCH) / (ended + 3)
    return math.log(mean / TYPICAL_STRETCH)
