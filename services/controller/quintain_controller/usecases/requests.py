"""Making a generation request from a plan: live, and again later from the stored candidates, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping

from quintain_controller.domain.model import (
    AGENT,
    Attempt,
    Candidate,
    Example,
    GenerationRequest,
    Plan,
    VerdictStatus,
    request_id,
)
from quintain_controller.domain.notebook import lesson
from quintain_controller.domain.planner import attempt
from quintain_controller.domain.records import SearchRecord
from quintain_controller.ports import Store

CandidateSourceCache = Mapping[int, tuple[Candidate, str, str]]


def make_request(
    record: SearchRecord,
    number: int,
    plan: Plan,
    texts: CandidateSourceCache,
    history: tuple[Attempt, ...],
    lessons: tuple[str, ...],
    first: Candidate,
    best_score: float | None,
) -> GenerationRequest:
    """`texts` holds candidate, source and feedback of every parent and inspiration; `first`: candidate 0, verified."""
    spec, request_version = record.spec, record.context.request_version
    return GenerationRequest(
        request_id=request_id(record.search_id, number),
        backend=plan.backend,
        operator=plan.operator,
        parents=tuple(_example(*texts[n], request_version, full=True) for n in plan.parents),
        inspirations=tuple(_example(*texts[n], request_version, full=False) for n in plan.inspirations),
        history=history,
        lessons=lessons,
        seed=plan.seed,
        best_score=best_score,
        bound_score=first.train.bound_score if first.train else None,
        allowance=spec.allowance,
        number=number,
        references=first.references,
        carried_lessons=spec.carried_lessons,
        max_turns=spec.agent.max_turns if spec.agent is not None and plan.operator == AGENT else 0,
    )


def remake_request(store: Store, record: SearchRecord, candidate: Candidate) -> GenerationRequest:
    """The request of a stored candidate. Blocking."""
    plan = candidate.plan
    if plan is None:
        raise ValueError(f"candidate {candidate.number} is a seed policy: nobody was asked for it")
    texts = store.texts(record.search_id, [*plan.parents, *plan.inspirations])
    numbers = {*plan.history, *plan.notebook, 0} | ({plan.best} if plan.best is not None else set())
    known = store.candidates(record.search_id, sorted(numbers))
    best = known[plan.best].train if plan.best is not None else None
    return make_request(
        record,
        candidate.number,
        plan,
        texts,
        tuple(attempt(known[number], record.context.request_version) for number in plan.history),
        (*plan.lessons, *(lesson(known[number]) for number in plan.notebook)),
        known[0],
        best.score if best else None,
    )


def _example(candidate: Candidate, source: str, feedback: str, request_version: int, *, full: bool) -> Example:
    finished = candidate.status is VerdictStatus.OK and candidate.train is not None
    train = candidate.train
    return Example(
        number=candidate.number,
        source=source,
        score=train.score if train and finished else None,
        normalized=train.normalized if train and finished else None,
        feedback=feedback if full else attempt(candidate, request_version).summary,
        values=train.values if train else {},
    )
