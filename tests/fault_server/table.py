"""Fault -> what the caller gets, calls made, what the ledger says: the generator's promise for every wire protocol.

Run by a test, and printed by ``python -m benchmarks.faults``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.fault_server.answers import FENCES
from tests.support.generator import Stack, request, stack

from quintain.errors import QuintainError
from quintain.generator.v1 import generator_pb2 as pb

MAX_CALLS = 3
CALL_TIMEOUT_SECONDS = 0.6


@dataclass(frozen=True)
class Row:
    """`outcome`: the generation's, or the error's reason. `money`: charged, at risk, or nothing. `last`: the outcome of
    the last call."""

    outcome: str
    calls: int
    money: str
    last: str = "ok"


ENDLESS = {"hang", "hang_mid_stream", "drip"}
NO_POLICY = {"no_code", "broken_code", "wrong_name"}
CHARGED, AT_RISK, NOTHING = "charged", "at risk", "nothing"

EXPECTED: dict[str, Row] = {
    "ok": Row("OK", 1, CHARGED),
    "cached": Row("OK", 1, CHARGED),
    "no_usage": Row("OK", 1, AT_RISK),
    "odd_usage": Row("OK", 1, AT_RISK),
    "nameless": Row("OK", 1, CHARGED),
    "unknown_events": Row("OK", 1, CHARGED),
    "cut_after_answer": Row("OK", 1, CHARGED),
    "hang_after_answer": Row("OK", 1, CHARGED),
    "truncated": Row("TRUNCATED", 1, CHARGED, "truncated"),
    "reasoning_only": Row("TRUNCATED", 1, CHARGED, "truncated"),
    "refusal": Row("REFUSED", 1, CHARGED, "refusal"),
    "content_filter": Row("CONTENT_FILTERED", 1, CHARGED, "content_filter"),
    "empty": Row("EMPTY", 1, CHARGED, "empty"),
    "rate_limited": Row("RATE_LIMITED", MAX_CALLS, NOTHING, "rate_limited"),
    "rate_limited_now": Row("RATE_LIMITED", MAX_CALLS, NOTHING, "rate_limited"),
    "rate_limited_soon": Row("RATE_LIMITED", MAX_CALLS, NOTHING, "rate_limited"),
    "rate_limited_long": Row("RATE_LIMITED", 1, NOTHING, "rate_limited"),
    "rate_limited_for_ever": Row("RATE_LIMITED", 1, NOTHING, "rate_limited"),
    "rate_limited_garbled": Row("RATE_LIMITED", MAX_CALLS, NOTHING, "rate_limited"),
    "insufficient_quota": Row("SPEND_LIMIT_REACHED", 1, NOTHING, "spend_limit"),
    "spend_limit": Row("SPEND_LIMIT_REACHED", 1, NOTHING, "spend_limit"),
    "overloaded": Row("BACKEND_DOWN", MAX_CALLS, NOTHING, "overloaded"),
    "server_error": Row("BACKEND_DOWN", MAX_CALLS, NOTHING, "server_error"),
    "unavailable": Row("BACKEND_DOWN", MAX_CALLS, NOTHING, "overloaded"),
    "request_timeout": Row("BACKEND_DOWN", MAX_CALLS, NOTHING, "server_error"),
    "conflict": Row("BACKEND_DOWN", MAX_CALLS, NOTHING, "server_error"),
    "redirect": Row("BACKEND_REFUSED_REQUEST", 1, NOTHING, "bad_request"),
    "auth": Row("AUTHENTICATION_FAILED", 1, NOTHING, "auth"),
    "permission": Row("AUTHENTICATION_FAILED", 1, NOTHING, "auth"),
    "bad_request": Row("BACKEND_REFUSED_REQUEST", 1, NOTHING, "bad_request"),
    "not_found": Row("BACKEND_REFUSED_REQUEST", 1, NOTHING, "bad_request"),
    "echo_key": Row("BACKEND_REFUSED_REQUEST", 1, NOTHING, "bad_request"),
    # May have been charged: one more try, then the request ends without an answer.
    "hang": Row("UNKNOWN", 2, AT_RISK, "timeout"),
    "hang_mid_stream": Row("UNKNOWN", 2, AT_RISK, "timeout"),
    "drip": Row("UNKNOWN", 2, AT_RISK, "timeout"),
    "reset": Row("UNKNOWN", 2, AT_RISK, "connection"),
    "reset_mid_stream": Row("UNKNOWN", 2, AT_RISK, "connection"),
    "cut_mid_stream": Row("UNKNOWN", 2, AT_RISK, "connection"),
    "clean_cut": Row("UNKNOWN", 2, AT_RISK, "connection"),
    "empty_body": Row("UNKNOWN", 2, AT_RISK, "malformed"),
    "malformed": Row("UNKNOWN", 2, AT_RISK, "malformed"),
    "gzip_rubbish": Row("UNKNOWN", 2, AT_RISK, "malformed"),
    "json_list": Row("UNKNOWN", 2, AT_RISK, "malformed"),
    "invalid_utf8": Row("UNKNOWN", 2, AT_RISK, "malformed"),
    "flood": Row("UNKNOWN", 2, AT_RISK, "malformed"),
    "malformed_mid_stream": Row("UNKNOWN", 2, AT_RISK, "malformed"),
    "error_event": Row("UNKNOWN", 2, AT_RISK, "server_error"),
    # A fault, then an answer.
    "rate_limited_soon, ok": Row("OK", 2, CHARGED),
    "overloaded, server_error, ok": Row("OK", 3, CHARGED),
    "clean_cut, ok": Row("OK", 2, f"{CHARGED} + {AT_RISK}"),
    # Right answers in odd forms, and errors where an answer should be.
    "data_free_events": Row("OK", 1, CHARGED),
    "no_finish": Row("OK", 1, CHARGED),
    "finish_each": Row("OK", 1, CHARGED),
    "finish_each_cut": Row("UNKNOWN", 2, AT_RISK, "connection"),
    "other_form": Row("OK", 1, CHARGED),
    "mislabelled": Row("OK", 1, CHARGED),
    "nameless_events": Row("OK", 1, CHARGED),
    "blank_lines_missing": Row("OK", 1, CHARGED),
    "crlf_lines": Row("OK", 1, CHARGED),
    "no_space": Row("OK", 1, CHARGED),
    "json_lines": Row("OK", 1, CHARGED),
    "native_truncated": Row("TRUNCATED", 1, CHARGED, "truncated"),
    "native_prefixed": Row("TRUNCATED", 1, CHARGED, "truncated"),
    "native_filtered": Row("CONTENT_FILTERED", 1, CHARGED, "content_filter"),
    "error_200": Row("RATE_LIMITED", MAX_CALLS, NOTHING, "rate_limited"),
    "error_200_upstream": Row("BACKEND_DOWN", MAX_CALLS, NOTHING, "server_error"),
    "error_200_money": Row("SPEND_LIMIT_REACHED", 1, NOTHING, "spend_limit"),
    "error_text": Row("BACKEND_DOWN", MAX_CALLS, NOTHING, "server_error"),
    "error_bare": Row("BACKEND_DOWN", MAX_CALLS, NOTHING, "server_error"),
    "detail_200": Row("BACKEND_DOWN", MAX_CALLS, NOTHING, "server_error"),
    "message_in_stream": Row("BACKEND_DOWN", MAX_CALLS, NOTHING, "server_error"),
    "detail_422": Row("BACKEND_REFUSED_REQUEST", 1, NOTHING, "bad_request"),
    "error_list": Row("BACKEND_REFUSED_REQUEST", 1, NOTHING, "bad_request"),
    "page_200": Row("UNKNOWN", 2, AT_RISK, "malformed"),
    "page_404": Row("BACKEND_REFUSED_REQUEST", 1, NOTHING, "bad_request"),
    "text_200": Row("UNKNOWN", 2, AT_RISK, "malformed"),
    # Fences of every kind. An answer without a policy is asked for once more.
    **{f"fence_{kind}": Row("OK", 1, CHARGED) for kind in FENCES if kind not in NO_POLICY},
    "fence_no_code, ok": Row("OK", 2, CHARGED),
    "fence_no_code": Row("NO_CODE", 2, CHARGED),
    "fence_broken_code": Row("INVALID_CODE", 2, CHARGED),
    "fence_wrong_name": Row("INVALID_CODE", 2, CHARGED),
}  # fmt: skip

# Where a wire protocol says it differently.
DIFFERENT = {
    # Anthropic's word for a content filter is a refusal, and its stream always tells the usage.
    ("anthropic", "content_filter"): Row("REFUSED", 1, CHARGED, "refusal"),
    ("anthropic", "no_usage"): Row("OK", 1, CHARGED),
    ("anthropic", "error_event"): Row("UNKNOWN", 2, AT_RISK, "overloaded"),
    # A response has its meter reading in its last event only.
    ("openai", "no_finish"): Row("OK", 1, AT_RISK),
    # Without a stream there is one document, which is complete, and an error in its place came before any work.
    **{(wire, "finish_each_cut"): Row("OK", 1, CHARGED) for wire in ("openai-whole", "compatible-whole")},
    **{
        (wire, "error_event"): Row("BACKEND_DOWN", MAX_CALLS, NOTHING, "server_error")
        for wire in ("openai-whole", "compatible-whole")
    },
}


def expected(wire: str) -> dict[str, Row]:
    return {fault: DIFFERENT.get((wire, fault), row) for fault, row in EXPECTED.items()}


async def measure(folder: Path, wire: str, faults: Iterable[str]) -> dict[str, Row]:
    """Provoke each fault over a real generator, SDK and socket, and say what came of it.

    Only the faults that never end meet a short timeout, so that a busy machine changes nothing.
    """
    rows: dict[str, Row] = {}
    wanted = list(faults)
    for endless, seconds in ((False, 60.0), (True, CALL_TIMEOUT_SECONDS)):
        backend = {"max_calls": MAX_CALLS, "call_timeout_seconds": seconds, "breaker_failures": 1_000_000}
        async with stack(folder, wire, backend=backend) as s:
            rows |= {fault: await _provoke(s, fault) for fault in wanted if (fault in ENDLESS) is endless}
    return {fault: rows[fault] for fault in wanted}


async def _provoke(s: Stack, fault: str) -> Row:
    *first, s.server.default = fault.split(", ")
    s.server.script.extend(first)
    before = len(s.server.seen)
    try:
        generation = await s.generate_once(request(fault.replace(", ", "/"), "llm"), timeout=60.0)
        outcome = pb.Outcome.Name(generation.outcome).removeprefix("OUTCOME_")
        usd, at_risk = generation.cost.usd, generation.cost.at_risk_usd
        last = generation.calls[-1].outcome
    except QuintainError as error:
        outcome = error.reason
        usd, at_risk = float(error.metadata["spent_usd"]), float(error.metadata["at_risk_usd"])
        last = error.metadata["call_outcome"]
    money = " + ".join(name for name, amount in ((CHARGED, usd), (AT_RISK, at_risk)) if amount > 0)
    return Row(outcome, len(s.server.seen) - before, money or NOTHING, last)
