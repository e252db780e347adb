"""The notebook of a search: what candidates were expected to do, what they did, and which of that is worth repeating.

An entry is a function of one recorded candidate, and which entries are told of the recorded candidates before: a replay
makes the same notebook.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import replace

from quintain_controller.domain.model import Candidate, PartScore, Prediction, VerdictStatus

MOST_LESSONS = 16
LESSON_CHARACTERS = 400
_LATEST = 4  # told whatever they are worth
_NOTHING = 0.001  # a change of a normalised value that is none
_HELD_SHARE = 0.5  # of the predicted change, for a prediction to be true
_ENOUGH = 0.05  # of a gain or a surprise: more of it, as over a poor seed policy, says no more
_FAILED_WORTH = 0.02
_SHOWN = 3  # scenarios that moved most, where nothing was predicted of them; candidates that failed alike
_REASONS = 5  # why candidates failed, that are told
_REASONS_COUNTED = 200
_REASON_CHARACTERS = 200


def compared(candidate: Candidate, train: PartScore | None, parent: Candidate | None) -> Candidate:
    """The candidate with its change against its first parent, and its predictions with what was measured."""
    if parent is None or train is None or parent.train is None or parent.status is not VerdictStatus.OK:
        return candidate
    moves = {
        name: value - parent.train.values[name] for name, value in train.values.items() if name in parent.train.values
    }
    change = train.normalized - parent.train.normalized
    return replace(
        candidate,
        change=change,
        moves=dict(sorted(moves.items(), key=lambda move: (-abs(move[1]), move[0]))[:_SHOWN]),
        predictions=tuple(
            replace(p, measured=moves.get(p.scenario) if p.scenario else change) for p in candidate.predictions
        ),
    )


def outcome_of(prediction: Prediction) -> str:
    """ "true", "partly" or "false"; empty if nothing was measured."""
    predicted, measured = prediction.change, prediction.measured
    if measured is None:
        return ""
    if abs(predicted) < _NOTHING:
        return "true" if abs(measured) < _NOTHING else "false"
    if predicted * measured <= 0.0 or abs(measured) < _NOTHING:
        return "false"
    return "true" if abs(measured) >= _HELD_SHARE * abs(predicted) else "partly"


def lesson(candidate: Candidate) -> str:
    """An entry as one line: what was claimed, predicted and measured."""
    plan = candidate.plan
    origin = f" from #{plan.parents[0]}" if plan else ""
    head = f"#{candidate.number}{origin}: "
    if candidate.status is not VerdictStatus.OK or candidate.train is None:
        tail = f" It failed: {candidate.rule or candidate.summary}"
    elif candidate.change is None:
        tail = " Its parent had failed, this did not."
    else:
        parts = [_said(p) for p in candidate.predictions]
        foretold = {p.scenario for p in candidate.predictions}
        moved = [f"{name} {change:+.3f}" for name, change in candidate.moves.items() if name not in foretold]
        if moved and abs(max(candidate.moves.values(), key=abs)) >= _NOTHING:
            parts.append(f"moved most: {', '.join(moved)}")
        if "" not in foretold:
            parts.append(f"mean {candidate.change:+.4f}")
        tail = f" {'; '.join(parts)[:1].upper()}{'; '.join(parts)[1:]}."
    tail = textwrap.shorten(tail, LESSON_CHARACTERS // 2, placeholder=" ...")
    claim = textwrap.shorten(candidate.hypothesis, LESSON_CHARACTERS - len(head) - len(tail) - 2, placeholder=" ...")
    return f"{head}{claim.rstrip('.')}. {tail}"


def _said(prediction: Prediction) -> str:
    where = prediction.scenario or "mean"
    if prediction.measured is None:
        return f"predicted {where} {prediction.change:+.3f}, not measured"
    return f"predicted {where} {prediction.change:+.3f}, measured {prediction.measured:+.3f}: {outcome_of(prediction)}"


class Failures:
    """Why candidates failed, by the rule that they broke or else by what was said. Not thread safe."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[int]] = {}
        self._said: dict[str, str] = {}

    def tell(self, candidate: Candidate) -> None:
        """A candidate that failed, in the order of numbers."""
        why = candidate.rule or candidate.summary
        if why in self._numbers or len(self._numbers) < _REASONS_COUNTED:
            self._numbers.setdefault(why, []).append(candidate.number)
            self._said[why] = textwrap.shorten(candidate.summary, _REASON_CHARACTERS, placeholder=" ...")

    def texts(self) -> tuple[str, ...]:
        """The most frequent reasons, each with the latest that failed so and what was said of the last of them."""
        frequent = sorted(self._numbers.items(), key=lambda item: (-len(item[1]), item[0]))[:_REASONS]
        return tuple(
            f"{len(numbers)} failed so ({', '.join(f'#{n}' for n in numbers[-_SHOWN:])}): {self._said[why]}"
            for why, numbers in frequent
        )


class Notebook:
    """Which entries the next request carries. Not thread safe."""

    def __init__(self) -> None:
        self._worth: dict[int, float] = {}
        self._texts: dict[int, str] = {}
        self._by_claim: dict[str, int] = {}  # of equal claims the latest is told

    def tell(self, candidate: Candidate) -> None:
        """A result, in the order of numbers."""
        if not candidate.hypothesis or candidate.status is VerdictStatus.NONE:
            return
        claim = re.sub(r"\W+", " ", candidate.hypothesis).casefold().strip()
        if (before := self._by_claim.get(claim)) is not None:
            del self._worth[before], self._texts[before]
        self._by_claim[claim] = candidate.number
        self._worth[candidate.number] = _worth(candidate)
        self._texts[candidate.number] = lesson(candidate)

    def texts(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """The entries, each one line."""
        return tuple(self._texts[number] for number in numbers)

    def chosen(self) -> tuple[int, ...]:
        """The latest, and of the others those that are worth most; in order of number."""
        numbers = sorted(self._worth)
        latest = numbers[-_LATEST:]
        others = sorted(numbers[:-_LATEST], key=lambda n: (-self._worth[n], -n))
        return tuple(sorted([*latest, *others[: MOST_LESSONS - len(latest)]]))


def _worth(candidate: Candidate) -> float:
    """What gained much, and what came otherwise than predicted."""
    if candidate.change is None:
        return _FAILED_WORTH
    surprises = [abs(p.change - p.measured) for p in candidate.predictions if p.measured is not None]
    return min(_ENOUGH, max(0.0, candidate.change)) + min(_ENOUGH, max(surprises, default=0.0))
