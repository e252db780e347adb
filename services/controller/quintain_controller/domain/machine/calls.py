"""The calls of one search that are not over: sent, or waiting to be repeated; and whose calls fail."""

from __future__ import annotations

from dataclasses import dataclass

from quintain.backoff import Backoff
from quintain.errors import Internal, QuintainError
from quintain_controller.domain import retry
from quintain_controller.domain.machine.messages import Call, CallKind, Send, Verify


@dataclass(slots=True)
class _Open:
    """A call with what it says. `resumes`: how often the search had been resumed when it was made."""

    instruction: Send | Verify
    resumes: int
    waits: bool = False
    postponed: bool = False
    recalled: bool = False
    failures: int = 0
    internal_failures: int = 0


class CallTable:
    """Who is called, and how often it has failed."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._open: dict[Call, _Open] = {}
        self._serial = 0
        self._resumes = 0
        self.failing: dict[str, bool] = {}  # whose last call failed; whether that pauses the search

    def new(self, kind: CallKind, number: int) -> Call:
        self._serial += 1
        return Call(self._serial, kind, number)

    def sent(self, instruction: Send | Verify) -> None:
        self._open[instruction.call] = _Open(instruction, self._resumes)

    def known(self, call: Call) -> bool:
        """Whether anybody still waits for the call."""
        return call in self._open

    def waits(self, call: Call) -> bool:
        """Whether it has failed or was postponed, and will be repeated later."""
        return self._open[call].waits

    def postponed(self, call: Call) -> bool:
        """Whether it waits for an answer that is being made."""
        return self._open[call].waits and self._open[call].postponed

    def postpone(self, call: Call) -> None:
        """It did not fail, and is to be repeated later."""
        known = self._open[call]
        known.waits = known.postponed = True
        known.failures = known.internal_failures = 0

    def recent(self, call: Call) -> bool:
        """Whether nobody has resumed the search since it was made."""
        return self._open[call].resumes == self._resumes

    def recall(self, call: Call) -> bool:
        """Whether it is to be recalled: true once."""
        first = not self._open[call].recalled
        self._open[call].recalled = True
        return first

    @property
    def any(self) -> bool:
        return bool(self._open)

    def of(self, *kinds: CallKind) -> list[Call]:
        return [call for call in self._open if call.kind in kinds]

    def count(self, *kinds: CallKind) -> int:
        return sum(1 for call in self._open if call.kind in kinds)

    def failed(self, call: Call, error: QuintainError) -> retry.Decision:
        """One more failure: what to do about it."""
        known = self._open[call]
        known.failures += 1
        known.internal_failures += isinstance(error, Internal)
        service = "generator" if call.kind is CallKind.GENERATE else "verifier"
        decision = retry.after(service, error, known.failures, known.internal_failures, self._backoff)
        known.waits, known.postponed = isinstance(decision, retry.RetryLater), False
        return decision

    def repeat(self, call: Call) -> Send | Verify:
        """The wait is over: the instruction again."""
        self._open[call].waits = False
        return self._open[call].instruction

    def forget(self, call: Call) -> None:
        self._open.pop(call, None)

    def resumed(self) -> None:
        """The search goes on after a pause: earlier failures count no more."""
        self._resumes += 1

    def fails(self, name: str, pauses: bool) -> bool:
        """Note a failure; whether there is something new to say."""
        news = name not in self.failing or pauses
        self.failing[name] = pauses or self.failing.get(name, False)
        return news

    def recovered(self, name: str) -> bool:
        """Note a success; whether it had failed before."""
        return self.failing.pop(name, None) is not None
