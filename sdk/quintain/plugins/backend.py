"""The interface between quintain and a backend: a source of candidates (an LLM provider, the evolver, a recording).

A backend is found by the entry point group ``quintain.backends``; the entry point loads a subclass of `Backend`. It
makes ONE call and says honestly what came of it. Everything else is the generator service's: retries, deadlines, rate
limits, records, prices, prompts, extraction and the gate. Plain data only; no grpc, no protobuf.

Life cycle: one object for each configured backend, made at start-up and closed once at the end (`close`). All calls
come from one event loop; many calls may be in flight at once. Cancelling `generate` must free what the call holds
(close the socket) and must let `asyncio.CancelledError` through.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from quintain.plugins.simulator import Description, Objective

# ---------------------------------------------------------------------------------------------------------- the task


class Operator(enum.Enum):
    """How the candidate is to be made."""

    FULL = "full"  # write the whole policy anew from the parent
    DIFF = "diff"  # change the first parent by search/replace blocks
    CROSSOVER = "crossover"  # combine two parents
    REPAIR = "repair"  # mend the first parent, which failed
    AGENT = "agent"  # try before submitting, in a conversation with tools


@dataclass(frozen=True, slots=True)
class Example:
    """An earlier candidate. `score` and `normalized` (0 the worst, 1 the bound) are None for one without a score.

    `feedback` is the full feedback for a parent, a short form for an inspiration. `scenario_values`: normalised value
    by train scenario.
    """

    candidate_id: str
    source: str
    score: float | None = None
    normalized: float | None = None
    feedback: str = ""
    scenario_values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One line of the run's digest; `score` is None if the attempt has none. `scenario_values`: normalised value by
    train scenario, empty if it was not verified."""

    number: int
    candidate_id: str
    score: float | None
    summary: str
    scenario_values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScenarioFacts:
    """What is known of a train scenario before the first request. `notes` is the simulator's Markdown; `baseline` and
    `bound` are of the objective's metric (None: not known); `floors`: what the objective requires, by name."""

    name: str
    notes: str = ""
    baseline: float | None = None
    bound: float | None = None
    floors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """Everything a backend may know; held-out results are never in it. All randomness derives from `seed` (64 bits).

    `scenarios` and `carried_lessons` (of earlier searches) are the same through a search. `number` is the candidate's
    in its search: requests that are in flight together have other ones.
    """

    simulator: Description
    objective: Objective
    suite_description: str
    operator: Operator
    seed: int
    parents: tuple[Example, ...] = ()
    inspirations: tuple[Example, ...] = ()
    history: tuple[Attempt, ...] = ()
    lessons: tuple[str, ...] = ()
    best_score: float | None = None
    bound_score: float | None = None
    scenarios: tuple[ScenarioFacts, ...] = ()
    number: int = 0
    carried_lessons: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------------------- one call


@dataclass(frozen=True, slots=True)
class Allowance:
    """Bounds of one request. `max_output_tokens` 0: the backend's default; `max_cost_usd` None: no bound;
    `effort`: "low", "medium", "high", or "" for the backend's default."""

    max_output_tokens: int = 0
    max_cost_usd: float | None = None
    effort: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt. `role`: "system", "user" or "assistant". With `cache_breakpoint`, the provider may cache
    everything up to and including this message."""

    role: str
    content: str
    cache_breakpoint: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `parameters`: the JSON Schema of its arguments, an object."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model's call of a tool. `call_id` is the provider's name for it; `arguments` JSON text as the model wrote it,
    which may be malformed or empty."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered. `failed`: it was not run, or could not be; `content` says why."""

    call_id: str
    content: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer of the model in a conversation, and what it was told then: `results`, one for each of its tool calls in
    their order, and a `message`. `state` is the backend's own (`BackendReply.state`)."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    state: str = ""
    results: tuple[ToolResult, ...] = ()
    message: str = ""


