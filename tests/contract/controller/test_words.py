"""The domain's numbers are the contract's."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from quintain.controller.v1 import controller_pb2
from quintain.generator.v1 import generator_pb2
from quintain.plugins.strategy import Operator
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_controller.domain import events, model
from quintain_controller.mapping import OPERATORS
from quintain_controller.rpc import from_proto, to_proto


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (model.SearchState, controller_pb2.SearchState, "SEARCH_STATE_"),
        (model.CandidateState, controller_pb2.CandidateState, "CANDIDATE_STATE_"),
        (model.GenerationOutcome, generator_pb2.Outcome, "OUTCOME_"),
        (model.VerdictStatus, verifier_pb2.VerdictStatus, "VERDICT_STATUS_"),
        (model.WinnerRule, controller_pb2.WinnerRule, "WINNER_RULE_"),
        (model.Direction, type_pb2.Direction, "DIRECTION_"),
        (model.Aggregation, type_pb2.Aggregation, "AGGREGATION_"),
    ],
)
def test_enums_have_the_same_names_and_numbers(ours: type[enum.IntEnum], theirs: Any, prefix: str) -> None:
    contract = {name.removeprefix(prefix): number for name, number in theirs.items() if number != 0}
    assert {member.name: member.value for member in ours if member.value != 0} == contract


def test_every_operator_has_a_number() -> None:
    assert {op.value for op in Operator} == set(OPERATORS)
    assert len(set(OPERATORS.values())) == len(generator_pb2.Operator.items()) - 1


CANDIDATE = model.Candidate(1, model.CandidateState.VERIFIED, None)
EVENTS: list[events.DomainEvent] = [
    events.StateChanged(model.SearchState.RUNNING, "r"),
    events.CandidateChanged(CANDIDATE),
    events.NewBest(CANDIDATE, 0.5),
    events.HeldOutScored(1, 0.5, 0.4, 0.1, 3.0, 2.0),
    events.Overfitting(1, 0.1, "d"),
    events.Stagnation(5, "a"),
    events.GateDecided(model.Gate("held_out", True, "d", 1)),
    events.Promoted(CANDIDATE),
    events.BackendTrouble("b", "r", True),
    events.BudgetExtended(model.Budget(candidates=3)),
    events.GateProgress("determinism", 1, 1, 20, 3, 12),
    events.BetterOnHeldOut(2, 0.5, 1, 0.6),
]


def test_every_event_of_the_contract_is_told() -> None:
    recorded = [events.RecordedEvent(1, 0.0, model.Spend(), event) for event in EVENTS]
    encoded = [to_proto.encode_event("s", event, type_pb2.FIDELITY_FAILED) for event in recorded]
    assert {event.fidelity for event in encoded} == {type_pb2.FIDELITY_FAILED}
    told = [event.WhichOneof("event") for event in encoded]
    assert told == [event.kind for event in EVENTS]
    assert set(told) == {f.name for f in controller_pb2.Event.DESCRIPTOR.oneofs_by_name["event"].fields}


def test_a_spec_survives_the_way_in_and_out() -> None:
    spec = controller_pb2.SearchSpec(
        simulator="s",
        suite="t",
        objective="o",
        strategy="evolve",
        backends=["a", "b"],
        budget=controller_pb2.Budget(usd=0.1, tokens=5, candidates=6, verifications=7, wall_seconds=8.5),
        seed=2**63,
        seed_policies=[type_pb2.Policy(source="x")],
        parallel_generations=2,
        parallel_verifications=3,
        limits=verifier_pb2.Limits(wall_seconds=1, cpu_seconds=2, memory_bytes=3, decision_bytes=4, output_bytes=5),
        assume_usd_per_generation=0.3,
        title="mine",
        winner_rule=controller_pb2.WINNER_RULE_EARLIEST_EQUAL,
        allowance=generator_pb2.Allowance(max_output_tokens=9, max_cost_usd=0.2, effort="low"),
    )
    spec.strategy_options["islands"] = 2
    assert to_proto.encode_spec(from_proto.decode_spec(spec)) == spec
