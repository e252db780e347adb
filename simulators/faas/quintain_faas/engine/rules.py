"""The rules that a decision can break, and how a broken rule is reported."""

from __future__ import annotations

from quintain.plugins.simulator import FailureKind, PolicyError, PolicyFailure

RULES = {
    "malformed_decision": "A policy returns a pair of lists: suspensions (Suspend) and assignments (Assignment).",
    "too_many_items": "One decision holds at most as many items as there are operators, and a hundred thousand.",
    "not_a_number": "An assignment's cpu and ram are finite ints or floats.",
    "not_positive": "An assignment's cpu and ram are above zero.",
    "unknown_priority": "An assignment's priority is a Priority.",
    "unknown_operator": "An assignment's operators are operators of pipelines that have arrived.",
    "no_operators": "An assignment has at least one operator.",
    "one_operator_per_container": "With multi_operator_containers off, an assignment has exactly one operator.",
    "operator_not_assignable": "Only a pending or failed operator can be assigned, and only once.",
    "dependencies_not_satisfied": "An operator starts only when all its parents have completed.",
    "illegal_transition": "An operator's states follow the state machine.",
    "over_allocated_cpu": "The assignments to a pool hold no more cpu together than the pool has available.",
    "over_allocated_ram": "Without memory overcommit, the assignments to a pool hold no more ram together than it has.",
    "unknown_container": "A suspension names a container that is active in the pool it names.",
    "container_not_suspendable": "A container can be suspended only on the tick after one of its operators completed.",
    "container_suspended_twice": "A decision suspends a container once.",
    "operator_takes_no_tick": "The last operator of a container takes at least one tick with the cpu it is given.",
    "duration_not_finite": "An operator's duration is finite with the cpu it is given.",
}


def rejected(rule: str, message: str) -> PolicyError:
    """The error for a broken rule; the loop adds step and time. Rules are stable names, see RULES."""
    return PolicyError(PolicyFailure(FailureKind.REJECTED, f"{message}. {RULES[rule]}", rule=rule))


def protocol_violation(message: str) -> PolicyError:
    return PolicyError(PolicyFailure(FailureKind.PROTOCOL, message))
