"""Whether the whole of the train scenarios is worth running: a look at one of each kind first.

For candidates that are of use only if they are better than their parent (constants changed by a free backend). What is
worse than the parent on one scenario of each kind, or decides there as an earlier candidate does, is not run on the
others: it gets no score, and its line says why. That a look may be wrong is measured (docs/measurements.md): it can
cost a small gain, it never makes one up.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from quintain_controller.domain.crossval import kinds
from quintain_controller.domain.model import PartScore, Screen, VerdictStatus, Verification

_ON_WHAT = "on one scenario of each kind"


def screen_scenarios(train: Sequence[str]) -> tuple[str, ...]:
    """The first of each kind; none where there are fewer than three kinds, or it would be all of them."""
    first = tuple(kind[0] for kind in kinds(train))
    return first if 3 <= len(first) < len(train) else ()


def screen_for(train: Sequence[str], parent: PartScore) -> Screen | None:
    """The look at a candidate that is to be better than `parent`; None if everything is to be run at once."""
    scenarios = screen_scenarios(train)
    return Screen(scenarios, _mean(parent.values, scenarios)) if scenarios else None


def behavior(train: Sequence[str], decisions: Mapping[str, str]) -> str:
    """Digest of the decisions on what a look is taken at; empty if there is none, or one of them did not run."""
    parts = [decisions.get(name, "") for name in screen_scenarios(train)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32] if parts and all(parts) else ""


def refusal(screen: Screen, seen: Verification, parent: int, twin: int | None) -> str:
    """Why the rest is not run; empty if it is. `twin`: an earlier candidate that decided the same."""
    if twin is not None and seen.status is VerdictStatus.OK:
        return f"the same decisions as candidate {twin} {_ON_WHAT}"
    worse = f"worse than candidate {parent} {_ON_WHAT}"
    if seen.status is VerdictStatus.STOPPED_EARLY:
        return worse
    if seen.status is not VerdictStatus.OK or seen.train is None:
        return ""  # it fails: the whole run says how
    mean = _mean(seen.train.values, screen.scenarios)
    return f"{worse} ({mean:.4f}, it has {screen.to_reach:.4f})" if mean < screen.to_reach else ""


def _mean(values: Mapping[str, float], scenarios: Sequence[str]) -> float:
    return math.fsum(values[name] for name in scenarios) / len(scenarios)
