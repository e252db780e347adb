"""What a provider says went wrong: its words, and the kind of failure behind its own names for it.

Providers put both in many shapes: ``{"error": {"message": ..., "code": ...}}``, ``{"error": "text"}``,
``{"detail": [{"loc": ..., "msg": ...}]}``, ``{"message": ...}``, a list of such, a page of HTML. None of them is lost.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quintain.plugins.backend import CallOutcome

_MAX_QUOTED = 600  # characters of a body that is quoted as it is
_MAX_DEPTH = 6
_MAX_PIECES = 12

_WORDS = ("message", "msg", "detail", "description", "title", "reason", "raw", "text")  # also within longer keys
_NAMES = ("code", "type", "status", "errorcode", "statuscode", "error", "reason", "errortype")
_NESTED = ("error", "detail", "baseresp", "metadata", "cause", "fault", "data", "body")


@dataclass(frozen=True, slots=True)
class Complaint:
    """A failure in its provider's words. `names`: what the provider calls it (codes, types, statuses). `wait_seconds`:
    None if it does not say."""

    words: str
    names: tuple[object, ...] = ()
    wait_seconds: float | None = None


def is_complaint(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object says by itself that something failed."""
    return (
        bool(value.get("error"))
        or bool(value.get("errors"))
        or "error" in (value.get("type"), value.get("object"))
        or bool(value.get("error_code"))
        or value.get("success") is False
    )


def complaint_in(value: object) -> Complaint:
    """What a JSON value says; the value itself if nothing in it looks like words."""
    words: list[str] = []
    names: list[object] = []
    waits: list[float] = []
    for key, found, where in _walk(value, "", 0):
        if isinstance(found, str) and found.strip() and (key == "error" or any(sign in key for sign in _WORDS)):
            words.append(f"{where}: {found.strip()}" if where else found.strip())
        if key in _NAMES and isinstance(found, str | int) and not isinstance(found, bool):
            names.append(found)
        if key == "retrydelay" and isinstance(found, str) and re.fullmatch(r"[0-9.]{1,9}s", found):
            waits.append(float(found[:-1]))
    said = "; ".join(list(dict.fromkeys(words))[:_MAX_PIECES])
    if not said:
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:_MAX_QUOTED]
    return Complaint(said, tuple(names), max(waits, default=None))


def complaint_of(body: str) -> Complaint:
    """What the body of an error says: JSON of some shape, or text that is quoted without its markup."""
    try:
        return complaint_in(json.loads(body))
    except (ValueError, RecursionError):
        return Complaint(quoted(body))


def quoted(body: str) -> str:
    """A text or page for a message: without markup, on one line, the beginning of it."""
    text = body[: 20 * _MAX_QUOTED]
    if "<" in text and re.search(r"(?i)<(?:!doctype|html|head|body|title|h1|p|div)\b", text):
        text = html.unescape(re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^<>]*>", " ", text))
    return " ".join(text.split())[:_MAX_QUOTED]


