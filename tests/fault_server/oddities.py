"""Right answers and honest errors in the odd forms that servers and proxies send them in, for every wire protocol."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.fault_server.answers import Answer, Chat, Messages

Events = list[bytes]
SSE, JSON = "text/event-stream", "application/json"

# Events that the standard says are none, and a comment.
_DATA_FREE = b"retry: 3000\n\nevent: ping\n\ndata:\n\ndata: \n\nid: 7\n\n: keepalive\n\n"
_NATIVE = {"native_truncated": ("length", "MAX_TOKENS"), "native_filtered": ("content_filter", "SAFETY"),
           "native_prefixed": ("length", "FINISH_REASON_MAX_TOKENS")}  # fmt: skip


def _data(event: bytes) -> dict[str, Any] | None:
    text = next((line for line in event.split(b"\n") if line.startswith(b"data: {")), b"")
    value: dict[str, Any] | None = json.loads(text.removeprefix(b"data: ")) if text else None
    return value


def _rewritten(events: Events, change: Callable[[dict[str, Any]], None]) -> Events:
    """`events` with the JSON of each changed."""
    written = []
    for event in events:
        data = _data(event)
        if data is None:
            written.append(event)
            continue
        change(data)
        name = event.split(b"data:", 1)[0]
        written.append(name + b"data: " + json.dumps(data).encode() + b"\n\n")
    return written


def _with_reason(protocol: Any, reason: str | None) -> Callable[[dict[str, Any]], None]:
    """What puts `reason` where the protocol has its finish reason, if there is one already; None takes it out."""

    def change(data: dict[str, Any]) -> None:
        for choice in data.get("choices") or ():
            if choice.get("finish_reason"):
                choice["finish_reason"] = reason
        for holder in (data, data.get("delta") or {}):
            if isinstance(holder, dict) and holder.get("stop_reason"):
                holder["stop_reason"] = reason
        response = data.get("response") or data
        if isinstance(response, dict) and response.get("incomplete_details"):
            response["incomplete_details"] = {"reason": reason}
        if reason is None and isinstance(response, dict) and response.get("status") == "completed":
            del response["status"]

    return change


def _no_finish(protocol: Any, events: Events) -> Events:
    """No finish reason anywhere; only the stream's own end."""
    if protocol in (Chat, Messages):
        return _rewritten(events, _with_reason(protocol, None))
    return [*events[:-1], b"data: [DONE]\n\n"]


def _finish_each(protocol: Any, events: Events) -> Events:
    """A finish reason with every piece of text."""
    if protocol is Chat:

        def stopped(data: dict[str, Any]) -> None:
            for choice in data["choices"]:
                choice["finish_reason"] = choice["finish_reason"] or "stop"

        return _rewritten(events, stopped)
    if protocol is Messages:
        stop = b'event: message_delta\ndata: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}\n\n'
        return [piece for event in events for piece in ((event, stop) if b"content_block_delta" in event else (event,))]
    return events


def _streams() -> dict[str, Callable[[Any, Events], Events]]:
    return {
        "data_free_events": lambda _p, events: [_DATA_FREE, *(e for event in events for e in (event, _DATA_FREE))],
        "no_finish": _no_finish,
        "finish_each": _finish_each,
        "finish_each_cut": lambda p, events: _finish_each(p, events)[: len(events) // 2],
        "other_form": lambda _p, events: events,
        "mislabelled": lambda _p, events: events,
        "nameless_events": lambda _p, events: [b"data:" + event.split(b"data:", 1)[1] for event in events],
        "blank_lines_missing": lambda _p, events: [event.removesuffix(b"\n") for event in events],
        "crlf_lines": lambda _p, events: [event.replace(b"\n", b"\r\n") for event in events],
        "no_space": lambda _p, events: [event.replace(b"data: ", b"data:") for event in events],
        "json_lines": lambda _p, events: [
            json.dumps(data).encode() + b"\n" for event in events if (data := _data(event)) is not None
        ],
    }


STREAMS = _streams()
# name -> (HTTP status, content type, body), whatever was asked for
ERRORS_AS_ANSWERS: dict[str, tuple[int, str, bytes]] = {
    "error_200": (200, JSON, b'{"error": {"code": 429, "message": "told: free models per day", "metadata": {}}}'),
    "error_200_upstream": (200, JSON, b'{"id": "g", "error": {"code": 502, "message": "told: upstream overloaded"}}'),
    "error_200_money": (200, JSON, b'{"base_resp": {"status_code": 1008, "status_msg": "told: insufficient balance"}}'),
    "error_text": (200, SSE, b'data: {"error": "told: the runner has crashed"}\n\n'),
    "error_bare": (200, SSE, b': hello\n\n{"error": "told: the runner has crashed"}\n'),
    "detail_200": (200, JSON, b'{"detail": "told: not here"}'),
    "message_in_stream": (200, SSE, b'data: {"message": "told: the queue is full"}\n\ndata: [DONE]\n\n'),
    "detail_422": (422, JSON, b'{"detail": [{"loc": ["body", "x"], "msg": "told: not permitted", "type": "extra"}]}'),
    "error_list": (400, JSON, b'[{"error": {"code": 400, "message": "told: key not valid", "status": "INVALID"}}]'),
    "page_200": (200, "text/html", b"<!doctype html><body>told: <b>sign in</b></body>"),
    "page_404": (404, "text/html", b"<html><body>told: no such page</body></html>"),
    "text_200": (200, "text/plain", b"told: upstream connect error"),
}
ODDITIES = (*STREAMS, *ERRORS_AS_ANSWERS, *_NATIVE)


def odd_response(fault: str, protocol: Any, answer: Answer, *, stream: bool) -> tuple[int, str, bytes]:
    """(HTTP status, content type, body) of an oddity; `stream` says whether one was asked for."""
    if fault in ERRORS_AS_ANSWERS:
        return ERRORS_AS_ANSWERS[fault]
    change: Callable[[dict[str, Any]], None] | None = None
    if fault in _NATIVE:
        finish, reason = _NATIVE[fault]
        answer, change = replace(answer, finish=finish), _with_reason(protocol, reason)
    elif fault == "no_finish" and not stream:
        change = _with_reason(protocol, None)
    if stream != (fault == "other_form"):
        events = protocol.events(answer)
        events = _rewritten(events, change) if change else STREAMS[fault](protocol, events)
        kinds = {"mislabelled": "text/plain", "json_lines": "application/x-ndjson"}
        return 200, kinds.get(fault, SSE), b"".join(events)
    body = protocol.body(answer)
    if change is not None:
        change(body)
    text = json.dumps(body, indent=1 if fault in ("crlf_lines", "blank_lines_missing") else None)
    return 200, "text/plain" if fault == "mislabelled" else JSON, text.encode()
