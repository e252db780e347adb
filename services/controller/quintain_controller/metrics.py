"""What the controller counts. Label values are bounded: only searches that this process runs, removed at their end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

from quintain_controller.domain.events import CandidateChanged, HeldOutScored, NewBest
from quintain_controller.domain.model import (
    NANO,
    Budget,
    Candidate,
    GenerationOutcome,
    SearchState,
    Spend,
    VerdictStatus,
)
from quintain_controller.domain.records import Batch
from quintain_controller.domain.tools import NAMES

SEARCHES = Gauge("quintain_controller_searches", "Searches in the store.", ["state"])
CANDIDATES = Counter("quintain_controller_candidates", "Candidates that came to their end.", ["outcome"])
SPEND_USD = Counter("quintain_controller_spend_usd", "Dollars settled.")
SPEND_TOKENS = Counter("quintain_controller_spend_tokens", "Tokens settled.")
BUDGET_LEFT = Gauge(
    "quintain_controller_budget_left_ratio", "Share of a running search's budget that is left.", ["search", "bound"]
)
BEST_SCORE = Gauge("quintain_controller_best_normalized", "Best train score, 0 worst, 1 bound.", ["search"])
HELD_OUT_GAP = Gauge(
    "quintain_controller_held_out_gap", "Improvement on train minus improvement on held-out, normalised.", ["search"]
)
STORE_SECONDS = Histogram(
    "quintain_controller_store_seconds",
    "Duration of store transactions.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
)
LEASES_LOST = Counter("quintain_controller_leases_lost", "Leases that another controller took over.")
IN_FLIGHT = Gauge("quintain_controller_stage_in_flight", "Candidates in a stage now.", ["stage"])
STAGE_SECONDS = Histogram(
    "quintain_controller_stage_seconds",
    "Time a candidate spends in a stage, retries included.",
    ["stage"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
TOOL_CALLS = Counter(
    "quintain_controller_tool_calls", "Tools that models called, and whether the call was wrong.", ["tool", "failed"]
)
TOOL_SECONDS = Counter("quintain_controller_tool_seconds", "Seconds that the verifier worked for tools.")
NOTIFICATIONS = Counter("quintain_controller_notifications", "Notifications that were sent.", ["outcome"])
CALL_FAILURES = Counter("quintain_controller_call_failures", "Calls of another service that failed.", ["service"])

STAGES = ("generate", "verify", "held_out", "gates")
_REFUSED_BY_VERIFIER = "refused_by_verifier"

# All series are there from the start: `increase()` does not see the first step of a series that is new.
for _stage in STAGES:
    IN_FLIGHT.labels(_stage)
    STAGE_SECONDS.labels(_stage)
for _tool in (*NAMES, "unknown"):
    for _failed in ("false", "true"):
        TOOL_CALLS.labels(_tool, _failed)
for _notified in ("delivered", "failed"):
    NOTIFICATIONS.labels(_notified)
for _service in ("generator", "verifier"):
    CALL_FAILURES.labels(_service)
for _outcome in (
    *(status.name for status in VerdictStatus if status is not VerdictStatus.NONE),
    *(outcome.name for outcome in GenerationOutcome if outcome not in (GenerationOutcome.NONE, GenerationOutcome.OK)),
    _REFUSED_BY_VERIFIER,
):
    CANDIDATES.labels(_outcome.lower())


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count and time one candidate in a stage."""
    gauge, begin = IN_FLIGHT.labels(name), time.monotonic()
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()
        STAGE_SECONDS.labels(name).observe(time.monotonic() - begin)


def observe(search_id: str, batch: Batch, budget: Budget) -> None:
    """A batch of a search is durable."""
    show_budget(search_id, batch.spend, budget)
    for write in batch.candidates:
        if write.generation is not None:
            SPEND_USD.inc(write.candidate.booked.usd_nano / NANO)
            SPEND_TOKENS.inc(write.candidate.booked.tokens)
    for event in batch.events:
        match event:
            case CandidateChanged(candidate) if candidate.state.settled:
                count_candidate(candidate)
            case NewBest(candidate) if candidate.train is not None:
                BEST_SCORE.labels(search_id).set(candidate.train.normalized)
            case HeldOutScored():
                HELD_OUT_GAP.labels(search_id).set(event.gap)


def count_candidate(candidate: Candidate) -> None:
    """A candidate is settled."""
    if candidate.status is not VerdictStatus.NONE:
        outcome = candidate.status.name
    else:
        outcome = candidate.outcome.name if candidate.outcome is not GenerationOutcome.OK else _REFUSED_BY_VERIFIER
    CANDIDATES.labels(outcome.lower()).inc()


def show_budget(search_id: str, spend: Spend, budget: Budget) -> None:
    for bound, used, limit in (
        ("usd", (spend.usd_nano + spend.at_risk_usd_nano) / NANO, budget.usd_nano and budget.usd_nano / NANO),
        ("tokens", spend.tokens, budget.tokens),
        ("candidates", spend.candidates, budget.candidates),
        ("verifications", spend.verifications, budget.verifications),
        ("wall_seconds", spend.wall_seconds, budget.wall_seconds),
        ("tool_seconds", spend.tool_seconds, budget.tool_seconds),
    ):
        if limit:
            BUDGET_LEFT.labels(search_id, bound).set(max(0.0, 1.0 - used / limit))


def forget(search_id: str) -> None:
    """Remove a search's own time series."""
    for bound in ("usd", "tokens", "candidates", "verifications", "wall_seconds", "tool_seconds"):
        _remove(BUDGET_LEFT, search_id, bound)
    _remove(BEST_SCORE, search_id)
    _remove(HELD_OUT_GAP, search_id)


def show_counts(counts: dict[SearchState, int]) -> None:
    for state in SearchState:
        SEARCHES.labels(state.name.lower()).set(counts.get(state, 0))


def _remove(gauge: Gauge, *labels: str) -> None:
    try:
        gauge.remove(*labels)
    except KeyError:
        pass
