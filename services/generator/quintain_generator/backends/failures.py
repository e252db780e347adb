"""Replies for calls that gave no answer, in the provider's words or in plain ones, never in those of a library."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.request import getproxies

import httpx2

from quintain.plugins.backend import BackendReply, CallOutcome, Usage
from quintain_generator.backends.provider_words import Complaint, classify, complaint_in, complaint_of, quoted
from quintain_generator.backends.wire import AnswerTooLarge

_LONGEST_WAIT = 30 * 86400.0  # a wish beyond a month is as good as a month, and can be told to a caller


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from ``retry-after-ms`` or ``Retry-After`` (seconds or an HTTP date); None if there is none to read."""
    value = headers.get("retry-after", "")
    for seconds in (_number(headers.get("retry-after-ms", ""), 1e-3), _number(value, 1.0), _until(value)):
        if seconds is not None:
            return min(seconds, _LONGEST_WAIT)
    return None


def _number(text: str, unit: float) -> float | None:
    try:
        seconds = float(text) * unit
    except ValueError:
        return None
    return seconds if seconds >= 0 else None  # false for not a number, too


def _until(date: str) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def refused(response: httpx2.Response, request_id: str, address: str) -> BackendReply:
    """The reply for an HTTP status that is no success; the body has been read. `address`: where it came from."""
    status = response.status_code
    said = complaint_of(response.text)
    outcome = classify(status, *said.names, words=said.words)
    words = f"HTTP {status}: {said.words or response.reason_phrase or 'no words'}"
    if 300 <= status < 400:
        words = f"HTTP {status}: redirects are not followed; set base_url to where the API is"
    elif status in (404, 405) or "html" in response.headers.get("content-type", ""):
        words += f" (from {address})"
    wait = retry_after(response.headers)
    return BackendReply(
        outcome,
        usage=Usage() if outcome is CallOutcome.CONTENT_FILTER else None,  # refused before any work
        detail=words,
        provider_request_id=request_id,
        retry_after_seconds=said.wait_seconds if wait is None else wait,
    )


def complained(said: Complaint) -> BackendReply:
    """The reply for an error where the answer should be, under a status that says success."""
    return BackendReply(
        classify(200, *said.names, words=said.words),
        detail=f"the provider answered with an error: {said.words}",
        retry_after_seconds=said.wait_seconds,
    )


_BROKEN: tuple[tuple[type[httpx2.HTTPError], str], ...] = (  # the first that fits
    (httpx2.ConnectTimeout, "no connection within the time for one"),
    (httpx2.ProxyError, "the proxy refused"),
    (httpx2.UnsupportedProtocol, "no connection"),
    (httpx2.ConnectError, "no connection"),
    (httpx2.PoolTimeout, "no free connection within the time for one"),
    (httpx2.TimeoutException, "nothing came for the time of the whole call"),
    (httpx2.RemoteProtocolError, "the connection ended before the end of the answer"),
    (httpx2.NetworkError, "the connection broke before the end of the answer"),
)


def broken(error: BaseException) -> BackendReply:
    """The reply for a failure below HTTP, the SDK's wrapping taken off."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, httpx2.HTTPError):
        cause = cause.__cause__
    if isinstance(cause, AnswerTooLarge):
        return malformed(f"the answer is too large: {cause}")
    if isinstance(cause, httpx2.DecodingError):
        return malformed(f"the answer cannot be unpacked: {cause}")
    never_sent = isinstance(
        cause,
        httpx2.ConnectError
        | httpx2.ConnectTimeout
        | httpx2.PoolTimeout
        | httpx2.ProxyError
        | httpx2.UnsupportedProtocol
        | httpx2.LocalProtocolError,
    )
    timed_out = isinstance(cause, httpx2.TimeoutException) and not never_sent
    words = next((words for kind, words in _BROKEN if isinstance(cause, kind)), "the connection failed")
    reason = re.sub(r"\[[^\]]*\] ?|\(_ssl[^)]*\)", "", str(cause or error)).strip()
    proxies = ", ".join(sorted(f"{name}_proxy" for name in getproxies() if name in ("http", "https", "all")))
    through = f" (the environment sets {proxies})" if never_sent and proxies else ""
    return BackendReply(
        CallOutcome.TIMEOUT if timed_out else CallOutcome.CONNECTION,
        detail=words + (f": {reason}" if reason else "") + through,
        sent=not never_sent,
    )


def not_sent(error: Exception) -> BackendReply:
    """The reply for a request that the SDK refused to make."""
    return BackendReply(CallOutcome.BAD_REQUEST, detail=f"the request was not sent: {error}", sent=False)


def malformed(detail: str) -> BackendReply:
    return BackendReply(CallOutcome.MALFORMED, detail=detail)


def no_answer(body: Any, address: str) -> BackendReply:
    """The reply for a complete body that is neither an answer nor says what is wrong; an error if it holds a code."""
    if isinstance(body, dict) and body:
        said = complaint_in(body)
        if any(key in body for key in ("detail", "message", "msg", "code", "base_resp")):
            return complained(said)
    shown = quoted(body if isinstance(body, str) else json.dumps(body, ensure_ascii=False))
    return malformed(f"what {address} sent is no answer; is base_url right? It begins: {shown or '(nothing)'}")


def cut_off(events: int, characters: int, asides: str, address: str) -> BackendReply:
    """The reply for a body that ended cleanly, but too early. Without a single event it was never the protocol.
    `asides`: what the stream held beside events."""
    if events == 0:
        return no_answer(asides, address)
    said = f"; it also held: {quoted(asides)}" if asides else ""
    detail = f"the stream ended after {events} events and {characters} characters, before its end was told{said}"
    return BackendReply(CallOutcome.CONNECTION, detail=detail)


def with_answer(reply: BackendReply, text: str, usage: Usage | None, model: str, request_id: str) -> BackendReply:
    """`reply` with what had arrived of the answer before it failed."""
    return replace(
        reply,
        text=text,
        usage=reply.usage or usage,
        model=model,
        provider_request_id=reply.provider_request_id or request_id,
    )
