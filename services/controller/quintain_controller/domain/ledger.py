"""The budget ledger: reserved before, settled after, a hard stop that is exact and repeatable.

There are two views of the same entries. `spend` is what people see: settled as soon as a response is recorded. `fits`
decides, and it counts every candidate whose result has not been told at its full reservation, so that its answer is a
function of the told results alone: a search stops at the same candidate however its work was timed or interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from quintain_controller.domain.model import Budget, Candidate, CandidateState, Charge, GenerationOutcome, Spend


@dataclass(frozen=True, slots=True)
class Shortage:
    """Which bound of the budget has no room for one more candidate."""

    bound: str
    detail: str


class Ledger:
    """All entries of one search. Not thread safe."""

    def __init__(self) -> None:
        self._open: dict[int, Candidate] = {}  # requested, not told
        self._told = Spend()
        self._requested = 0  # generations: seeds do not count
        self._known = 0  # candidates come in order of number
        self._late: dict[int, Candidate] = {}  # whose cost was known only after they were settled
        self.wall_seconds = 0.0

    def record(self, candidate: Candidate) -> None:
        """A candidate was requested, or came further on its way."""
        if candidate.number not in self._open:
            if candidate.number < self._known:
                raise ValueError(f"candidate {candidate.number} was told and cannot change any more")
            self._known = candidate.number + 1
            self._requested += candidate.plan is not None
        self._open[candidate.number] = candidate
        if candidate.late_charge is not None:
            self.correct(candidate)

    def correct(self, candidate: Candidate) -> None:
        """What a settled candidate cost is known now. `fits` goes on with the most that it may have been: what was
        decided by that stays decided."""
        self._late[candidate.number] = candidate

    def tell(self, number: int) -> None:
        """The candidate's result is final and told."""
        candidate = self._open.pop(number)
        if not candidate.state.settled:
            raise ValueError(f"candidate {number} is {candidate.state.name}, not settled")
        self._told = _add(self._told, candidate)

    def fits(self, charge: Charge, budget: Budget) -> Shortage | None:
        """None if one more candidate with this reservation surely stays within `budget`."""
        held = self._open.values()
        # A reservation is a promise: what a response really cost counts from the moment it is told.
        usd = self._told.usd_nano + self._told.at_risk_usd_nano + sum(_held_usd(c) for c in held)
        tokens = self._told.tokens + sum(c.reserved.tokens for c in held)
        verifications = self._told.verifications + sum(1 + _held_runs(c) for c in held)
        tool_seconds = self._told.tool_seconds + sum(max(c.reserved.tool_seconds, c.charge.tool_seconds) for c in held)
        for bound, used, wanted, limit in (
            ("usd", usd, charge.usd_nano, budget.usd_nano),
            ("tokens", tokens, charge.tokens, budget.tokens),
            ("candidates", self._requested, 1, budget.candidates),
            ("verifications", verifications, 1 + charge.tool_runs, budget.verifications),
            ("tool_seconds", tool_seconds, charge.tool_seconds, budget.tool_seconds),
        ):
            if limit is not None and used + wanted > limit:
                unit = 1e-9 if bound == "usd" else 1
                return Shortage(
                    bound, f"{used * unit:g} used or reserved, {wanted * unit:g} needed, {limit * unit:g} allowed"
                )
        if budget.wall_seconds is not None and self.wall_seconds >= budget.wall_seconds:
            return Shortage("wall_seconds", f"{self.wall_seconds:.1f} s of {budget.wall_seconds:g} s used")
        return None

    def used_up(self, budget: Budget) -> bool:
        """Whether nothing may wait any more: the time is over, or requests without a result have already cost, with
        what was told, as much as is allowed."""
        return self.out_of_time(budget) or self.out_of_money(budget)

    def out_of_time(self, budget: Budget) -> bool:
        return budget.wall_seconds is not None and self.wall_seconds >= budget.wall_seconds

    def out_of_money(self, budget: Budget) -> bool:
        """Whether requests without a result have already cost, with what was told, as much as is allowed."""
        pending = sum(_sum_usd(c.charge) for c in self._open.values() if c.state is CandidateState.REQUESTED)
        told = self._told.usd_nano + self._told.at_risk_usd_nano
        return budget.usd_nano is not None and pending > 0 and told + pending >= budget.usd_nano

    def spend(self) -> Spend:
        total = self._told
        reserved_usd = reserved_tokens = reserved_runs = 0
        reserved_seconds = 0.0
        for candidate in self._open.values():
            total = _add(total, candidate)
            if candidate.state is CandidateState.REQUESTED and candidate.plan is not None:
                reserved_usd += max(0, candidate.reserved.usd_nano - _sum_usd(candidate.charge))
                reserved_tokens += candidate.reserved.tokens
                reserved_runs += max(0, candidate.reserved.tool_runs - candidate.charge.tool_runs)
                reserved_seconds += max(0.0, candidate.reserved.tool_seconds - candidate.charge.tool_seconds)
        for candidate in self._late.values():
            was, late = candidate.charge, candidate.booked
            total = replace(
                total,
                usd_nano=total.usd_nano + late.usd_nano - was.usd_nano,
                at_risk_usd_nano=total.at_risk_usd_nano + late.at_risk_usd_nano - was.at_risk_usd_nano,
                tokens=total.tokens + late.tokens - was.tokens,
            )
        return replace(
            total,
            reserved_usd_nano=reserved_usd,
            reserved_tokens=reserved_tokens,
            reserved_tool_runs=reserved_runs,
            reserved_tool_seconds=reserved_seconds,
            candidates=self._requested,
            wall_seconds=self.wall_seconds,
        )


def _add(spend: Spend, candidate: Candidate) -> Spend:
    charge = candidate.charge
    return replace(
        spend,
        usd_nano=spend.usd_nano + charge.usd_nano,
        at_risk_usd_nano=spend.at_risk_usd_nano + charge.at_risk_usd_nano,
        tokens=spend.tokens + charge.tokens,
        verifications=spend.verifications + (candidate.state is CandidateState.VERIFIED) + charge.tool_runs,
        tool_runs=spend.tool_runs + charge.tool_runs,
        tool_seconds=spend.tool_seconds + charge.tool_seconds,
        unpriced_generations=spend.unpriced_generations
        + (charge.unpriced and candidate.outcome is not GenerationOutcome.NONE),
    )


def _sum_usd(charge: Charge) -> int:
    return charge.usd_nano + charge.at_risk_usd_nano


def _held_runs(candidate: Candidate) -> int:
    """Runs of tools that a candidate holds of the budget until it is told."""
    return max(candidate.reserved.tool_runs, candidate.charge.tool_runs)


def _held_usd(candidate: Candidate) -> int:
    """What a candidate holds of the budget until it is told: its reservation, which a request without a result may have
    outgrown."""
    if candidate.state is CandidateState.REQUESTED:
        return max(candidate.reserved.usd_nano, _sum_usd(candidate.charge))
    return candidate.reserved.usd_nano
