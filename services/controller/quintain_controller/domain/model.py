"""The words of a search as plain data. Enum values equal the contract's numbers (a contract test compares them)."""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

NANO = 1_000_000_000
REQUEST_VERSION = 1  # see SearchContext

AGENT = "agent"  # the operator that makes a candidate in a conversation

# The parts of a suite: what steers a search, and what nobody may see while it runs.
TRAIN = "train"
HELD_OUT = "held_out"


class SearchState(enum.IntEnum):
    RUNNING = 1
    PAUSED = 2
    FINISHED = 3
    CANCELLED = 4
    FAILED = 5

    @property
    def ended(self) -> bool:
        return self in (SearchState.FINISHED, SearchState.CANCELLED, SearchState.FAILED)


class CandidateState(enum.IntEnum):
    REQUESTED = 1
    GENERATED = 2
    VERIFIED = 3
    REJECTED = 4

    @property
    def settled(self) -> bool:
        return self in (CandidateState.VERIFIED, CandidateState.REJECTED)


class GenerationOutcome(enum.IntEnum):
    """Of a generation; NONE for a seed policy, which nobody generated."""

    NONE = 0
    OK = 1
    TRUNCATED = 2
    REFUSED = 3
    CONTENT_FILTERED = 4
    EMPTY = 5
    NO_CODE = 6
    INVALID_CODE = 7
    DIFF_FAILED = 8
    DUPLICATE = 9
    UNKNOWN = 10
    CANCELLED = 11


class VerdictStatus(enum.IntEnum):
    NONE = 0
    OK = 1
    POLICY_FAILED = 2
    NONDETERMINISTIC = 3
    STOPPED_EARLY = 4


class Direction(enum.IntEnum):
    MAXIMIZE = 1
    MINIMIZE = 2


class WinnerRule(enum.IntEnum):
    """In which order candidates come before the gates."""

    BEST_TRAIN = 1
    EARLIEST_EQUAL = 2
    CROSS_VALIDATED = 3


class Aggregation(enum.IntEnum):
    MEDIAN_VALUE = 1
    MEAN_NORMALIZED = 2


# ------------------------------------------------------------------------------------------------------------- money


@dataclass(frozen=True, slots=True)
class Budget:
    """Bounds of a search; None is no bound. Dollars in billionths, so that sums are exact."""

    usd_nano: int | None = None
    tokens: int | None = None
    candidates: int | None = None
    verifications: int | None = None
    wall_seconds: float | None = None
    tool_seconds: float | None = None  # of the verifier, for tools in conversations

    @property
    def bounded(self) -> bool:
        bounds = (self.usd_nano, self.tokens, self.candidates, self.verifications, self.wall_seconds)
        return any(bound is not None for bound in bounds)


@dataclass(frozen=True, slots=True)
class Spend:
    """What a search has used; `reserved_*` is in flight, `at_risk` the most that calls with unknown outcome cost.
    `verifications` includes `tool_runs`."""

    usd_nano: int = 0
    reserved_usd_nano: int = 0
    at_risk_usd_nano: int = 0
    tokens: int = 0
    reserved_tokens: int = 0
    candidates: int = 0
    verifications: int = 0
    wall_seconds: float = 0.0
    unpriced_generations: int = 0
    tool_runs: int = 0
    reserved_tool_runs: int = 0
    tool_seconds: float = 0.0
    reserved_tool_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Charge:
    """What one generation costs: reserved before, actual after. `tool_runs` and `tool_seconds` are the verifier's, for
    tools of its conversation."""

    usd_nano: int = 0
    tokens: int = 0
    at_risk_usd_nano: int = 0
    unpriced: bool = False
    tool_runs: int = 0
    tool_seconds: float = 0.0

    def with_tools_of(self, other: Charge) -> Charge:
        """With what the tools have used according to `other`: money and tools are told by different services."""
        return replace(self, tool_runs=other.tool_runs, tool_seconds=other.tool_seconds)