def _ignore(_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class BackendCall:
    """One call. `messages` is empty for a backend whose `Capabilities.prompt` is False.

    `attempt` counts the calls of this request from 1. `timeout_seconds` is the time left for the whole call; the
    service cancels the call when it is over, so a backend needs no timer of its own. `allowance.max_output_tokens` is
    never 0 here. `progress` may be called from the event loop with the number of characters received so far, and
    `identified` with the provider's id of the call as soon as that is known: it is kept even if the call is cut off.
    With `Operator.AGENT`, `tools` may be called (`submit` hands the policy in), `turns` is the conversation after
    `messages`, and `max_turns` bounds the model's answers; else they are empty and 0.
    """

    request_id: str
    attempt: int
    task: Task
    messages: tuple[Message, ...]
    allowance: Allowance
    timeout_seconds: float
    progress: Callable[[int], None] = _ignore
    identified: Callable[[str], None] = _ignore
    tools: tuple[Tool, ...] = ()
    turns: tuple[Turn, ...] = ()
    max_turns: int = 0


class CallOutcome(enum.Enum):
    """What came of one call."""

    OK = "ok"
    # An answer that ended before it was complete; final, and charged.
    TRUNCATED = "truncated"  # the output budget or the context window ran out (reasoning counts)
    REFUSAL = "refusal"
    CONTENT_FILTER = "content_filter"
    EMPTY = "empty"
    # Not the last word: another call may help.
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    CONNECTION = "connection"  # no connection, or it broke before the end of the answer
    MALFORMED = "malformed"  # an answer that is not what the protocol says
    # Final until a person acts.
    AUTH = "auth"
    SPEND_LIMIT = "spend_limit"
    BAD_REQUEST = "bad_request"
    # Nobody can say whether the provider did the work and charged for it.
    UNKNOWN = "unknown"


class Rejection(enum.Enum):
    """A backend's own word that its answer holds no policy (a remote generator has a gate of its own)."""

    NO_CODE = "no_code"
    INVALID_CODE = "invalid_code"
    DIFF_FAILED = "diff_failed"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `input_tokens` excludes cached and cache-written tokens; `output_tokens` includes `reasoning_tokens`."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class BackendReply:
    """What one call gave: `text` to extract a policy from (an LLM), or a finished policy in `source`.

    `usage` is None if the provider did not say. `charged_usd` and `at_risk_usd` are for a backend that meters itself
    (a remote generator): the sum over all calls of this request id so far. `detail` explains a failure or a rejection.
    `retry_after_seconds`: the provider's wish. `sent` is False if the request certainly never reached the provider.
    `tool_calls`: the model wants these tools run; the outcome is OK then, and `text` what it said beside them. `state`
    is whatever this backend needs of its answer to go on with the conversation (reasoning that the provider wants
    back); it is kept and comes back in `Turn.state`, and need not be readable by anybody else.
    """

    outcome: CallOutcome
    text: str = ""
    source: str = ""
    rationale: str = ""
    usage: Usage | None = None
    model: str = ""
    provider_request_id: str = ""
    detail: str = ""
    retry_after_seconds: float | None = None
    rejection: Rejection | None = None
    charged_usd: float | None = None
    at_risk_usd: float | None = None
    sent: bool = True
    tool_calls: tuple[ToolCall, ...] = ()
    state: str = ""


# ---------------------------------------------------------------------------------------------------------- batches


@dataclass(frozen=True, slots=True)
class BatchCall:
    """A call that is handed in for a later answer, in a batch of its own.

    `name` is unique for ever, 1 to 64 characters of [A-Za-z0-9_-]: the provider's custom id of the call. `sent_at`:
    when it was about to be handed in, in seconds since the epoch. `timeout_seconds`: for this one question, as in
    `BackendCall`. `tools`: the call is part of a conversation with tools.
    """

    name: str
    sent_at: float
    timeout_seconds: float
    tools: bool = False


class BatchLookup(enum.Enum):
    """What a look for the batch of a call gave, where it is not found."""

    NOT_THERE = "not_there"  # the provider has no such batch
    UNDECIDED = "undecided"  # nobody can say before batches that are at work have ended


@dataclass(frozen=True, slots=True)
class Unreached:
    """The provider did not say what it was asked about a batch; `reply` is why. Nothing new is known."""

    reply: BackendReply


CLOCK_SKEW_SECONDS = 600.0
"""Between a provider's clock and ours, at most: by so much earlier than `BatchCall.sent_at` a batch may seem made."""


class Batches(abc.ABC):
    """A provider's batch interface. Each method asks the provider once, as `Backend.generate` does: what can happen is
    a value, and cancelling frees what the question holds."""

    poll_seconds: float
    """How long after a question about a batch the next one is worth asking, and for how long a batch may turn up at the
    provider although its creation was not answered."""

    @abc.abstractmethod
    async def submit(self, batched: BatchCall, call: BackendCall) -> str | BackendReply:
        """Hand `call` in: the provider's id of its batch, or why there is none. A reply that leaves open whether there
        is one (no answer, a broken connection, a server's error) must have `sent` True."""

    @abc.abstractmethod
    async def find(self, batched: BatchCall, others: Collection[str]) -> str | BatchLookup | Unreached:
        """The batch of a call whose `submit` left open whether there is one. `others`: batches of other calls."""

    @abc.abstractmethod
    async def collect(self, batched: BatchCall, batch_id: str) -> BackendReply | Unreached | None:
        """What came of the call; None while its batch is at work. An outcome that is not the last word (expired,
        cancelled) was not charged, and the call may be handed in again."""

    @abc.abstractmethod
    async def cancel(self, batched: BatchCall, batch_id: str) -> Unreached | None:
        """Have the provider stop a batch; `collect` says later what came of it. Of one that has ended the provider may
        refuse it."""


# ------------------------------------------------------------------------------------------------------- the backend


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do.

    `deterministic`: the same task gives the same reply. `priced`: calls cost money, so a price row is looked up for the
    model. `prompt`: wants `BackendCall.messages`. `operators` has AGENT only if the backend can call tools.
    `repeatable`: a call may be made again after a crash without paying twice. `meters_itself`: `charged_usd` of a reply
    is the cost (None: unpriced), and the backend keeps to `Allowance.max_cost_usd` by itself.
    """

    operators: frozenset[Operator]
    deterministic: bool
    priced: bool
    prompt: bool
    repeatable: bool
    meters_itself: bool = False


class BackendOptions(BaseModel):
    """Options of a backend in the service's configuration. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Backend(abc.ABC):
    """A source of candidates. Subclass it, name an `Options` model, and register the class as an entry point."""

    Options: ClassVar[type[BackendOptions]] = BackendOptions

    def __init__(self, model: str, options: BackendOptions) -> None:
        """`options` is an instance of this class's `Options`. Raise ValueError for settings that cannot work; a missing
        key is not one of them (see `unavailable_reason`)."""
        self.model = model
        self.options = options

    @property
    @abc.abstractmethod
    def capabilities(self) -> Capabilities:
        """Constant after construction."""

    @abc.abstractmethod
    async def generate(self, call: BackendCall) -> BackendReply:
        """Make one call. Everything a provider can do is a reply; an exception that leaves is a bug of the backend."""

    @property
    def unavailable_reason(self) -> str:
        """Why the backend cannot be used (no key, say); empty if it can. Cheap: no call is made."""
        return ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Strings that must never leave the process; the service cuts them out of everything it records or says."""
        return ()

    @property
    def batches(self) -> Batches | None:
        """The batch interface, if calls are to go through it instead of `generate`. Constant after construction."""
        return None

    async def close(self) -> None:
        """Free connections. Called once, after the last call."""
        return
