"""Requests that were given up before anybody could say what they cost: a provider takes its time to stop a batch."""

from __future__ import annotations

from dataclasses import replace

from quintain_controller.domain.machine.messages import LookedUp
from quintain_controller.domain.model import Candidate, Charge
from quintain_controller.domain.planner import answered

# What such a request cost is looked up again after as long as the search has ended, and after this at the least; no
# more after this long: no provider works on a batch for more than a day.
_AGAIN_SECONDS, _FOR_SECONDS = 60.0, 25 * 3600.0


class LateCharges:
    """Of one search that ended at `ended_at` (seconds since 1970), if it had when its owner took it."""

    def __init__(self, ended_at: float | None) -> None:
        self._ended_at = ended_at
        self._missing: dict[int, Candidate] = {}
        self._to_ask: set[int] = set()  # of them, not yet by this owner
        self._asked: set[int] = set()  # under way

    def restored(self, candidate: Candidate) -> None:
        """An owner before this one gave it up: this one asks once, when the search has ended."""
        self._missing[candidate.number] = candidate
        self._to_ask.add(candidate.number)

    def given_up(self, candidate: Candidate) -> None:
        """By this owner, who has just asked."""
        self._missing[candidate.number] = candidate

    def ask(self) -> list[int]:
        """Whom to look up now."""
        asked = sorted(self._to_ask)
        self._asked |= self._to_ask
        self._to_ask.clear()
        return asked

    def asked(self, number: int) -> bool:
        return number in self._asked

    @property
    def asking(self) -> bool:
        return bool(self._asked)

    def found(self, found: LookedUp, assume_usd_nano: int | None) -> Candidate | None:
        """The candidate with what it cost; None if that is still not known."""
        self._asked.remove(found.number)
        candidate = self._missing[found.number]
        if found.generation is not None:
            charge = answered(candidate, found.generation, assume_usd_nano).charge
        elif found.known:  # the generator never saw it
            charge = Charge()
        else:
            return None
        del self._missing[found.number]
        return replace(candidate, late_charge=charge.with_tools_of(candidate.charge))

    def look_again_at(self, now: float) -> float | None:
        """In seconds since 1970; None if nothing is to be known any more, or it has been too long."""
        if not self._missing:
            return None
        age = max(0.0, now - self._ended_at) if self._ended_at is not None else 0.0
        return now + max(_AGAIN_SECONDS, age) if age < _FOR_SECONDS else None
