"""What a request may say. Everything that is wrong with it is said at once, by field."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from google.protobuf import struct_pb2

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FieldViolation, InvalidArgument

_MOST_USD = 1e9
_MOST_SECONDS = 1e9  # thirty years
_MOST_TOKENS = 10**15
_MOST_CANDIDATES = 10**9
MOST_PARALLEL = 256
_MOST_SEEDS = 100
_MOST_SEED_BYTES = 4 << 20  # of all seed policies together
_LONGEST_NAME = 200
_MOST_FURTHER_OBJECTIVES = 5  # with more of them hardly anything is worse than something in all
_LONGEST_TAG = 50
_LONGEST_NOTES = 20_000
_MOST_TURNS = 100
_MOST_RUNS = 1000
_MOST_LESSONS = 100
_LONGEST_LESSON = 500

_Bound = Literal["usd", "tokens", "candidates", "verifications", "wall_seconds", "tool_seconds"]
_BUDGET: tuple[tuple[_Bound, float, float], ...] = (
    ("usd", 1e-9, _MOST_USD),
    ("tokens", 1, _MOST_TOKENS),
    ("candidates", 1, _MOST_CANDIDATES),
    ("verifications", 1, _MOST_CANDIDATES),
    ("wall_seconds", 1e-3, _MOST_SECONDS),
    ("tool_seconds", 1e-3, _MOST_SECONDS),
)
_LIMITS = ("wall_seconds", "cpu_seconds", "memory_bytes", "decision_bytes", "output_bytes", "source_bytes")
_NAMES = ("simulator", "suite", "objective", "strategy", "title")


def check_spec(spec: pb.SearchSpec, request_id: str) -> None:
    """Raises InvalidArgument with a violation for each wrong field. What is empty has a default; whether a name is
    known, others say."""
    wrong = [
        *_texts(spec, request_id),
        *_budget(spec.budget, "spec.budget"),
        *_numbers(spec),
        *_options(spec.strategy_options, "spec.strategy_options"),
        *_seeds(spec),
        *_stop(spec.stop),
        *_agent(spec.agent),
        *_lessons(spec),
    ]
    if spec.winner_rule not in pb.WinnerRule.values():
        known = ", ".join(pb.WinnerRule.keys()[1:])
        wrong.append(FieldViolation("spec.winner_rule", f"{spec.winner_rule} is none of {known}"))
    for name, role in spec.backend_roles.items():
        if role not in pb.BackendRole.values()[1:]:
            known = ", ".join(pb.BackendRole.keys()[1:])
            wrong.append(FieldViolation("spec.backend_roles", f"{name[:_LONGEST_NAME]!r}: {role} is none of {known}"))
    twice = [name for name, count in Counter(spec.backends).items() if count > 1]
    if twice:
        wrong.append(FieldViolation("spec.backends", f"{', '.join(map(repr, twice))} is named more than once"))
    _refuse(wrong)


def check_budget(budget: pb.Budget) -> None:
    """Raises InvalidArgument with a violation for each wrong bound."""
    _refuse(list(_budget(budget, "budget")))


def check_update(request: pb.UpdateSearchRequest) -> None:
    """Raises InvalidArgument with a violation for each wrong field."""
    changes = request.add_tags or request.remove_tags or request.HasField("title") or request.HasField("notes")
    if not changes:
        raise InvalidArgument("nothing to change: give title, notes, add_tags or remove_tags")
    wrong = list(_name("title", request.title))
    if len(request.notes) > _LONGEST_NOTES:
        wrong.append(FieldViolation("notes", f"{len(request.notes)} characters; at most {_LONGEST_NOTES}"))
    if "\0" in request.notes:
        wrong.append(FieldViolation("notes", "holds a NUL character"))
    for tag in request.add_tags:
        if not (0 < len(tag) <= _LONGEST_TAG and tag.isprintable() and len(tag.split()) == 1 and tag == tag.strip()):
            said = f"{tag[:_LONGEST_NAME]!r} is not one printable word of at most {_LONGEST_TAG} characters"
            wrong.append(FieldViolation("add_tags", said))
    _refuse(wrong)


def _refuse(wrong: list[FieldViolation]) -> None:
    if wrong:
        raise InvalidArgument("; ".join(f"{v.field}: {v.message}" for v in wrong), violations=wrong)


def _texts(spec: pb.SearchSpec, request_id: str) -> Iterator[FieldViolation]:
    further = [("spec.further_objectives", text) for text in spec.further_objectives]
    if len(further) > _MOST_FURTHER_OBJECTIVES:
        yield FieldViolation(further[0][0], f"{len(further)} objectives; at most {_MOST_FURTHER_OBJECTIVES}")
    texts = [("request_id", request_id), *((f"spec.{name}", getattr(spec, name)) for name in _NAMES)]
    for field, text in [*texts, *(("spec.backends", name) for name in spec.backends), *further]:
        yield from _name(field, text)


def _name(field: str, text: str) -> Iterator[FieldViolation]:
    if len(text) > _LONGEST_NAME:
        yield FieldViolation(field, f"{len(text)} characters; at most {_LONGEST_NAME}")
    elif not text.isprintable():
        yield FieldViolation(field, f"{text!r} holds a character that cannot be printed")


def _budget(budget: pb.Budget, path: str) -> Iterator[FieldViolation]:
    for bound, least, most in _BUDGET:
        if budget.HasField(bound):
            yield from _range(f"{path}.{bound}", getattr(budget, bound), least, most)


def _numbers(spec: pb.SearchSpec) -> Iterator[FieldViolation]:
    for name in ("parallel_generations", "parallel_verifications"):
        yield from _range(f"spec.{name}", getattr(spec, name), 0, MOST_PARALLEL, " (0: the default)")
    if spec.HasField("assume_usd_per_generation"):
        yield from _range("spec.assume_usd_per_generation", spec.assume_usd_per_generation, 0, _MOST_USD)
    if spec.allowance.HasField("max_cost_usd"):
        yield from _range("spec.allowance.max_cost_usd", spec.allowance.max_cost_usd, 1e-9, _MOST_USD)
    tokens = spec.allowance.max_output_tokens
    yield from _range("spec.allowance.max_output_tokens", tokens, 0, _MOST_TOKENS, " (0: the default)")
    for name in _LIMITS:
        yield from _range(f"spec.limits.{name}", getattr(spec.limits, name), 0, 2**62, " (0: the default)")


def _agent(agent: pb.AgentOptions) -> Iterator[FieldViolation]:
    for name, most in (("max_turns", _MOST_TURNS), ("max_runs", _MOST_RUNS), ("max_seconds", _MOST_SECONDS)):
        yield from _range(f"spec.agent.{name}", getattr(agent, name), 0, most, " (0: the default)")


def _stop(rules: pb.StopRules) -> Iterator[FieldViolation]:
    if rules.HasField("near_bound"):
        yield from _range("spec.stop.near_bound", rules.near_bound, 1e-9, 1, " (0.99: 99 % of the bound)")
    if rules.HasField("score"):
        yield from _range("spec.stop.score", rules.score, -1e300, 1e300)
    if rules.HasField("candidates_without_improvement"):
        since = rules.candidates_without_improvement
        yield from _range("spec.stop.candidates_without_improvement", since, 1, _MOST_CANDIDATES)


def _lessons(spec: pb.SearchSpec) -> Iterator[FieldViolation]:
    if len(spec.carried_lessons) > _MOST_LESSONS:
        yield FieldViolation("spec.carried_lessons", f"{len(spec.carried_lessons)} lessons; at most {_MOST_LESSONS}")
    for i, lesson in enumerate(spec.carried_lessons):
        if not lesson.strip():
            yield FieldViolation(f"spec.carried_lessons[{i}]", "is empty")
        elif len(lesson) > _LONGEST_LESSON:
            said = f"{len(lesson)} characters; at most {_LONGEST_LESSON}"
            yield FieldViolation(f"spec.carried_lessons[{i}]", said)
        elif "\0" in lesson:
            yield FieldViolation(f"spec.carried_lessons[{i}]", "holds a NUL character")


def _range(field: str, value: float, least: float, most: float, note: str = "") -> Iterator[FieldViolation]:
    if not least <= value <= most:  # NaN is in no range
        yield FieldViolation(field, f"{value:g} is not within {least:g} and {most:g}{note}")


def _options(options: struct_pb2.Struct, path: str) -> Iterator[FieldViolation]:
    for key, value in options.fields.items():
        yield from _finite(value, f"{path}.{key}")


def _finite(value: struct_pb2.Value, path: str) -> Iterator[FieldViolation]:
    match value.WhichOneof("kind"):
        case "number_value" if not math.isfinite(value.number_value):
            yield FieldViolation(path, f"{value.number_value:g} is not a finite number")
        case "struct_value":
            yield from _options(value.struct_value, path)
        case "list_value":
            for item in value.list_value.values:
                yield from _finite(item, path)


def _seeds(spec: pb.SearchSpec) -> Iterator[FieldViolation]:
    if len(spec.seed_policies) > _MOST_SEEDS:
        yield FieldViolation("spec.seed_policies", f"{len(spec.seed_policies)} policies; at most {_MOST_SEEDS}")
    size = sum(len(policy.source.encode()) for policy in spec.seed_policies)
    if size > _MOST_SEED_BYTES:
        yield FieldViolation("spec.seed_policies", f"{size} bytes in all; at most {_MOST_SEED_BYTES}")
    for i, policy in enumerate(spec.seed_policies):
        if not policy.source.strip():
            yield FieldViolation(f"spec.seed_policies[{i}]", "is empty")
        elif "\0" in policy.source:
            yield FieldViolation(f"spec.seed_policies[{i}]", "holds a NUL character: not Python source")
