"""How calls spread over the replicas of a service: in turn, and past the ones that have no worker free.

gRPC's own machinery does it: round robin, and a retry policy for Verify. A verifier without a free worker refuses a
call early (RESOURCE_EXHAUSTED) and gRPC gives it to the next replica, at most `ATTEMPTS` in all; whoever gets it last
queues it for as long as its queue moves, then gives it back, and the client begins anew. The refusals are only for
callers who say that they take them (`client_metadata`), so a client without the policy is never turned away.

gRPC's weighted_round_robin does not fit: its weights follow the calls that have ended, and the replica to be avoided is
the one whose calls do not end.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

ATTEMPTS = 5  # gRPC's own upper bound
BUSY, DRAINING = "BUSY", "DRAINING"  # reasons of an error that the next replica may not have

_IF_BUSY = "quintain-if-busy"
_ELSEWHERE = "elsewhere"
_PREVIOUS_ATTEMPTS = "grpc-previous-rpc-attempts"  # gRPC's, on every attempt after the first
_PUSHBACK = "grpc-retry-pushback-ms"  # gRPC's: when the next attempt begins; negative: there is none

SERVICE_CONFIG: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "quintain.verifier.v1.Verifier", "method": "Verify"}],
            "retryPolicy": {
                "maxAttempts": ATTEMPTS,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
            },
        }
    ],
}


def client_metadata() -> tuple[tuple[str, str], ...]:
    """Of a client whose channel has `SERVICE_CONFIG`."""
    return ((_IF_BUSY, _ELSEWHERE),)


class IfBusy(enum.Enum):
    """What a replica without a free worker does with a call."""

    REFUSE = "refuse"  # at once: gRPC asks the next replica
    QUEUE_WHILE_MOVING = "queue while moving"  # the client asks again if the queue stands still
    QUEUE = "queue"


def if_busy(metadata: Iterable[tuple[str, str | bytes]]) -> IfBusy:
    """What the caller of a call with this metadata wants."""
    values = dict(metadata)
    if values.get(_IF_BUSY) != _ELSEWHERE:
        return IfBusy.QUEUE
    previous = str(values.get(_PREVIOUS_ATTEMPTS, "0"))
    more = previous.isdecimal() and int(previous) < ATTEMPTS - 1
    return IfBusy.REFUSE if more else IfBusy.QUEUE_WHILE_MOVING


def pushback(reason: str) -> tuple[tuple[str, str], ...]:
    """Trailing metadata of a failed call: whether gRPC shall ask the next replica at once (1 ms: gRPC's clients hang
    at 0), or leave the error to the caller."""
    return ((_PUSHBACK, "1" if reason in (BUSY, DRAINING) else "-1"),)
