"""What a generation is: the recorded result of one request, with every call and every cent."""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from quintain.plugins.backend import BackendReply, CallOutcome, Message, ToolResult, Turn, Usage
from quintain_generator.domain.claims import NO_CLAIMS, Claims


class GenerationOutcome(enum.Enum):
    """What came of a generation."""

    OK = "ok"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    CONTENT_FILTERED = "content_filtered"
    EMPTY = "empty"
    NO_CODE = "no_code"
    INVALID_CODE = "invalid_code"
    DIFF_FAILED = "diff_failed"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars. `usd` is settled; `at_risk_usd` the most that calls with unknown outcome may have cost."""

    usd: float = 0.0
    unpriced: bool = False
    at_risk_usd: float = 0.0
    price_source: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a model was told after an answer in a conversation."""

    results: tuple[ToolResult, ...]
    message: str = ""


@dataclass(frozen=True, slots=True)
class Batched:
    """That a call is handed in for a later answer. `sent_at`: in seconds since the epoch, by the store's clock.
    `batch_id`: the provider's; empty while nobody knows whether the provider took the call."""

    sent_at: float
    batch_id: str = ""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of a provider. `reply` is None while nobody knows what came of it; `charged_usd` is None if the call
    cost something that has no price; `reserved_usd` None if no price is known. `told`: what the call added to the
    conversation; its `prompt` is empty then, for it is the first call's. `batched`: of a call that was handed in."""

    attempt: int
    prompt: tuple[Message, ...]
    reserved_usd: float | None
    reply: BackendReply | None = None
    seconds: float = 0.0
    charged_usd: float | None = None
    at_risk_usd: float = 0.0
    told: Told | None = None
    batched: Batched | None = None

    @property
    def outcome(self) -> CallOutcome:
        return self.reply.outcome if self.reply else CallOutcome.UNKNOWN

    @property
    def ended_well(self) -> bool:
        """Whether it brought an answer, or the last word."""
        return self.reply is not None and self.reply.outcome in FINAL_ANSWERS

    @property
    def waits(self) -> bool:
        """Whether its answer is still to come, out of a batch."""
        return self.reply is None and self.batched is not None


@dataclass(frozen=True, slots=True)
class Generation:
    """The result of one request. `finished_at` is in seconds since the epoch."""

    request_id: str
    backend: str
    model: str
    outcome: GenerationOutcome
    source: str
    rationale: str
    response_text: str
    prompt: tuple[Message, ...]
    usage: Usage
    cost: Cost
    calls: tuple[CallRecord, ...]
    detail: str
    ast_digest: str
    hints: tuple[str, ...]
    finished_at: float
    claims: Claims = NO_CLAIMS
    turns: tuple[Turn, ...] = ()  # of a conversation


@dataclass(frozen=True, slots=True)
class Spend:
    """What a request has cost so far, in US dollars. `at_risk_usd`: the most that calls without a known end cost."""

    calls: int = 0
    spent_usd: float = 0.0
    at_risk_usd: float = 0.0


# ------------------------------------------------------------------------------------------------------- who is at it


class Ownership(enum.Enum):
    """Who works on a request, seen from the process that asks."""

    OWNED = "owned"  # this process: it is to be begun, or gone on with
    DONE = "done"  # nobody any more: it has its result
    OWNED_BY_OTHER = "owned_by_other"  # another process that is alive


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What names a request: the id, and the digest of the task so that an id is not used twice. The backend and the
    model are those it was first given."""

    request_id: str
    task_digest: str
    backend: str
    model: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to who may work on a request. `result` for DONE; `calls` made so far for OWNED."""

    ownership: Ownership
    key: RequestKey
    result: Generation | None = None
    calls: tuple[CallRecord, ...] = ()


# --------------------------------------------------------------------------------------------------------------- money

# An answer, or the end of a conversation that may have been paid for: no further call will be made.
FINAL_ANSWERS = {
    CallOutcome.OK: GenerationOutcome.OK,
    CallOutcome.TRUNCATED: GenerationOutcome.TRUNCATED,
    CallOutcome.REFUSAL: GenerationOutcome.REFUSED,
    CallOutcome.CONTENT_FILTER: GenerationOutcome.CONTENT_FILTERED,
    CallOutcome.EMPTY: GenerationOutcome.EMPTY,
    CallOutcome.UNKNOWN: GenerationOutcome.UNKNOWN,
}

# Answers that hold no policy, which their model may put right when it is told what is wrong.
MENDABLE = (GenerationOutcome.NO_CODE, GenerationOutcome.INVALID_CODE, GenerationOutcome.DIFF_FAILED)

# Failures after which the provider may still have done the work and charged for it.
_MAYBE_CHARGED = {CallOutcome.TIMEOUT, CallOutcome.CONNECTION, CallOutcome.MALFORMED, CallOutcome.UNKNOWN}


def is_uncertain(reply: BackendReply) -> bool:
    """Whether the provider may have charged for this failed call without telling how much."""
    if not reply.sent or (reply.outcome in FINAL_ANSWERS and reply.outcome is not CallOutcome.UNKNOWN):
        return False
    return reply.outcome in _MAYBE_CHARGED or bool(reply.text) or reply.usage is not None


MAX_UNCERTAIN_CALLS = 2
"""Of one request: calls that failed and may have been charged are worth one more call, not five."""


def bound_reached(calls: Sequence[CallRecord], max_calls: int) -> str:
    """Why a request must end without an answer: too many of its calls, over all the times it was asked for, may have
    been charged for nothing. Empty while there may be another."""
    failed = [call for call in calls if call.reply is not None and is_uncertain(call.reply)]
    if len(failed) < min(MAX_UNCERTAIN_CALLS, max_calls):
        return ""
    last = failed[-1]
    detail = last.reply.detail if last.reply is not None else ""
    return f"{len(failed)} calls broke off and may have been charged; the last: {last.outcome.value}: {detail}"


def call_name(request_id: str, attempt: int) -> str:
    """A call's name at a provider's batch interface, which takes 64 characters of [A-Za-z0-9_-]."""
    digest = hashlib.sha256(f"{request_id} {attempt}".encode()).hexdigest()
    return f"{re.sub('[^A-Za-z0-9_-]', '_', request_id)[:40]}-{attempt}-{digest[:16]}"


def spend_of(calls: Sequence[CallRecord]) -> Spend:
    """Of calls that are over, but for one that waits for its batch: it counts as one call."""
    return Spend(len(calls), sum(c.charged_usd or 0.0 for c in calls), sum(c.at_risk_usd for c in calls))


def prompt_of(calls: Sequence[CallRecord]) -> tuple[Message, ...]:
    """The latest prompt that was sent."""
    return next((call.prompt for call in reversed(calls) if call.prompt), ())


def total_usage(calls: tuple[CallRecord, ...]) -> Usage:
    used = [c.reply.usage for c in calls if c.reply and c.reply.usage]
    return Usage(
        input_tokens=sum(u.input_tokens for u in used),
        cached_input_tokens=sum(u.cached_input_tokens for u in used),
        cache_write_tokens=sum(u.cache_write_tokens for u in used),
        output_tokens=sum(u.output_tokens for u in used),
        reasoning_tokens=sum(u.reasoning_tokens for u in used),
    )


def total_cost(calls: tuple[CallRecord, ...], price_source: str) -> Cost:
    return Cost(
        usd=sum(c.charged_usd or 0.0 for c in calls),
        unpriced=any(c.charged_usd is None for c in calls),
        at_risk_usd=sum(c.at_risk_usd for c in calls),
        price_source=price_source,
    )