# -------------------------------------------------------------------------------------------------------- the search


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one run of a policy; zero is the verifier's default."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    decision_bytes: int = 0
    output_bytes: int = 0
    source_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """Bounds of one generation; zero, None and empty are the backend's defaults."""

    max_output_tokens: int = 0
    max_cost_usd: float | None = None
    effort: str = ""


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Bounds of one conversation: answers of the model, runs of policies by tools, seconds of the verifier for them."""

    max_turns: int = 12
    max_runs: int = 16
    max_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class ToolDeclaration:
    """A tool as the model is told of it. `parameters`: JSON Schema of its arguments."""

    name: str
    description: str
    parameters: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's call of a tool. `arguments` is JSON as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call with what it said. `runs` counts policies that were run, `seconds` is how long the verifier worked.
    `repeatable`: the same call says the same again; false if it depended on the time that was left."""

    call: ToolCall
    content: str
    failed: bool
    runs: int
    seconds: float
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class ToolsWanted:
    """A conversation waits for these tools. `charge`: what it has cost so far, where the generator says it."""

    calls: tuple[ToolCall, ...]
    charge: Charge | None


@dataclass(frozen=True, slots=True)
class AnswerLater:
    """A request's answer is made in a provider's batch: it is of use to ask again after `seconds`. `charge`: what the
    request has cost so far, where the generator says it."""

    seconds: float
    charge: Charge | None


@dataclass(frozen=True, slots=True)
class StopRules:
    """What ends a search before its budget is used up; None: no such rule. All are on train scores.

    `near_bound`: share of the provable bound, above 0 and at most 1. `score`: on the suite's scale.
    """

    near_bound: float | None = None
    score: float | None = None
    candidates_without_improvement: int | None = None


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """What to search for and how, with every default filled in. `window` is how many candidates may be under way."""

    simulator: str
    suite: str
    objective: str
    strategy: str
    strategy_options: Mapping[str, object]
    backends: tuple[str, ...]
    budget: Budget
    seed: int
    seed_policies: tuple[str, ...]
    parallel_generations: int
    parallel_verifications: int
    window: int
    limits: Limits = Limits()
    allowance: Allowance = Allowance()
    assume_usd_nano: int | None = None
    title: str = ""
    winner_rule: WinnerRule = WinnerRule.BEST_TRAIN
    suite_digest: str = ""  # of a suite that came with the search; empty: one of the simulator's
    stop: StopRules = StopRules()
    # By backend: a `quintain.plugins.strategy.Role`, for those to which the user gave one.
    backend_roles: Mapping[str, str] = field(default_factory=dict)
    further_objectives: tuple[str, ...] = ()  # as the user names them: see `SearchContext.axes`
    hints: bool = False  # whether backends are shown the simulator's hints
    carried_lessons: tuple[str, ...] = ()  # of earlier searches, in every request
    agent: AgentOptions | None = None  # candidates are made in conversations, by backends that can


@dataclass(frozen=True, slots=True)
class Axis:
    """An objective beside the one that scores: the mean of a metric over the train scenarios. `metric` of a class of
    work: CLASS.METRIC."""

    name: str
    metric: str
    direction: Direction
    unit: str = ""

    def greater_is_better(self, value: float) -> float:
        return value if self.direction is Direction.MAXIMIZE else -value


@dataclass(frozen=True, slots=True)
class BackendProfile:
    """What was known of a backend when the search began."""

    name: str
    operators: tuple[str, ...]
    priced: bool
    max_request_cost_usd_nano: int | None
    # What its latest requests have cost, all their calls together: how many, the median, a high quantile.
    measured_requests: int = 0
    typical_cost_usd_nano: int | None = None
    high_cost_usd_nano: int | None = None
    high_tokens: int = 0
    role: str = "main"  # what it is for in this search: a `quintain.plugins.strategy.Role`
    batch: bool = False  # works in its provider's batches: answers take up to a day


