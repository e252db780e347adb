"""What a final answer is worth: extraction, diff, gate and the search for duplicates, as one decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quintain.plugins.backend import BackendReply, CallOutcome, Operator, Rejection, Task
from quintain_generator.domain.claims import NO_CLAIMS, Claims, claims_of
from quintain_generator.domain.diff import DiffError, apply_blocks, find_blocks, looks_like_a_change
from quintain_generator.domain.extract import MAX_RATIONALE_CHARACTERS, Extracted, cut_at_a_word, extract, readings
from quintain_generator.domain.gate import ast_digest, check, defines_policy
from quintain_generator.domain.generation import FINAL_ANSWERS, GenerationOutcome
from quintain_generator.domain.marks import shown_source, without_marks


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an answer is worth. `source` is empty unless the outcome is OK or DUPLICATE."""

    outcome: GenerationOutcome
    source: str = ""
    rationale: str = ""
    detail: str = ""
    ast_digest: str = ""
    hints: tuple[str, ...] = ()
    claims: Claims = NO_CLAIMS


_MAX_COMPARED_CHARACTERS = 400_000

_REJECTIONS = {
    Rejection.NO_CODE: GenerationOutcome.NO_CODE,
    Rejection.INVALID_CODE: GenerationOutcome.INVALID_CODE,
    Rejection.DIFF_FAILED: GenerationOutcome.DIFF_FAILED,
}


def judge(task: Task, reply: BackendReply, max_bytes: int) -> Judgement:
    """Judge a final reply (one whose outcome is in FINAL_ANSWERS)."""
    if reply.outcome is not CallOutcome.OK:
        return Judgement(FINAL_ANSWERS[reply.outcome], rationale=reply.rationale, detail=reply.detail)
    if reply.rejection is not None:
        return Judgement(_REJECTIONS[reply.rejection], rationale=reply.rationale, detail=reply.detail)
    required = task.simulator.required_definitions
    known = _known(task)
    whole = True
    if reply.source:
        source, rationale = reply.source, reply.rationale
    else:
        try:
            found, rationale, whole = _read(task, reply.text, known, max_bytes)
            source = without_marks(found)
        except DiffError as error:
            return Judgement(GenerationOutcome.DIFF_FAILED, rationale=_prose(reply.text), detail=str(error))
    if not whole and looks_like_a_change(reply.text):
        detail = "the answer is a change; the whole policy in one fenced block was asked for"
        return Judgement(
            GenerationOutcome.INVALID_CODE if source else GenerationOutcome.NO_CODE, rationale=rationale, detail=detail
        )
    if not source:
        detail = "the answer holds neither a fenced block nor anything that looks like Python"
        return Judgement(GenerationOutcome.NO_CODE, rationale=rationale, detail=detail)
    checked = check(source, required, max_bytes)
    if checked.problem:
        return Judgement(GenerationOutcome.INVALID_CODE, rationale=rationale, detail=checked.problem)
    twin = known.get(checked.ast_digest)
    outcome = GenerationOutcome.DUPLICATE if twin else GenerationOutcome.OK
    detail = f"the same program as candidate {twin}" if twin else ""
    claims = claims_of(task, (rationale, reply.text))
    return Judgement(outcome, source, rationale, detail, checked.ast_digest, checked.hints, claims)


def _read(task: Task, text: str, known: Mapping[str, str], max_bytes: int) -> tuple[str, str, bool]:
    """(source, rationale, whether it is a policy) of an answer in text. Raises DiffError."""
    wants_change = task.operator is Operator.DIFF and bool(task.parents)
    problem: DiffError | None = None
    if wants_change:
        for reading in readings(text):
            try:
                blocks = find_blocks(reading)
                if blocks:
                    return apply_blocks(shown_source(task.parents[0]), blocks), _prose(text), True
            except DiffError as error:
                problem = error
                break
    found = _extract(task, text, known, max_bytes)
    if wants_change and not found.is_policy:
        if problem is not None:
            raise problem
        if found.source or looks_like_a_change(text):
            raise DiffError("there is neither a SEARCH/REPLACE block in the answer nor the complete policy")
    return found.source, found.rationale, found.is_policy


def _extract(task: Task, text: str, known: Mapping[str, str], max_bytes: int) -> Extracted:
    """The policy of an answer: a new one, if there is one beside those that it quotes."""

    quoted = False

    def is_policy(source: str) -> bool:
        return defines_policy(source, task.simulator.required_definitions, max_bytes)

    def is_new_policy(source: str) -> bool:
        nonlocal quoted
        if not is_policy(source):
            return False
        is_known = ast_digest(source) in known
        quoted = quoted or is_known
        return not is_known

    found = extract(text, is_new_policy)
    return extract(text, is_policy) if quoted and not found.is_policy else found


def _prose(text: str) -> str:
    """What stands before the first change."""
    return cut_at_a_word(readings(text)[0].split("<<<<<", 1)[0].split("```", 1)[0].strip(), MAX_RATIONALE_CHARACTERS)


def _known(task: Task) -> dict[str, str]:
    """The candidates that the task shows, by the digest of their program. Sources beyond what can be compared in a
    moment are taken as others."""
    left = _MAX_COMPARED_CHARACTERS
    known: dict[str, str] = {}
    for example in (*task.parents, *task.inspirations):
        if len(example.source) <= left:
            left -= len(example.source)
            known.setdefault(ast_digest(example.source), example.candidate_id or "(unnamed)")
    known.pop("", None)
    return known
