"""What an author or an LLM should read of a verdict, bounded in size. Train scenarios only: nothing here ever shows a
held-out scenario, because backends read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quintain.plugins.simulator import Aggregation, Direction, FailureKind, Part, PolicyFailure
from quintain_verifier.domain.verdict import TIME_LIMITS, PartScore, ScenarioVerdict, Status, Verdict

TEXT_LIMIT = 24_000
_FAILURE_LIMIT = 2_000
_METRICS_SHOWN = 24
_TIMELINE_SHOWN = 15


@dataclass(frozen=True, slots=True)
class ScenarioChange:
    scenario: str
    value: float
    parent_value: float


def changes(verdict: Verdict, parent: Mapping[str, float]) -> tuple[ScenarioChange, ...]:
    """How the train scenarios moved against the parent's values (by scenario name)."""
    return tuple(
        ScenarioChange(s.scenario.name, s.score.value, parent[s.scenario.name])
        for s in _train(verdict)
        if s.scenario.name in parent
    )


def render(verdict: Verdict, moved: Sequence[ScenarioChange], limit: int = TEXT_LIMIT) -> str:
    """The text, most important first, at most `limit` characters."""
    train = _train(verdict)
    if not train:
        return "No train scenario was part of this request, so there is nothing to show."
    parents = {c.scenario: c.parent_value for c in moved}
    head = (
        f"{_summary(verdict, train)}\n{_score_line(verdict, verdict.train)}"
        if verdict.train
        else _summary(verdict, train)
    )
    sections = [head, _models(verdict, train), _first_failure(train), _table(verdict, train, parents)]
    return _joined([*sections, *_scenarios(verdict, train)], limit)


def render_details(verdict: Verdict, limit: int = TEXT_LIMIT) -> str:
    """The text for a reader who has a table of the scenarios' values, bounds and floors: what that does not say."""
    train = _train(verdict)
    if not train:
        return "No train scenario was part of this request, so there is nothing to show."
    sections = [_summary(verdict, train), _models(verdict, train), _first_failure(train), _exceptions(train)]
    return _joined([*sections, *_scenarios(verdict, train)], limit)


def _joined(sections: Sequence[str], limit: int) -> str:
    text = ""
    for section in sections:
        if not section:
            continue
        addition = ("\n\n" if text else "") + section
        if len(text) + len(addition) > limit:
            return _cut(text + addition, limit)
        text += addition
    return text


def _train(verdict: Verdict) -> list[ScenarioVerdict]:
    return [s for s in verdict.scenarios if s.scenario.part is Part.TRAIN]


def _summary(verdict: Verdict, train: Sequence[ScenarioVerdict]) -> str:
    failed = sum(s.failure is not None for s in train)
    skipped = sum(s.outcome is None for s in train)
    if verdict.status is Status.NONDETERMINISTIC:
        head = "The policy is not deterministic: two runs of one request decided differently, so there is no score."
    elif skipped and any(f.kind in TIME_LIMITS for s in train if (f := s.failure) is not None):
        head = (
            f"A time limit ended the policy, and with it the verification: {skipped} of {len(train)} scenarios did not"
            " run and count as the worst score."
        )
    elif skipped:
        ran = len(train) - skipped
        head = f"Stopped early: the score to reach was out of reach after {ran} of {len(train)} scenarios."
    elif failed:
        head = f"The policy failed on {failed} of {len(train)} scenarios; a failed scenario counts as the worst score."
    else:
        head = f"The policy ran to the end on all {len(train)} scenarios."
    broken = sum(bool(s.score.broken_floors) for s in train)
    if broken and verdict.aggregation is Aggregation.MEDIAN_VALUE:
        head += f" It breaks a floor on {broken}: the score is at most that of the worst of these, whatever the median."
    return head


def _score_line(verdict: Verdict, part: PartScore) -> str:
    better = "higher" if verdict.direction is Direction.MAXIMIZE else "lower"
    objective = verdict.objective
    if verdict.aggregation is Aggregation.MEAN_NORMALIZED:
        what = f"mean of normalised {objective.name}, 0 the worst, 1 the provable bound"
    else:
        what = f"median {_with_unit(objective.name, objective.unit)}"
    line = f"Score ({what}; {better} is better): {_number(part.score)}; baseline {_number(part.baseline_score)}"
    return line + (f"; bound {_number(part.bound_score)}." if part.bound_score is not None else ".")


def _with_unit(name: str, unit: str) -> str:
    return f"{name}, {unit}" if unit else name  # shares have none


def _models(verdict: Verdict, train: Sequence[ScenarioVerdict]) -> str:
    """Of each situation that ran in several models: which was the worst, beside the others."""
    models = verdict.train.models if verdict.train is not None else {}
    if not models:
        return ""
    alone = ", ".join(f"{name} {_number(score)}" for name, score in models.items())
    lines = [f"Nobody knows which of these models of the system is right, so the worst counts. Score alone: {alone}."]
    groups: dict[str, list[ScenarioVerdict]] = {}
    for s in train:
        if s.scenario.group:
            groups.setdefault(s.scenario.group, []).append(s)
    for group, members in groups.items():
        worst, *others = sorted(members, key=lambda s: s.score.normalized)
        beside = ", ".join(f"{s.scenario.model} {_number(s.score.normalized)}" for s in others)
        lines.append(f"- {group}: worst in {worst.scenario.model}, {_number(worst.score.normalized)} ({beside})")
    return "\n".join(lines)