def _walk(value: object, key: str, depth: int) -> Iterator[tuple[str, object, str]]:
    """(key, scalar, field that it is about) of what is worth reading; a key without its underscores and capitals."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value[:_MAX_PIECES]:
            yield from _walk(item, key, depth + 1)
    elif isinstance(value, dict):
        location = value.get("loc") or value.get("param") or value.get("field")
        where = ".".join(map(str, location)) if isinstance(location, list) else str(location or "")
        for name, inner in list(value.items())[: 4 * _MAX_PIECES]:
            plain = re.sub("[^a-z]", "", str(name).lower())
            if isinstance(inner, dict | list):
                if any(sign in plain for sign in (*_NESTED, *_WORDS)):
                    yield from _walk(inner, plain, depth + 1)
            else:
                yield plain, inner, where if plain in ("msg", "message") else ""
    else:
        yield key or "message", value, ""


# ------------------------------------------------------------------------------------------------------------- classes


def _plain(name: str) -> str:
    """A name without spelling: ``RateLimitError``, ``rate_limit_error`` and ``RATE-LIMIT`` are one."""
    return re.sub("[^a-z0-9]", "", name.lower()).removesuffix("exception").removesuffix("error")


_NAMES_OF: dict[CallOutcome, str] = {
    CallOutcome.SPEND_LIMIT: "insufficient_quota enforced_spend_limit_reached billing billing_hard_limit_reached "
    "billing_not_active insufficient_balance insufficient_credits insufficient_funds payment_required arrearage "
    "exceeded_current_quota",
    CallOutcome.RATE_LIMITED: "rate_limit rate_limited rate_limit_exceeded rate_limit_reached too_many_requests "
    "resource_exhausted throttling throttled request_limit_exceeded quota_exceeded concurrency_limit_exceeded",
    CallOutcome.OVERLOADED: "overloaded service_unavailable unavailable server_overloaded engine_overloaded "
    "model_overloaded capacity_exceeded model_not_ready",
    CallOutcome.AUTH: "authentication permission permission_denied invalid_api_key incorrect_api_key unauthenticated "
    "unauthorized access_denied forbidden invalid_authentication",
    CallOutcome.BAD_REQUEST: "invalid_request not_found invalid_prompt context_length_exceeded invalid_argument "
    "bad_request validation unprocessable_entity failed_precondition model_not_found unsupported_parameter "
    "unsupported_value invalid_parameter",
    CallOutcome.CONTENT_FILTER: "content_filter bio_policy misalignment_policy_violation content_policy_violation "
    "responsible_ai_policy_violation data_inspection_failed",
    CallOutcome.SERVER_ERROR: "api server timeout internal internal_server bad_gateway gateway_timeout "
    "deadline_exceeded",
}
_BY_NAME = {_plain(name): outcome for outcome, names in _NAMES_OF.items() for name in names.split()}
# Sentences about money that come under other names.
_NO_MONEY = re.compile(
    r"(?i)credit balance is too low|specified API usage limits|insufficient (?:balance|credits?|funds)|out of credits"
)
_WRONG_PLACE = re.compile(r"(?i)unexpected endpoint")  # LM Studio's, under 200
_BY_STATUS = {
    401: CallOutcome.AUTH,
    402: CallOutcome.SPEND_LIMIT,
    403: CallOutcome.AUTH,
    408: CallOutcome.SERVER_ERROR,
    409: CallOutcome.SERVER_ERROR,
    425: CallOutcome.SERVER_ERROR,
    429: CallOutcome.RATE_LIMITED,
    503: CallOutcome.OVERLOADED,
    529: CallOutcome.OVERLOADED,
}
_LATE_STATUS = re.compile("[45][0-9][0-9]")


def classify(status: int, *names: object, words: str = "") -> CallOutcome:
    """What an error is, from the HTTP status (200 for one inside an answer) and the provider's own names and words.

    A spend limit is looked for first: providers send it as a rate limit, and waiting does not help. Inside an answer, a
    number (vLLM, llama.cpp) is the status that came too late to be one. Other names that are no text say nothing.
    """
    named = [_BY_NAME[plain] for name in names if isinstance(name, str) and (plain := _plain(name)) in _BY_NAME]
    if CallOutcome.SPEND_LIMIT in named or _NO_MONEY.search(words):
        return CallOutcome.SPEND_LIMIT
    if status < 300 and _WRONG_PLACE.search(words):
        return CallOutcome.BAD_REQUEST
    if status < 300 and not named:
        status = next((int(str(name)) for name in names if _LATE_STATUS.fullmatch(str(name))), status)
    if 300 <= status < 400:  # redirects are not followed; the base URL is wrong
        return CallOutcome.BAD_REQUEST
    if status < 400:
        return named[0] if named else CallOutcome.SERVER_ERROR
    if CallOutcome.CONTENT_FILTER in named:
        return CallOutcome.CONTENT_FILTER
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return CallOutcome.BAD_REQUEST if status < 500 else CallOutcome.SERVER_ERROR


# ------------------------------------------------------------------------------------------------------ finish reasons

_REASONS_OF: dict[CallOutcome, str] = {
    CallOutcome.OK: "stop end_turn eos eos_token stop_sequence stop_token completed complete done finished end",
    CallOutcome.TRUNCATED: "length max_tokens max_output_tokens max_completion_tokens max_length model_length "
    "context_length context_length_exceeded model_context_window_exceeded token_limit incomplete truncated pause_turn "
    "other unspecified language",
    CallOutcome.CONTENT_FILTER: "content_filter content_filtered safety recitation blocklist prohibited_content spii "
    "sensitive guardrail_intervened image_safety error_toxic moderation",
    CallOutcome.REFUSAL: "refusal refused",
    # The server gave up in the middle and says it where others say that they are done.
    CallOutcome.SERVER_ERROR: "abort aborted error network_error cancelled canceled failed timeout malformed_response",
    CallOutcome.OVERLOADED: "insufficient_system_resource overloaded",
}
_BY_REASON = {_plain(name) or name: outcome for outcome, names in _REASONS_OF.items() for name in names.split()}
_SIGNS = (  # of names that nobody has listed
    (re.compile("length|limit|truncat|window|budget|maxtok|maxout"), CallOutcome.TRUNCATED),
    (re.compile("filter|safety|block|prohibit|sensitive|moderat|policy"), CallOutcome.CONTENT_FILTER),
    (re.compile("refus|declin"), CallOutcome.REFUSAL),
    (re.compile("error|fail|abort|cancel|timeout|interrupt|malformed|overload"), CallOutcome.SERVER_ERROR),
)


def finish_outcome(reason: str) -> CallOutcome:
    """What a finish reason means, in whatever provider's spelling (``MAX_TOKENS``, ``FINISH_REASON_SAFETY``). One that
    nobody has heard of, without a sign of trouble in it, is an end like any other."""
    whole = re.sub("[^a-z0-9]", "", reason.lower()).removeprefix("finishreason").removeprefix("stopreason")
    known = _BY_REASON.get(_plain(whole) or whole)
    if known is not None:
        return known
    return next((outcome for sign, outcome in _SIGNS if sign.search(whole)), CallOutcome.OK)
