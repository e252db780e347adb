"""What the fault server saw, and the refusals that it knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# name -> (HTTP status, error type, error code, headers)
ERRORS: dict[str, tuple[int, str, str, dict[str, str]]] = {
    "rate_limited": (429, "rate_limit_error", "rate_limit_exceeded", {}),
    "rate_limited_now": (429, "rate_limit_error", "rate_limit_exceeded", {"retry-after": "0"}),
    "rate_limited_soon": (429, "rate_limit_error", "rate_limit_exceeded", {"retry-after-ms": "50"}),
    "rate_limited_long": (429, "rate_limit_error", "rate_limit_exceeded", {"retry-after": "3600"}),
    "rate_limited_for_ever": (429, "rate_limit_error", "rate_limit_exceeded", {"retry-after-ms": "inf"}),
    "rate_limited_garbled": (429, "rate_limit_error", "rate_limit_exceeded", {"retry-after": "-1, soon"}),
    "insufficient_quota": (429, "insufficient_quota", "insufficient_quota", {}),
    "spend_limit": (429, "rate_limit_error", "enforced_spend_limit_reached", {}),
    "overloaded": (529, "overloaded_error", "", {}),
    "request_timeout": (408, "timeout_error", "", {}),
    "conflict": (409, "conflict_error", "", {}),
    "redirect": (307, "", "", {"location": "/elsewhere"}),
    "server_error": (500, "api_error", "server_error", {}),
    "unavailable": (503, "api_error", "", {"retry-after": "0"}),
    "auth": (401, "authentication_error", "invalid_api_key", {}),
    "permission": (403, "permission_error", "", {}),
    "bad_request": (400, "invalid_request_error", "context_length_exceeded", {}),
    "not_found": (404, "not_found_error", "model_not_found", {}),
}


@dataclass
class Seen:
    """One request as the server saw it. `completed`: every byte of a charged answer was handed to the kernel.
    `gone`: the client closed the connection while the server was still at it."""

    protocol: str
    model: str
    fault: str
    stream: bool
    mark: str
    max_tokens: int
    request_id: str = ""
    completed: bool = False
    gone: bool = False
    query: str = ""
    digest: str = ""  # of the whole request
    input_tokens: int = 0  # of the answer that was handed over, by its meter
    output_tokens: int = 0
    body: dict[str, Any] | None = None
