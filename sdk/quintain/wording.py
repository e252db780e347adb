"""How values of the contracts are said to people: numbers, dollars, shares, names of enumerated values, failures."""

from __future__ import annotations

from typing import Any

from quintain.controller.v1 import controller_pb2
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2

NOTHING = "-"
_PREFIXES: dict[str, str] = {}  # of the names of an enumeration's values, by its full name


def number(value: float | None) -> str:
    """Four significant digits, thousands separated."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def percent(share: float | None, signed: bool = False) -> str:
    """A share (0.5 = 50 %)."""
    if share is None:
        return NOTHING
    return f"{100 * share:{'+' if signed else ''}.1f} %"


def usd(value: float) -> str:
    return f"${value:.4f}" if 0 < value < 1 else f"${value:,.2f}"


def improvement(score: float | None, baseline: float | None, direction: int) -> float | None:
    """How much better than the baseline, as a share of it; positive is better whichever way the score runs."""
    if score is None or not baseline:
        return None
    change = (score - baseline) / abs(baseline)
    return -change if direction == type_pb2.DIRECTION_MINIMIZE else change


def share_of_bound(score: float | None, bound: float | None, direction: int) -> float | None:
    """How much of what is provably possible was reached: 1 is the bound."""
    if score is None or bound is None:
        return None
    numerator, denominator = (bound, score) if direction == type_pb2.DIRECTION_MINIMIZE else (score, bound)
    return numerator / denominator if denominator else None


def fidelity_text(fidelity: int, reason: str) -> str:
    """How far the model is to be trusted, ``unverified: the model has no fidelity card``; empty where what ran is no
    model of something else."""
    if fidelity == type_pb2.FIDELITY_UNSPECIFIED:
        return ""
    return f"{enum_name(type_pb2.Fidelity, fidelity)}{f': {reason}' if reason else ''}"


def enum_name(enum: Any, value: int) -> str:
    """``SEARCH_STATE_RUNNING`` as ``running``."""
    name: str = enum.Name(value)
    prefix = _PREFIXES.get(enum.DESCRIPTOR.full_name)
    if prefix is None:
        names = [v.name for v in enum.DESCRIPTOR.values]
        unspecified = next(n for n in names if n.endswith("UNSPECIFIED"))
        prefix = _PREFIXES[enum.DESCRIPTOR.full_name] = unspecified.removesuffix("UNSPECIFIED")
    return name.removeprefix(prefix).lower().replace("_", " ")


def failure_text(failure: verifier_pb2.Failure) -> str:
    """One line: the kind, the broken rule, where, and the message."""
    where = []
    if failure.HasField("step"):
        where.append(f"step {failure.step}")
    if failure.HasField("time_seconds"):
        where.append(f"t={failure.time_seconds:g} s")
    if failure.HasField("line"):
        where.append(f"line {failure.line}")
    kind = enum_name(verifier_pb2.FailureKind, failure.kind)
    rule = f" {failure.rule}" if failure.rule else ""
    place = f" at {', '.join(where)}" if where else ""
    return f"{kind}{rule}{place}: {failure.message}"


def operator_name(candidate: controller_pb2.CandidateSummary) -> str:
    """How it came to be: an operator, or ``seed``."""
    return enum_name(generator_pb2.Operator, candidate.operator) if candidate.operator else "seed"


def outcome_name(candidate: controller_pb2.CandidateSummary) -> str:
    """Its verdict's status, why it was rejected, or how far it is."""
    if candidate.state == controller_pb2.CANDIDATE_STATE_VERIFIED:
        return enum_name(verifier_pb2.VerdictStatus, candidate.verdict_status)
    if candidate.state == controller_pb2.CANDIDATE_STATE_REJECTED:
        return enum_name(generator_pb2.Outcome, candidate.generation_outcome)
    return enum_name(controller_pb2.CandidateState, candidate.state)


def broken_floors(scenario: verifier_pb2.ScenarioVerdict) -> str:
    broken = [f for f in scenario.floors if f.reached < f.required]
    return ", ".join(f"{f.name} {number(f.reached)} < {number(f.required)}" for f in broken)


def stop_text(rules: controller_pb2.StopRules) -> str:
    """The rules that are set, in words; empty if none is."""
    parts = []
    if rules.HasField("near_bound"):
        parts.append(f"{100 * rules.near_bound:g} % of the bound")
    if rules.HasField("score"):
        parts.append(f"score {number(rules.score)}")
    if rules.HasField("candidates_without_improvement"):
        parts.append(f"{rules.candidates_without_improvement} candidates without a better one")
    return " or ".join(parts)


def budget_text(budget: controller_pb2.Budget) -> str:
    """The bounds that are set, in words."""
    parts = []
    if budget.HasField("candidates"):
        parts.append(f"{budget.candidates} candidates")
    if budget.HasField("verifications"):
        parts.append(f"{budget.verifications} verifications")
    if budget.HasField("usd"):
        parts.append(usd(budget.usd))
    if budget.HasField("tokens"):
        parts.append(f"{budget.tokens:,} tokens")
    if budget.HasField("wall_seconds"):
        parts.append(f"{budget.wall_seconds / 60:g} min")
    return ", ".join(parts) or "none"
