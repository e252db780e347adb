"""Whether two runs of the same request decided the same."""

from __future__ import annotations

from itertools import zip_longest

from quintain.plugins.simulator import FailureKind, Outcome, PolicyFailure

# A run that ends for these stops at a point that depends on the machine, so only what both runs decided is compared.
_CUT_SHORT = (FailureKind.CPU_LIMIT, FailureKind.WALL_LIMIT)


def parting(first: Outcome, second: Outcome, how: str) -> PolicyFailure | None:
    """Where `second` parts from `first`; None if it does not. `how` says what was different about the second run."""
    cut_short = any(o.failure is not None and o.failure.kind in _CUT_SHORT for o in (first, second))
    if first.decisions_digest != second.decisions_digest:
        for number, (a, b) in enumerate(zip_longest(first.decision_log, second.decision_log), start=1):
            if a != b and not (cut_short and (a is None or b is None)):
                return _nondeterministic(f"decision {number} differs {how}: {_shown(a)} against {_shown(b)}")
        if not cut_short:
            recorded = len(first.decision_log)
            return _nondeterministic(f"the decisions differ {how}, after the first {recorded} that are recorded")
        return second.failure if first.failure is None else None
    if _ending(first) != _ending(second):
        if cut_short:
            return second.failure if first.failure is None else None
        return _nondeterministic(f"the decisions are the same {how}, but {_ending(first)} against {_ending(second)}")
    return None


def simulator_parted(first: Outcome, second: Outcome) -> int | None:
    """In which call of the policy it was told different things in the two runs after equal decisions: then it is the
    simulator that is not deterministic. None if that did not happen, or if the simulator keeps no log of it."""
    for number, (a, b) in enumerate(zip(first.told_log, second.told_log, strict=False), start=1):
        if a != b:
            return number if a.partition(" ")[2] == b.partition(" ")[2] else None
    return None


def _nondeterministic(message: str) -> PolicyFailure:
    advice = "Decide only by what the simulator shows: no clock, no hash order of sets, no unseeded randomness."
    return PolicyFailure(FailureKind.NONDETERMINISTIC, f"{message}. {advice}")


def _ending(outcome: Outcome) -> str:
    failure = outcome.failure
    if failure is None:
        return "the run ended well"
    return f"it failed ({failure.kind.value} {failure.rule} at step {failure.step})"


def _shown(decision: str | None) -> str:
    return "no decision" if decision is None else f"{decision[:200]!r}"
