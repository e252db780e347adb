"""The trusted side: the truth, the clock and the score.

* `loop`: one run, from tick to tick; which ticks matter, when the policy is called
* `pool`: one pool on one tick: suspensions, assignments, work, killers, exits
* `container`: an operator's timing and memory while it runs
* `memory`: the exact running sum of a pool's memory
* `state`: operators and pipelines, their state machine
* `decisions`, `rules`: a policy's word, checked
* `outbox`: what the next message tells the guest
* `collector`: statistics, timeline
"""
