"""The generator's metrics. Labels are bounded: configured backends, outcomes, kinds of tokens."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from quintain.plugins.backend import CallOutcome
from quintain_generator.domain.generation import FINAL_ANSWERS, CallRecord, GenerationOutcome

TOKEN_KINDS = ("input", "cached_input", "cache_write", "output", "reasoning")

CALLS = Counter("quintain_generator_calls", "Calls of providers by what came of them.", ["backend", "outcome"])
GENERATIONS = Counter("quintain_generator_generations", "Finished generations.", ["backend", "outcome"])
TOKENS = Counter("quintain_generator_tokens", "Tokens used.", ["backend", "kind"])
COST = Counter("quintain_generator_cost_usd", "Settled cost.", ["backend"])
AT_RISK = Counter("quintain_generator_at_risk_usd", "The most that calls with unknown outcome cost.", ["backend"])
UNPRICED = Counter("quintain_generator_unpriced_calls", "Calls whose cost is not known.", ["backend"])
RETRIES = Counter("quintain_generator_retries", "Calls made again after a failure.", ["backend", "outcome"])
BREAKER_OPEN = Gauge("quintain_generator_breaker_open", "1 while the circuit breaker is open.", ["backend"])
IN_FLIGHT = Gauge("quintain_generator_calls_in_flight", "Calls being made now.", ["backend"])
CALL_SECONDS = Histogram(
    "quintain_generator_call_duration_seconds",
    "Duration of one call.",
    ["backend"],
    buckets=(0.1, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640),
)
FOLLOW_UPS = Counter(
    "quintain_generator_follow_ups",
    "Answers without a policy that were asked for once more, and whether that brought one.",
    ["backend", "mended"],
)
TOOL_CALLS = Counter(
    "quintain_generator_tool_calls",
    "Tools that models called in conversations: asked (handed to the caller, or refused) or submit.",
    ["backend", "what"],
)
RECORDED = Counter("quintain_generator_recorded_answers", "Requests answered from the record, without a call.")


def announce(backend: str) -> None:
    """Show a backend's series as 0 from the start: `increase()` does not see the first step of a series that is new."""
    for outcome in CallOutcome:
        CALLS.labels(backend, outcome.value)
        if outcome not in FINAL_ANSWERS:
            RETRIES.labels(backend, outcome.value)
    for result in GenerationOutcome:
        GENERATIONS.labels(backend, result.value)
    for kind in TOKEN_KINDS:
        TOKENS.labels(backend, kind)
    for mended in ("yes", "no"):
        FOLLOW_UPS.labels(backend, mended)
    for what in ("asked", "submit"):
        TOOL_CALLS.labels(backend, what)
    for metric in (COST, AT_RISK, UNPRICED, BREAKER_OPEN, IN_FLIGHT, CALL_SECONDS):
        metric.labels(backend)


def count_call(name: str, call: CallRecord) -> None:
    """Count a settled call of the backend `name`."""
    CALLS.labels(name, call.outcome.value).inc()
    CALL_SECONDS.labels(name).observe(call.seconds)
    COST.labels(name).inc(call.charged_usd or 0.0)
    AT_RISK.labels(name).inc(call.at_risk_usd)
    if call.charged_usd is None:
        UNPRICED.labels(name).inc()
    if call.reply is not None and call.reply.usage is not None:
        usage = call.reply.usage
        TOKENS.labels(name, "input").inc(usage.input_tokens)
        TOKENS.labels(name, "cached_input").inc(usage.cached_input_tokens)
        TOKENS.labels(name, "cache_write").inc(usage.cache_write_tokens)
        TOKENS.labels(name, "output").inc(usage.output_tokens)
        TOKENS.labels(name, "reasoning").inc(usage.reasoning_tokens)
