"""What a report is made of, and the sums that are done on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quintain.controller.v1 import controller_pb2 as pb
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2


@dataclass(frozen=True, slots=True)
class Timeline:
    """A picture of one run: a plotly figure, and whose run it is."""

    name: str
    figure: Any


@dataclass(frozen=True, slots=True)
class ToolTotal:
    """What one tool was used for in a conversation. `failed`: calls that were wrong or refused; `runs`: of policies,
    which kept the verifier busy for `seconds`."""

    name: str
    calls: int
    failed: int
    runs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Conversation:
    """How a model made a candidate: how often it answered, the tools in the order of their first call, what it cost."""

    number: int
    turns: int
    tools: Sequence[ToolTotal]
    cost_usd: float


def conversation_of(candidate: pb.Candidate) -> Conversation | None:
    """None for a candidate that was made without tools."""
    uses, turns = candidate.tool_uses, len(candidate.generation.turns)
    if not uses and not turns:
        return None
    by_name: dict[str, list[pb.ToolUse]] = {}
    for use in uses:
        by_name.setdefault(use.call.name, []).append(use)
    totals = [
        ToolTotal(name, len(of), sum(u.result.failed for u in of), sum(u.runs for u in of), sum(u.seconds for u in of))
        for name, of in by_name.items()
    ]
    return Conversation(candidate.summary.number, turns, totals, candidate.summary.cost.usd)


@dataclass(frozen=True, slots=True)
class ReportData:
    """A search with its candidates in order of number. `shown` is the promoted winner or else the best candidate; None
    if nothing was scored. `verdict` is that of `shown`, on held-out scenarios as well where it could be had. `seed` is
    the policy that `shown` is compared with. `sources`: of the candidates that can be looked at, by id."""

    search: pb.Search
    candidates: Sequence[pb.CandidateSummary]
    events: Sequence[pb.Event]
    shown: pb.Candidate | None = None
    verdict: verifier_pb2.Verdict | None = None
    seed: pb.Candidate | None = None
    timelines: Sequence[Timeline] = field(default_factory=tuple)
    timelines_scenario: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    notebook: pb.GetNotebookResponse = field(default_factory=pb.GetNotebookResponse)
    conversations: Sequence[Conversation] = ()

    @property
    def minimize(self) -> bool:
        return bool(self.search.direction == type_pb2.DIRECTION_MINIMIZE)

    @property
    def promoted(self) -> bool:
        return self.search.HasField("winner")

    @property
    def scored(self) -> list[pb.CandidateSummary]:
        return [c for c in self.candidates if c.HasField("score")]

    @property
    def unscored(self) -> list[pb.CandidateSummary]:
        """Candidates that are done but have no score: refused, without code, failed, not deterministic."""
        done = (pb.CANDIDATE_STATE_VERIFIED, pb.CANDIDATE_STATE_REJECTED)
        return [c for c in self.candidates if not c.HasField("score") and c.state in done]

    @property
    def baseline(self) -> float | None:
        return next((c.baseline_score for c in self.scored if c.HasField("baseline_score")), None)

    @property
    def bound(self) -> float | None:
        return next((c.bound_score for c in self.scored if c.HasField("bound_score")), None)

    def better(self, score: float, than: float) -> bool:
        return score < than if self.minimize else score > than


@dataclass(frozen=True, slots=True)
class BestSoFar:
    """The best score after each scored candidate, and the dollars that were spent by then."""

    numbers: list[int]
    scores: list[float]
    usd: list[float]


def best_so_far(data: ReportData) -> BestSoFar:
    numbers: list[int] = []
    scores: list[float] = []
    dollars: list[float] = []
    spent = 0.0
    for candidate in data.candidates:
        spent += 0.0 if candidate.cost.unpriced else candidate.cost.usd
        if not candidate.HasField("score"):
            continue
        best = scores[-1] if scores and not data.better(candidate.score, scores[-1]) else candidate.score
        numbers.append(candidate.number)
        scores.append(best)
        dollars.append(spent)
    return BestSoFar(numbers, scores, dollars)


def ancestors(data: ReportData, candidate_id: str) -> set[str]:
    """Ids of a candidate and of all it descends from."""
    by_id = {c.candidate_id: c for c in data.candidates}
    found: set[str] = set()
    waiting = [candidate_id]
    while waiting:
        current = waiting.pop()
        if current in found or current not in by_id:
            continue
        found.add(current)
        waiting.extend(by_id[current].parent_ids)
    return found


@dataclass(slots=True)
class BackendCost:
    """What one backend was asked and what it cost."""

    backend: str
    generations: int = 0
    scored: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    at_risk_usd: float = 0.0
    unpriced: int = 0


def costs_by_backend(data: ReportData) -> list[BackendCost]:
    costs: dict[str, BackendCost] = {}
    for c in data.candidates:
        if not c.backend:
            continue  # a seed policy: nobody was asked
        cost = costs.setdefault(c.backend, BackendCost(c.backend))
        cost.generations += 1
        cost.scored += c.HasField("score")
        cost.input_tokens += c.usage.input_tokens + c.usage.cache_write_tokens
        cost.cached_tokens += c.usage.cached_input_tokens
        cost.output_tokens += c.usage.output_tokens
        cost.unpriced += c.cost.unpriced
        cost.usd += 0.0 if c.cost.unpriced else c.cost.usd
        cost.at_risk_usd += c.cost.at_risk_usd
    return list(costs.values())
