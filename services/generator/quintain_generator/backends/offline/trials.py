"""What the run's digest says of changes to policies that no grammar made: this backend's own lines, read back.

A place of a policy is a line and what stands there. Lines stay what they are while constants are swept, so that what
was learned of a policy's ancestor holds for it as well.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from quintain.plugins.backend import Attempt, Example

_LINE = re.compile(r"(?P<parent>\w+) with (?P<changes>\S+ -> \S+ \(line \d+\)(?:; \S+ -> \S+ \(line \d+\))*)\.?$")
_CHANGE = re.compile(r"(\S+) -> (\S+) \(line (\d+)\)")
_SAME = "the same decisions as"  # how a search says that a change made no difference where it was looked at
_AT_RANDOM = 0.2  # of the sweeps go either way, whatever is known
_HELPED, _INERT = 3.0, 4.0  # how much more a place is worth that helped, and how many vain trials one without effect is


@dataclass(frozen=True, slots=True)
class Trial:
    """A change of one place that was tried, alone or with others: what stood at the line, what then, and the gain in
    score over the parent, greater is better; 0 for a change that made no difference."""

    line: int
    old: str
    new: str
    gain: float

    @property
    def upwards(self) -> bool | None:
        """None: it is no number."""
        try:
            return float(self.new) > float(self.old)
        except ValueError:
            return None


def read_trials(history: Sequence[Attempt], parent: Example, best_score: float | None) -> list[Trial]:
    """The trials that the digest tells of, the oldest first. `best_score` tells which way scores are better: nothing is
    beyond it. A change that failed is worse than any that ran."""
    scores = {a.candidate_id: a.score for a in history if a.score is not None}
    if parent.score is not None:
        scores[parent.candidate_id] = parent.score
    sign = -1.0 if best_score is not None and any(score > best_score for score in scores.values()) else 1.0
    trials: list[Trial] = []
    for attempt in history:
        line = _LINE.search(attempt.summary)
        if line is None or line["parent"] not in scores:
            continue
        if attempt.score is not None:
            gain = sign * (attempt.score - scores[line["parent"]])
        else:  # not run to the end: it decided as another did, or was worse
            gain = 0.0 if made_no_difference(attempt) else -1.0
        trials += [Trial(int(number), old, new, gain) for old, new, number in _CHANGE.findall(line["changes"])]
    return trials


def made_no_difference(attempt: Attempt) -> bool:
    """Whether the search says of an attempt that it decided as an earlier one, and did not run it to the end."""
    return attempt.summary.startswith(_SAME)


class KnownPlace:
    """What trials say of a place."""

    def __init__(self, trials: Sequence[Trial], line: int, code: str) -> None:
        self._from_here = [t for t in trials if t.line == line and t.old == code]
        self._to_here = [t for t in trials if t.line == line and t.new == code and t.gain > 0.0]

    @property
    def interest(self) -> float:
        """How much there is to expect from changing it."""
        vain = sum(_INERT if trial.gain == 0.0 else 1.0 for trial in self._from_here if trial.gain <= 0.0)
        helped = bool(self._to_here) or any(trial.gain > 0.0 for trial in self._from_here)
        return (_HELPED if helped else 1.0) / (1.0 + vain)

    def direction(self, rng: random.Random) -> bool | None:
        """Whether to go up; None where nothing is known of it."""
        if rng.random() < _AT_RANDOM:
            return None
        helped = [t.upwards for t in (*self._to_here, *self._from_here) if t.gain > 0.0]
        if helped:
            return helped[-1]
        vain = {t.upwards for t in self._from_here if t.gain < 0.0}
        return not vain.pop() if len(vain) == 1 and None not in vain else None
