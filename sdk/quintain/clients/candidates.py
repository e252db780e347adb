"""Candidates as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain.wording import enum_name


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One candidate of a search; None where there is no value. Scores are in the objective's unit, or normalized."""

    search_id: str
    number: int  # position in the search, from 0; the seed policies come first
    candidate_id: str
    state: str  # requested, generated, verified, rejected
    operator: str  # what was asked for; "seed" for a policy that the search began with
    backend: str | None
    parents: list[int]  # their numbers
    outcome: str | None  # of the generation
    verdict: str | None  # status of the verdict
    score: float | None  # on the train part
    baseline_score: float | None
    bound_score: float | None
    normalized: float | None  # 0 the worst, 1 the provable bound
    held_out_score: float | None
    held_out_baseline_score: float | None
    usd: float | None  # None: no price is known
    at_risk_usd: float  # the most that calls with unknown outcome may have cost
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    island: int
    verdict_digest: str | None
    summary: str  # one line: why it failed, or what it is


def candidate_row(c: pb.CandidateSummary, numbers: Mapping[str, int]) -> CandidateRow:
    """The row of a candidate. `numbers`: of the candidates before it, by id."""

    def optional(name: str) -> float | None:
        return getattr(c, name) if c.HasField(name) else None  # type: ignore[arg-type]

    verified = c.state == pb.CANDIDATE_STATE_VERIFIED
    return CandidateRow(
        search_id=c.search_id,
        number=c.number,
        candidate_id=c.candidate_id,
        state=enum_name(pb.CandidateState, c.state),
        operator=enum_name(generator_pb2.Operator, c.operator) if c.operator else "seed",
        backend=c.backend or None,
        parents=[numbers[parent] for parent in c.parent_ids if parent in numbers],
        outcome=enum_name(generator_pb2.Outcome, c.generation_outcome) if c.generation_outcome else None,
        verdict=enum_name(verifier_pb2.VerdictStatus, c.verdict_status) if verified else None,
        score=optional("score"),
        baseline_score=optional("baseline_score"),
        bound_score=optional("bound_score"),
        normalized=optional("normalized"),
        held_out_score=optional("held_out_score"),
        held_out_baseline_score=optional("held_out_baseline_score"),
        usd=None if c.cost.unpriced else c.cost.usd,
        at_risk_usd=c.cost.at_risk_usd,
        input_tokens=c.usage.input_tokens,
        cached_input_tokens=c.usage.cached_input_tokens,
        cache_write_tokens=c.usage.cache_write_tokens,
        output_tokens=c.usage.output_tokens,
        reasoning_tokens=c.usage.reasoning_tokens,
        island=c.island,
        verdict_digest=c.verdict_digest or None,
        summary=c.summary,
    )