@dataclass(frozen=True, slots=True)
class SearchContext:
    """What a search was created against, frozen for its life: candidates must not change because a guide was edited.

    `simulator` and `objective` are the contract's messages as they go into every task, opaque here.
    """

    # Bytes in JSON, for whoever stores this.
    __pydantic_config__: ClassVar[Mapping[str, str]] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

    simulator: bytes
    objective: bytes
    simulator_build: str
    suite_description: str
    direction: Direction
    aggregation: Aggregation
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    descriptors: tuple[tuple[str, tuple[float, ...]], ...]
    backends: tuple[BackendProfile, ...]
    default_policy: str
    axes: tuple[Axis, ...] = ()  # of the further objectives
    rules: int = 1  # of strategies and gates: `quintain.plugins.strategy.Problem.rules`; the first version stored none
    scenario_notes: Mapping[str, str] = field(default_factory=dict)  # the simulator's, by train scenario
    # What a request says; it is made again byte for byte, also by a later version. 0: neither scenarios, nor values of
    # attempts, nor its number.
    request_version: int = 0
    tools: tuple[ToolDeclaration, ...] = ()  # of conversations

    @property
    def score_direction(self) -> Direction:
        """Which way the score runs: a mean of normalized values runs up, whichever way the metric does."""
        return Direction.MAXIMIZE if self.aggregation is Aggregation.MEAN_NORMALIZED else self.direction

    def greater_is_better(self, score: float) -> float:
        """The score turned so that greater is better."""
        return score if self.score_direction is Direction.MAXIMIZE else -score


@dataclass(frozen=True, slots=True)
class Gate:
    name: str
    passed: bool
    detail: str
    number: int


# ----------------------------------------------------------------------------------------------------- the candidate


@dataclass(frozen=True, slots=True)
class Screen:
    """A look at a candidate before all train scenarios are run: where, and the mean normalized value that its parent
    has there."""

    scenarios: tuple[str, ...]
    to_reach: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What the strategy asked for, with all that the request is made of. `after`: how many results it had been told.

    `history` and `lessons` as they stand in the request, so that it can be rebuilt byte for byte. `narrowed`: the
    backends that the budget still had room for, if it had not for all.
    """

    backend: str
    operator: str
    parents: tuple[int, ...]
    inspirations: tuple[int, ...]
    island: int
    seed: int
    after: int
    history: tuple[int, ...]
    lessons: tuple[str, ...]
    best: int | None
    narrowed: tuple[str, ...] = ()
    screen: Screen | None = None
    notebook: tuple[int, ...] = ()  # the candidates whose entries it carries


@dataclass(frozen=True, slots=True)
class Generation:
    """A recorded response. `record` is the contract's message, opaque here."""

    outcome: GenerationOutcome
    source: str
    charge: Charge
    detail: str
    record: bytes = field(repr=False)
    rationale: str = ""
    hypothesis: str = ""
    predictions: tuple[Prediction, ...] = ()


@dataclass(frozen=True, slots=True)
class SectionScore:
    """Of some scenarios of a part by themselves; in [0, 1], 0 the worst, 1 the bound."""

    normalized: float
    baseline_normalized: float


@dataclass(frozen=True, slots=True)
class PartScore:
    """`normalized` and `values` in [0, 1], 0 the worst, 1 the bound; values by scenario in the order of the suite."""

    score: float
    baseline_score: float
    bound_score: float | None
    normalized: float
    values: Mapping[str, float]
    sections: Mapping[str, SectionScore] = field(default_factory=dict)  # by name, if the suite has some


