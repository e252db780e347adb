"""What came of a search's candidates, for the words of its end."""

from __future__ import annotations

from collections import Counter

from quintain_controller.domain.model import Candidate, CandidateState, GenerationOutcome, VerdictStatus

_MOST_KINDS = 4


class Tally:
    """Counts told results; seed policies do not count."""

    def __init__(self) -> None:
        self._without_policy: Counter[str] = Counter()  # by what the backend, or the verifier, made of the request
        self._failed: Counter[str] = Counter()  # by what was wrong with the policy
        self._finished = 0
        self._improved = False

    def tell(self, candidate: Candidate) -> None:
        if candidate.plan is None:
            return
        if candidate.state is CandidateState.REJECTED:
            refused = candidate.outcome is GenerationOutcome.OK
            name = "not taken by the verifier" if refused else candidate.outcome.name.lower()
            self._without_policy["not answered" if candidate.outcome is GenerationOutcome.NONE else name] += 1
        elif candidate.status in (VerdictStatus.OK, VerdictStatus.STOPPED_EARLY):
            self._finished += 1
        else:
            what = candidate.rule or candidate.summary[:80]
            if what in self._failed or len(self._failed) < 100:
                self._failed[what] += 1

    def improved(self, candidate: Candidate) -> None:
        """It is the best so far."""
        self._improved = self._improved or candidate.plan is not None

    def what_came(self) -> str:
        """What a reader of the end must know, as a clause; empty if something better was found."""
        without, failed = self._without_policy.total(), self._failed.total()
        count = without + failed + self._finished
        if self._improved:
            return ""
        if count == 0:
            return "; no candidate was asked for"
        if without == count:
            return f"; no answer held a policy that could be verified ({_listed(self._without_policy)})"
        if not self._finished:
            rest = f"; {without} more held no policy ({_listed(self._without_policy)})" if without else ""
            return f"; every policy failed ({_listed(self._failed)}){rest}"
        return f"; none of {count} candidates is better than the seed ({self._finished} ran to the end)"


def _listed(counts: Counter[str]) -> str:
    named = [f"{count} {what}" for what, count in sorted(counts.items(), key=lambda i: (-i[1], i[0]))[:_MOST_KINDS]]
    more = len(counts) - len(named)
    return ", ".join([*named, *([f"{more} other kinds"] if more > 0 else [])])
