"""A verdict as plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field

from quintain.session import html
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain.wording import enum_name, failure_text, fidelity_text, improvement, number, percent, share_of_bound


@dataclass(frozen=True, slots=True)
class Score:
    """The score over one part of a suite, in the objective's unit (or normalized, as the suite aggregates)."""

    value: float
    baseline: float
    bound: float | None  # what is provably possible
    better: float | None  # improvement over the baseline as a share of it; positive is better, either direction
    of_bound: float | None  # 1: the bound is reached
    scenarios: int
    scenarios_failed: int


@dataclass(frozen=True, slots=True)
class ScenarioRow:
    """The outcome on one scenario."""

    scenario: str
    part: str  # "train" or "held out"
    ran: bool
    value: float  # the metric after failures and floors were counted
    normalized: float  # 0 the worst, 1 the provable bound
    baseline: float
    bound: float | None
    failure: str | None
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of verifying one policy. `message` is the contract's, with everything."""

    status: str  # "ok", "policy failed", "nondeterministic", "stopped early"
    digest: str
    objective: str
    train: Score | None
    held_out: Score | None
    scenarios: list[ScenarioRow]
    failure: str | None  # the first one, in a line
    traceback: str
    feedback: str  # what an author should read; empty where it was not asked for
    fidelity: str  # of the model that this was verified in, "unverified: ..."; empty: it is no model of something else
    message: pb.Verdict = field(repr=False, compare=False)

    @property
    def ok(self) -> bool:
        return self.message.status == pb.VERDICT_STATUS_OK

    def _repr_html_(self) -> str:
        rows = [
            (r.scenario, r.part, number(r.value), number(r.baseline), number(r.bound), percent(r.normalized),
             r.failure or ("" if r.ran else "did not run"))
            for r in self.scenarios
        ]  # fmt: skip
        parts = [
            f"{name}: {number(score.value)}, {percent(score.better, signed=True)} against the baseline's "
            f"{number(score.baseline)}, {percent(score.of_bound)} of the bound"
            for name, score in (("train", self.train), ("held-out", self.held_out))
            if score is not None
        ]
        lines = [f"{self.status}, {self.objective}, verdict {self.digest[:16]}", *parts, *filter(None, [self.failure])]
        if self.fidelity:
            lines.append(f"verified in a model, fidelity {self.fidelity}")
        header = ("scenario", "part", "value", "baseline", "bound", "normalized", "")
        return "".join(map(html.paragraph, lines)) + html.table(header, rows)


def verdict_of(message: pb.Verdict, feedback: str = "") -> Verdict:
    """The verdict of a message."""
    return Verdict(
        status=enum_name(pb.VerdictStatus, message.status),
        digest=message.digest,
        objective=message.objective,
        train=_score(message.train, message.direction) if message.HasField("train") else None,
        held_out=_score(message.held_out, message.direction) if message.HasField("held_out") else None,
        scenarios=[_scenario(scenario) for scenario in message.scenarios],
        failure=failure_text(message.failure) if message.HasField("failure") else None,
        traceback=message.failure.traceback,
        feedback=feedback,
        fidelity=fidelity_text(message.fidelity, message.fidelity_reason),
        message=message,
    )


def _score(part: pb.PartScore, direction: int) -> Score:
    bound = part.bound_score if part.HasField("bound_score") else None
    return Score(
        value=part.score,
        baseline=part.baseline_score,
        bound=bound,
        better=improvement(part.score, part.baseline_score, direction),
        of_bound=share_of_bound(part.score, bound, direction),
        scenarios=part.scenarios,
        scenarios_failed=part.scenarios_failed,
    )


def _scenario(scenario: pb.ScenarioVerdict) -> ScenarioRow:
    return ScenarioRow(
        scenario=scenario.scenario,
        part=enum_name(type_pb2.Part, scenario.part),
        ran=scenario.ran,
        value=scenario.value,
        normalized=scenario.normalized,
        baseline=scenario.baseline,
        bound=scenario.bound if scenario.HasField("bound") else None,
        failure=failure_text(scenario.failure) if scenario.HasField("failure") else None,
        metrics={metric.name: metric.value for metric in scenario.metrics},
    )