def _first_failure(train: Sequence[ScenarioVerdict]) -> str:
    for verdict in train:
        if verdict.failure is not None:
            return _cut(f"First failure, in {verdict.scenario.name}: {_failure(verdict.failure)}", _FAILURE_LIMIT)
    return ""


def _failure(failure: PolicyFailure) -> str:
    where = []
    if failure.rule:
        where.append(f"rule {failure.rule}")
    if failure.step is not None:
        where.append(f"step {failure.step}")
    if failure.time_seconds is not None:
        where.append(f"{_number(failure.time_seconds)} s simulated")
    if failure.line is not None:
        where.append(f"line {failure.line} of the policy")
    place = f" ({', '.join(where)})" if where else ""
    head = f"{_KINDS[failure.kind]}{place}: {failure.message}"
    return f"{head}\n{failure.traceback}" if failure.traceback else head


_KINDS: Mapping[FailureKind, str] = {
    FailureKind.LOAD: "the policy could not be loaded",
    FailureKind.RAISED: "an exception left the policy",
    FailureKind.REJECTED: "a decision was rejected",
    FailureKind.PROTOCOL: "the policy process broke the message protocol",
    FailureKind.DECISION_SIZE: "a decision was too large",
    FailureKind.CPU_LIMIT: "the CPU time limit was used up",
    FailureKind.MEMORY_LIMIT: "the memory limit was used up",
    FailureKind.WALL_LIMIT: "the wall time limit passed",
    FailureKind.DIED: "the policy process died",
    FailureKind.FORBIDDEN: "the policy tried something that the sandbox forbids",
    FailureKind.NONDETERMINISTIC: "the policy is not deterministic",
}


def _table(verdict: Verdict, train: Sequence[ScenarioVerdict], parents: Mapping[str, float]) -> str:
    counted = _with_unit(verdict.objective.metric, verdict.objective.unit)
    lines = [f"Scenarios ({counted}; normalised 0 the worst, 1 the bound):"]
    lines += [_row(s, parents.get(s.scenario.name)) for s in train]
    return "\n".join(lines)


def _row(verdict: ScenarioVerdict, parent: float | None) -> str:
    score = verdict.score
    cells = [f"{_number(score.value)}", f"baseline {_number(score.baseline)}"]
    if parent is not None:
        cells.append(f"parent {_number(parent)}")
    if score.bound is not None:
        cells.append(f"bound {_number(score.bound)}")
    cells.append(f"normalised {_number(score.normalized)}")
    if exception := _exception(verdict):
        cells.append(exception)
    return f"- {verdict.scenario.name}: " + ", ".join(cells)


def _exceptions(train: Sequence[ScenarioVerdict]) -> str:
    """What did not go as it should, scenario by scenario."""
    lines = [f"- {s.scenario.name}: {exception}" for s in train if (exception := _exception(s))]
    return "\n".join(["Not as they should be:", *lines]) if lines else ""


def _exception(verdict: ScenarioVerdict) -> str:
    score = verdict.score
    if verdict.outcome is None:
        return "not run"
    if verdict.failure is not None:
        return f"FAILED: {verdict.failure.kind.value}"
    if not score.broken_floors:
        return ""
    broken = "; ".join(f"{f.name} {_number(f.reached)} of {_number(f.required)}" for f in score.broken_floors)
    return f"BROKEN FLOORS: {broken}" + (f" (measured {_number(score.raw)})" if score.raw is not None else "")


def _scenarios(verdict: Verdict, train: Sequence[ScenarioVerdict]) -> list[str]:
    """The details, worst scenario first."""
    ranked = sorted((s for s in train if s.outcome is not None), key=lambda s: s.score.normalized)
    return [_scenario(s, verdict.other_metrics, timeline=number == 0) for number, s in enumerate(ranked)]


def _scenario(verdict: ScenarioVerdict, other_metrics: Sequence[str], *, timeline: bool) -> str:
    assert verdict.outcome is not None
    outcome = verdict.outcome
    lines = [f"{verdict.scenario.name} in detail:"]
    if verdict.failure is not None:
        lines.append(f"  {verdict.failure.kind.value}: {_cut(verdict.failure.message, 300)}")
    repeated = {f"{group.name}_{name}" for group in outcome.groups for name in group.metrics}
    metrics = {name: v for name, v in outcome.metrics.items() if name not in other_metrics and name not in repeated}
    if metrics:
        lines.append(f"  {_metrics(metrics)}")
    lines += [f"  {group.name}: {_metrics(group.metrics)}" for group in outcome.groups]
    if outcome.failures_by_reason:
        reasons = ", ".join(f"{reason} {count}" for reason, count in outcome.failures_by_reason.items())
        lines.append(f"  failures in the system: {reasons}")
    if timeline and outcome.timeline:
        lines.append("  around the worst moment:")
        lines += [f"    {_number(e.time_seconds)} s: {_cut(e.text, 200)}" for e in outcome.timeline[:_TIMELINE_SHOWN]]
    return "\n".join(lines) if len(lines) > 1 else ""


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in list(metrics.items())[:_METRICS_SHOWN])


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def _cut(text: str, limit: int) -> str:
    """`text` at most `limit` characters long, cut at a line's end where there is one."""
    if len(text) <= limit:
        return text
    mark = " [cut]"
    kept = text[: limit - len(mark)]
    newline = kept.rfind("\n")
    return (kept[:newline] if newline > limit // 2 else kept) + mark