@dataclass(frozen=True, slots=True)
class ScenarioReference:
    """What a train scenario is measured with, of the objective's metric: what the default baseline reaches, the bound,
    and what the floors require."""

    baseline: float
    bound: float | None
    floors: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Prediction:
    """How a candidate was expected to differ from its first parent: change of the normalised value of a train scenario
    (an empty name: of the mean of all), and what was measured."""

    scenario: str
    change: float
    measured: float | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """A recorded verdict. `failure` is one line for people, `metrics` means over the train scenarios.

    `record` is the contract's VerifyResult and `identity` its verdict alone (a function of the digest), opaque here.
    """

    digest: str
    simulator_build: str
    status: VerdictStatus
    train: PartScore | None
    held_out: PartScore | None
    metrics: Mapping[str, float]
    behavior: str
    failure: str
    rule: str
    determinism_checked: bool
    confirmed: bool
    feedback: str
    record: bytes = field(repr=False)
    identity: bytes = field(repr=False)
    references: Mapping[str, ScenarioReference] = field(default_factory=dict)  # by train scenario
    decisions: Mapping[str, str] = field(default_factory=dict)  # digest by train scenario
    # Means of the metrics that every train scenario has, those of classes of work as CLASS.METRIC.
    complete_metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate as far as it has come; texts and records stay in the store."""

    number: int
    state: CandidateState
    plan: Plan | None  # None: a seed policy
    request_digest: str = ""
    outcome: GenerationOutcome = GenerationOutcome.NONE
    reserved: Charge = Charge()
    charge: Charge = Charge()
    status: VerdictStatus = VerdictStatus.NONE
    train: PartScore | None = None
    held_out: PartScore | None = None
    verdict_digest: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    behavior: str = ""
    summary: str = ""
    rule: str = ""
    screened: str = ""  # digest of the decisions on one train scenario of each kind
    further: tuple[float, ...] = ()  # values of the context's axes; empty if the verdict lacks one
    hypothesis: str = ""
    predictions: tuple[Prediction, ...] = ()
    # Against the first parent, of normalised values: of the mean, and of the train scenarios that moved most.
    change: float | None = None
    moves: Mapping[str, float] = field(default_factory=dict)
    references: Mapping[str, ScenarioReference] = field(default_factory=dict)  # of candidate 0 only
    # What a request that was given up did cost, if that was not known yet when its candidate was settled.
    late_charge: Charge | None = None

    @property
    def booked(self) -> Charge:
        """What it cost as far as anybody knows. Plans go by `charge`, as it was known when they were made."""
        return self.charge if self.late_charge is None else self.late_charge

    @property
    def waits_for_charge(self) -> bool:
        """Whether it was given up before anybody could say what it cost."""
        given_up = self.state is CandidateState.REJECTED and self.outcome is GenerationOutcome.NONE
        return given_up and self.late_charge is None and self.charge.at_risk_usd_nano > 0


@dataclass(frozen=True, slots=True)
class Example:
    """An earlier candidate as shown to a backend."""

    number: int
    source: str
    score: float | None
    normalized: float | None
    feedback: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One line of the run's digest."""

    number: int
    score: float | None
    summary: str
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Everything that one generation request says."""

    request_id: str
    backend: str
    operator: str
    parents: tuple[Example, ...]
    inspirations: tuple[Example, ...]
    history: tuple[Attempt, ...]
    lessons: tuple[str, ...]
    seed: int
    best_score: float | None
    bound_score: float | None
    allowance: Allowance
    number: int = 0
    references: Mapping[str, ScenarioReference] = field(default_factory=dict)
    carried_lessons: tuple[str, ...] = ()
    max_turns: int = 0  # of a conversation; 0: none


def candidate_seed(search_seed: int, number: int) -> int:
    """64 bits for candidate `number`: a function of the search's seed alone."""
    return int.from_bytes(hashlib.sha256(f"{search_seed}:{number}".encode()).digest()[:8], "big")


def request_id(search_id: str, number: int) -> str:
    """The generation's name for ever: a restart repeats it and gets the recorded response."""
    return f"{search_id}/{number}"


def candidate_id(search_id: str, number: int) -> str:
    return f"{search_id}.{number}"


def parse_candidate_id(text: str) -> tuple[str, int]:
    """Raises ValueError for anything that `candidate_id` does not make."""
    found = re.fullmatch(r"(.+)\.(0|[1-9][0-9]{0,8})", text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is not a candidate id (SEARCH.NUMBER)")
    return found[1], int(found[2])


def without_nul(text: str) -> str:
    """PostgreSQL's texts hold no NUL. The record keeps what was said, and a policy with one is no Python either way."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")
