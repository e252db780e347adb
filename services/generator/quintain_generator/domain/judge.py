"""What a final answer is worth: extraction, diff, gate and the search for duplicates, as one decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quintain.plugins.backend import BackendReply, CallOutcome, Operator, Rejection, Task
from quintain.plugins.simulator import RequiredDefinition
from quintain_generator.domain.diff import DiffError, apply_blocks, find_blocks
from quintain_generator.domain.extract import MAX_RATIONALE_CHARACTERS, extract, readings
from quintain_generator.domain.gate import ast_digest, check, defines_policy
from quintain_generator.domain.generation import FINAL_ANSWERS, Outcome


@dataclass(frozen=True, slots=True)
class Judgement:
    """`source` is empty unless the outcome is OK or DUPLICATE."""

    outcome: Outcome
    source: str = ""
    rationale: str = ""
    detail: str = ""
    ast_digest: str = ""
    hints: tuple[str, ...] = ()


_MAX_COMPARED_CHARACTERS = 400_000

_REJECTIONS = {
    Rejection.NO_CODE: Outcome.NO_CODE,
    Rejection.INVALID_CODE: Outcome.INVALID_CODE,
    Rejection.DIFF_FAILED: Outcome.DIFF_FAILED,
}


def judge(task: Task, reply: BackendReply, max_bytes: int) -> Judgement:
    """Judge a final reply (one whose outcome is in FINAL_ANSWERS)."""
    if reply.outcome is not CallOutcome.OK:
        return Judgement(FINAL_ANSWERS[reply.outcome], rationale=reply.rationale, detail=reply.detail)
    if reply.rejection is not None:
        return Judgement(_REJECTIONS[reply.rejection], rationale=reply.rationale, detail=reply.detail)
    required = task.simulator.required_definitions
    if reply.source:
        source, rationale = reply.source, reply.rationale
    else:
        try:
            source, rationale = _read(task, reply.text, required, max_bytes)
        except DiffError as error:
            return Judgement(Outcome.DIFF_FAILED, rationale=_prose(reply.text), detail=str(error))
    if not source:
        detail = "the answer holds neither a fenced block nor anything that looks like Python"
        return Judgement(Outcome.NO_CODE, rationale=rationale, detail=detail)
    checked = check(source, required, max_bytes)
    if checked.problem:
        return Judgement(Outcome.INVALID_CODE, rationale=rationale, detail=checked.problem)
    twin = _twin(task, checked.ast_digest)
    outcome = Outcome.DUPLICATE if twin else Outcome.OK
    detail = f"the same program as candidate {twin}" if twin else ""
    return Judgement(outcome, source, rationale, detail, checked.ast_digest, checked.hints)


def _read(task: Task, text: str, required: Sequence[RequiredDefinition], max_bytes: int) -> tuple[str, str]:
    """(source, rationale) of an answer in text. Raises DiffError."""
    asked_for_change = task.operator is Operator.DIFF and bool(task.parents)
    if asked_for_change:
        for reading in readings(text):
            blocks = find_blocks(reading)
            if blocks:
                return apply_blocks(task.parents[0].source, blocks), _prose(text)
    found = extract(text, lambda code: defines_policy(code, required, max_bytes))
    if asked_for_change and found.source and not found.is_policy:
        raise DiffError("there is neither a SEARCH/REPLACE block in the answer nor the complete policy")
    return found.source, found.rationale


def _prose(text: str) -> str:
    """What stands before the first change."""
    return readings(text)[0].split("<<<<<", 1)[0].split("```", 1)[0].strip()[:MAX_RATIONALE_CHARACTERS]


def _twin(task: Task, digest: str) -> str:
    """The candidate that is the same program. Sources beyond what can be compared in a moment are taken as others."""
    left = _MAX_COMPARED_CHARACTERS
    for example in (*task.parents, *task.inspirations):
        if len(example.source) > left:
            continue
        left -= len(example.source)
        if ast_digest(example.source) == digest:
            return example.candidate_id or "(unnamed)"
    return ""
