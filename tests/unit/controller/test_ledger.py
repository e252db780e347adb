"""The ledger as a state machine: whatever happens, no bound is exceeded and every entry is counted once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from quintain_controller.domain.ledger import Ledger
from quintain_controller.domain.model import Budget, Candidate, CandidateState, Charge, GenerationOutcome, Plan

PLAN = Plan("b", "full", (0,), (), 0, 1, 1, (), (), None)


class LedgerMachine(RuleBasedStateMachine):
    """The model keeps plain lists; a crash replays them into a new ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.budget = Budget(usd_nano=1000, tokens=5000, candidates=12, verifications=20, tool_seconds=40.0)
        self.entries: dict[int, Candidate] = {}
        self.told = 0

    @rule(usd=st.integers(0, 300), tokens=st.integers(0, 1500), runs=st.integers(0, 6), seconds=st.integers(0, 12))
    def ask(self, usd: int, tokens: int, runs: int, seconds: int) -> None:
        charge = Charge(usd, tokens, tool_runs=runs, tool_seconds=float(seconds))
        if self.ledger.fits(charge, self.budget) is None:
            candidate = Candidate(len(self.entries), CandidateState.REQUESTED, PLAN, reserved=charge)
            self.entries[candidate.number] = candidate
            self.ledger.record(candidate)

    def open(self, state: CandidateState) -> list[int]:
        return [n for n, c in self.entries.items() if c.state is state]

    @precondition(lambda self: self.open(CandidateState.REQUESTED))
    @rule(data=st.data())
    def use_tools(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.open(CandidateState.REQUESTED)))
        entry = self.entries[number]
        runs = data.draw(st.integers(entry.charge.tool_runs, entry.reserved.tool_runs))
        seconds = data.draw(st.integers(int(entry.charge.tool_seconds), int(entry.reserved.tool_seconds)))
        self._move(replace(entry, charge=replace(entry.charge, tool_runs=runs, tool_seconds=float(seconds))))

    @precondition(lambda self: self.open(CandidateState.REQUESTED))
    @rule(data=st.data(), usable=st.booleans())
    def answer(self, data: st.DataObject, usable: bool) -> None:
        number = data.draw(st.sampled_from(self.open(CandidateState.REQUESTED)))
        reserved = self.entries[number].reserved
        usd = data.draw(st.integers(0, reserved.usd_nano))
        at_risk = data.draw(st.integers(0, reserved.usd_nano - usd))
        charge = Charge(usd, data.draw(st.integers(0, reserved.tokens)), at_risk)
        charge = charge.with_tools_of(self.entries[number].charge)
        state = CandidateState.GENERATED if usable else CandidateState.REJECTED
        self._move(replace(self.entries[number], state=state, charge=charge, outcome=GenerationOutcome.OK))

    @precondition(lambda self: self.open(CandidateState.GENERATED))
    @rule(data=st.data())
    def verify(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.open(CandidateState.GENERATED)))
        self._move(replace(self.entries[number], state=CandidateState.VERIFIED))

    @precondition(lambda self: self.told in self.entries and self.entries[self.told].state.settled)
    @rule()
    def tell(self) -> None:
        self.ledger.tell(self.told)
        self.told += 1

    @rule()
    def crash(self) -> None:
        self.ledger = Ledger()
        for number, candidate in self.entries.items():
            self.ledger.record(candidate)
            if number < self.told:
                self.ledger.tell(number)

    def _move(self, candidate: Candidate) -> None:
        self.entries[candidate.number] = candidate
        self.ledger.record(candidate)

    @invariant()
    def the_spend_is_the_sum_of_the_entries(self) -> None:
        spend = self.ledger.spend()
        entries = self.entries.values()
        waiting = [c for c in entries if c.state is CandidateState.REQUESTED]
        assert spend.candidates == len(self.entries)
        assert spend.usd_nano == sum(c.charge.usd_nano for c in entries)
        assert spend.at_risk_usd_nano == sum(c.charge.at_risk_usd_nano for c in entries)
        assert spend.tokens == sum(c.charge.tokens for c in entries)
        assert spend.reserved_usd_nano == sum(c.reserved.usd_nano for c in waiting)
        assert spend.reserved_tokens == sum(c.reserved.tokens for c in waiting)
        assert spend.tool_runs == sum(c.charge.tool_runs for c in entries)
        assert spend.tool_seconds == sum(c.charge.tool_seconds for c in entries)
        assert spend.reserved_tool_runs == sum(c.reserved.tool_runs - c.charge.tool_runs for c in waiting)
        assert spend.verifications == len(self.open(CandidateState.VERIFIED)) + spend.tool_runs

    @invariant()
    def no_bound_is_exceeded_even_if_everything_in_flight_costs_its_most(self) -> None:
        spend, budget = self.ledger.spend(), self.budget
        assert spend.usd_nano + spend.at_risk_usd_nano + spend.reserved_usd_nano <= (budget.usd_nano or 0)
        assert spend.tokens + spend.reserved_tokens <= (budget.tokens or 0)
        assert spend.candidates <= (budget.candidates or 0)
        assert spend.verifications + spend.reserved_tool_runs <= (budget.verifications or 0)
        assert spend.tool_seconds + spend.reserved_tool_seconds <= (budget.tool_seconds or 0.0)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=40, deadline=None)


def test_a_told_candidate_cannot_change_any_more() -> None:
    ledger = Ledger()
    seed = Candidate(0, CandidateState.VERIFIED, None)
    ledger.record(seed)
    ledger.tell(0)
    with pytest.raises(ValueError, match="candidate 0 was told"):
        ledger.record(seed)


def test_a_shortage_says_which_bound_and_how_much() -> None:
    shortage = Ledger().fits(Charge(usd_nano=2_000_000_000), Budget(usd_nano=1_500_000_000))
    assert shortage is not None
    assert (shortage.bound, shortage.detail) == ("usd", "0 used or reserved, 2 needed, 1.5 allowed")
