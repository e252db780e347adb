"""The messages between the engine and the guest, both ways. Standard library only: the guest imports it.

All messages are JSON values. Everything is numbered by the engine, in an order that the guest can follow by itself:

* a *pipeline* has the number of its arrival, 0, 1, ...;
* an *operator* has a number over all pipelines, 0, 1, ..., in order of arrival and, in a pipeline, of insertion;
* a *container* has the number in its id ("c7" is 7). The containers that one decision starts are numbered pool by pool
  (ascending), inside a pool in the order of the assignments. The guest counts along, so nobody has to tell it.

**Setup** (engine -> guest, once): what a real scheduler may know before the first tick::

    {"params": {name: value}, "max_job_ticks": int, "calling_mode": "" or one of CALLING_MODES}

The guest's ``info``, of a policy that it has looked at and not yet run: ``{"calling_mode": one of CALLING_MODES,
"runs_ahead": whether the policy has provably no way to see a message}``, and ``"reason"`` with the line for which a
policy is called on every tick though nobody asked for it.

**Start** (engine -> guest, first): ``{"tick": -1, "start": true}``; the guest runs the policy's module and init
function and answers ``{"tick": -1}``. If that raises it asks ``{"failed_to_load": true}`` first; the reply is None.

**Step** (engine -> guest): what became observable since the last step, then call the policy. Keys that would be empty
are left out::

    "tick":       the tick of the (first) call
    "until":      grant: call for tick, tick + 1, ... until - 1, with nothing new after the first, and stop at the first
                  decision that is not empty (default: tick + 1). Only to a guest that runs ahead: it tells the future
    "states":     [operator * 8 + state, ...] in the order in which they happened; ASSIGNED is left out, as the guest
                  set it itself when the policy made the assignment
    "boundaries": [[container, completed operators, tick], ...] containers that may be suspended on tick + 1
    "released":   [container, ...] suspensions that came to their end
    "exits":      [[container, error or None, may be suspended (stays visible on the dead container)], ...]
    "pools":      [[pool, available cpu, available ram], ...] of the pools where they may have changed
    "finished":   [[pipeline, tick], ...]
    "arrivals":   [[pipeline id, priority 1..3, [[parent, ...] for each operator], estimates or None], ...]

The order above is the order in which a guest applies them. Exits happened on tick - 1 (a policy is always called on the
tick after an exit).

**Decision** (guest -> engine, the answer to a step)::

    "tick":        the tick at which the policy decided (or the last one granted)
    "suspensions": [[container, pool], ...]; an id that names no container stays a string
    "assignments": [[[operator, ...], cpu, ram, priority 1..3, pool], ...]; what is not a number stays a string
    "sleep":       true: repeating the call changes nothing until something observable changes (fixed_point only)
    "malformed":   what the policy returned instead of a decision; the engine rejects it

Pool -1 stands for a pool id that equals no pool: such items are counted and dropped.

**Query** (guest -> engine in the middle of a step), about `tick`, not before the last tick asked about or granted::

    {"memory": pool, "tick": tick}       -> [consumed, [memory of each active container], steady]
                                            steady: nothing in this pool grew on the last tick
    {"container": number, "tick": tick}  -> memory of a suspending or suspended container (it never changes)
    {"raised_at": tick}                  -> None; the policy raised on this tick, the exception follows
"""

from __future__ import annotations

PENDING, ASSIGNED, RUNNING, SUSPENDING, COMPLETED, FAILED = range(6)
STATE_NAMES = ("pending", "assigned", "running", "suspending", "completed", "failed")
NEXT_STATES = ((ASSIGNED,), (RUNNING, SUSPENDING, FAILED), (COMPLETED, FAILED), (PENDING,), (), (ASSIGNED,))
STATE_FACTOR = 8

SCAN_GB_PER_SECOND = 20

GUARD = "guard"
FIXED_POINT = "fixed_point"
EVERY_TICK = "every_tick"
CALLING_MODES = (GUARD, FIXED_POINT, EVERY_TICK)

OOM = "OOM"
TIMEOUT = "timeout"

NO_POOL = -1
