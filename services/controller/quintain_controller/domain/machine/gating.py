"""The gates of a search that is about to end: what they need next, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping

from quintain_controller.domain.events import GateProgress
from quintain_controller.domain.model import Candidate
from quintain_controller.domain.promotion import (
    MOST_TRIES,
    GateAnswer,
    GateCheck,
    LoadCandidates,
    Needed,
    Promotion,
    Steps,
)

_WORD_SECONDS = 10.0  # gates may take minutes


class Gating:
    """They may be stopped at any time, and begin anew when all is told again."""

    def __init__(self) -> None:
        self._steps: Steps[Promotion] | None = None
        self._need: Needed | None = None
        self._said = 0.0  # when their progress was said last
        self.reason = ""  # of the end that they prepare

    @property
    def running(self) -> bool:
        return self._steps is not None

    def begin(self, steps: Steps[Promotion], reason: str) -> None:
        self._steps, self.reason = steps, reason

    def stop(self) -> None:
        self._steps = self._need = None

    def step(self, answer: GateAnswer) -> Needed | Promotion:
        """What they need after this answer (None at their beginning), or what they have decided: then they are over."""
        assert self._steps is not None, "they were begun"
        try:
            self._need = self._steps.send(answer)
        except StopIteration as end:
            promotion: Promotion = end.value
            self.stop()
            return promotion
        return self._need

    def waits_for(self, candidates: Mapping[int, Candidate]) -> bool:
        """Whether these are the candidates that they need: else they are for gates that were stopped."""
        return isinstance(self._need, LoadCandidates) and set(self._need.numbers) == set(candidates)

    def checking(self, check: GateCheck, now: float) -> GateProgress:
        self._said = now
        return GateProgress(check.gate, check.number, check.tried, MOST_TRIES)

    def progressed(self, done: int, total: int, now: float) -> GateProgress | None:
        """Said now and then."""
        if not isinstance(self._need, GateCheck) or now - self._said < _WORD_SECONDS:
            return None
        self._said = now
        return GateProgress(self._need.gate, self._need.number, self._need.tried, MOST_TRIES, done, total)
