"""What the verifier counts. Only this process counts: workers return results."""

from __future__ import annotations

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from quintain_verifier.domain.jobs import Fault
from quintain_verifier.domain.verdict import Status

QUEUE_DEPTH = Gauge("quintain_verifier_queue_depth_requests", "Requests that wait for their first worker.")
SLOTS_BUSY = Gauge("quintain_verifier_slots_busy_workers", "Workers that run a policy.")
SLOTS_TOTAL = Gauge("quintain_verifier_slots_total_workers", "Workers with a jail that holds.")
QUEUE_SECONDS = Histogram(
    "quintain_verifier_queue_wait_seconds",
    "Time from a request's admission to its first worker.",
    buckets=(0.001, 0.01, 0.1, 0.5, 1, 5, 15, 60, 300),
)
RUN_SECONDS = Histogram(
    "quintain_verifier_run_duration_seconds",
    "Time that a worker spent on one policy and one scenario.",
    ["simulator"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
)
VERDICTS = Counter("quintain_verifier_verdicts", "Verdicts that were made, by status.", ["simulator", "status"])
ANSWERS = Counter("quintain_verifier_answers", "Where answers came from: run, cache or joined.", ["source"])
REFUSED = Counter("quintain_verifier_refused_requests", "Requests that found the queue full.")
SENT_ON = Counter(
    "quintain_verifier_sent_on_requests", "Requests that found no worker free and were sent on to another replica."
)
KILLS = Counter("quintain_verifier_policy_kills", "Policy processes that did not live to the end.", ["reason"])
FAULTS = Counter("quintain_verifier_faults", "Runs that failed for no fault of the policy.", ["fault"])
JAIL_LAYERS = Gauge("quintain_verifier_jail_layer_active", "Whether a layer of the jail holds.", ["layer"])
WORKER_RESTARTS = Counter("quintain_verifier_worker_restarts", "Worker processes that were replaced.")

_KILL_REASONS = ("cpu", "memory", "wall", "protocol", "size", "cancel", "fault")
_OTHER_KILL_REASONS = ("exit", "forbidden", "signal")

# All series are 0 from the start: `increase()` does not see the first step of a series that is new.
for _reason in (*_KILL_REASONS, *_OTHER_KILL_REASONS):
    KILLS.labels(_reason)
for _fault in ("worker_died", *get_args(Fault)):
    FAULTS.labels(_fault)
for _source in ("run", "cache", "joined"):
    ANSWERS.labels(_source)


def announce(simulator: str) -> None:
    """Show a simulator's series from the start."""
    RUN_SECONDS.labels(simulator)
    for status in Status:
        VERDICTS.labels(simulator, status.value)


def kill_reason(killed_by: str) -> str:
    """A label of few values: signals and exit statuses are the policy's choice."""
    if killed_by in _KILL_REASONS:
        return killed_by
    return "exit" if killed_by.startswith("exit") else "forbidden" if killed_by == "SIGSYS" else "signal"
