"""How both ends notice that the other is gone, and how much silence a call may have: any amount.

Every end pings a connection that has been quiet for `PING_MS`. A server closes a connection that is pinged more often
than once in `LEAST_PING_MS` ("Too many pings"), so `PING_MS` must be clearly above it, and the server must be told.
"""

from __future__ import annotations

PING_MS = 30_000
LEAST_PING_MS = 10_000


def client_keepalive() -> list[tuple[str, int]]:
    """Channel options of a client."""
    return [
        ("grpc.keepalive_time_ms", PING_MS),
        ("grpc.http2.max_pings_without_data", 0),  # no bound: a call may be silent for as long as it likes
    ]


def server_keepalive() -> list[tuple[str, int]]:
    """Server options."""
    return [
        *client_keepalive(),
        ("grpc.http2.min_ping_interval_without_data_ms", LEAST_PING_MS),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
