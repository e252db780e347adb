"""The two batch interfaces as the fault server plays them.

A batch takes the next fault of the script when it is made. It has ended when it was looked at often enough (a list is a
look at all of them), so that nothing here depends on time. What is charged is the answer of a call that was come to,
whether anybody fetches it or not.

Faults beside the refusals and the kinds of answers: ``batch_unanswered`` (made, and the connection is reset),
``batch_lost`` (the connection is reset before it is made), ``batch_expired``, ``batch_cancelled`` (by somebody else),
``batch_errored``, ``batch_failed`` (OpenAI: it never begins), ``batch_mixed`` (among lines of others, some of which
failed), ``batch_too_late`` (answered although it was cancelled).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from tests.fault_server.answers import PROTOCOLS, Answer, Messages, Responses
from tests.fault_server.log import ERRORS, Seen

BATCH_PATHS = ("/v1/files", "/v1/batches", "/v1/messages/batches")
_NEVER = 10**9


@dataclass
class _Batch:
    batch_id: str
    custom_id: str
    body: dict[str, Any]
    seen: Seen
    metadata: dict[str, str]
    created: datetime
    looks_left: int
    end: str = ""  # succeeded, errored, expired, canceled, failed; empty: at work
    cancelling: bool = False
    answer: Answer | None = None

    @property
    def anthropic(self) -> bool:
        return self.batch_id.startswith("msgbatch_")


class BatchDesk:
    """Files and batches of one server. `looks`: at a batch, before it has ended."""

    def __init__(
        self,
        note: Callable[[str, dict[str, Any], str], Seen],
        make_answer: Callable[[dict[str, Any], Seen], Answer],
        *,
        looks: int,
    ) -> None:
        self._note = note
        self._make_answer = make_answer
        self._looks = looks
        self._files: dict[str, bytes] = {}
        self._batches: list[_Batch] = []

    def hold(self) -> None:
        """Batches that are at work, and later ones, do not end by being looked at."""
        self._looks = _NEVER
        for batch in self._batches:
            batch.looks_left = _NEVER

    def finish(self) -> None:
        """Batches that are at work end at the next look."""
        for batch in self._batches:
            batch.looks_left = 1

    def answer(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> tuple[int, bytes]:
        """(HTTP status, body); status 0: reset the connection."""
        path, _, query = path.partition("?")
        asked = dict(parse_qsl(query))
        parts = path.strip("/").split("/")[1:]
        if parts == ["files"]:
            return self._upload(headers, raw)
        if parts[0] == "files":
            return self._content(parts[1])
        anthropic = parts[0] == "messages"
        rest = parts[2:] if anthropic else parts[1:]
        if not rest and method == "POST":
            return self._create(json.loads(raw), anthropic=anthropic)
        if not rest:
            return self._list(anthropic, asked)
        batch = next((b for b in self._batches if b.batch_id == rest[0]), None)
        if batch is None:
            return _complaint(404, "not_found_error", f"no batch {rest[0]}", anthropic=anthropic)
        if rest[1:] == ["cancel"]:
            if batch.end:
                return _complaint(409, "conflict_error", "the batch has ended", anthropic=anthropic)
            batch.cancelling, batch.looks_left = True, 1
            return 200, _shown(batch)
        if rest[1:] == ["results"]:
            return 200, b"".join(_line(value) for value in _message_lines(batch))
        self._look(batch)
        return 200, _shown(batch)

    def _upload(self, headers: dict[str, str], raw: bytes) -> tuple[int, bytes]:
        boundary = headers["content-type"].partition("boundary=")[2].strip('"').encode()
        part = next(part for part in raw.split(b"--" + boundary) if b'name="file"' in part)
        name = f"file-in-{len(self._files):06d}"
        self._files[name] = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        return 200, json.dumps({"id": name, "object": "file", "purpose": "batch"}).encode()

    def _content(self, name: str) -> tuple[int, bytes]:
        kind, _, batch_id = name.partition(":")
        batch = next((b for b in self._batches if b.batch_id == batch_id), None)
        if batch is None:
            return _complaint(404, "not_found_error", f"no file {name}", anthropic=False)
        lines = _response_lines(batch)
        return 200, b"".join(_line(line) for line in lines if _failed(line) == (kind == "file-err"))

    def _create(self, wanted: dict[str, Any], *, anthropic: bool) -> tuple[int, bytes]:
        if anthropic:
            (item,) = wanted["requests"]
            custom_id, body, path = item["custom_id"], item["params"], Messages.path
        else:
            line = json.loads(self._files[wanted["input_file_id"]])
            custom_id, body, path = line["custom_id"], line["body"], Responses.path
            assert line["url"] == wanted["endpoint"] == path
        batch_id = f"{'msgbatch' if anthropic else 'batch'}_{len(self._batches):06d}"
        seen = self._note(path, body, batch_id)
        if seen.fault in ERRORS:
            status, kind, code, _ = ERRORS[seen.fault]
            return status, json.dumps(
                PROTOCOLS[path].error_body(kind, code, f"told to fail with {seen.fault}")
            ).encode()
        if seen.fault == "batch_lost":
            return 0, b""
        metadata = wanted.get("metadata") or {}
        batch = _Batch(batch_id, custom_id, body, seen, metadata, datetime.now(UTC), self._looks)
        self._batches.insert(0, batch)
        return (0, b"") if seen.fault == "batch_unanswered" else (200, _shown(batch))

    def _list(self, anthropic: bool, asked: dict[str, str]) -> tuple[int, bytes]:
        mine = [batch for batch in self._batches if batch.anthropic == anthropic]
        after = asked.get("after_id" if anthropic else "after", "")
        begin = next((i + 1 for i, batch in enumerate(mine) if batch.batch_id == after), 0)
        page = mine[begin : begin + int(asked.get("limit", "20"))]
        for batch in page:
            self._look(batch)
        listed = {"data": [json.loads(_shown(b)) for b in page], "has_more": begin + len(page) < len(mine)}
        return 200, json.dumps(listed).encode()

    def _look(self, batch: _Batch) -> None:
        batch.looks_left -= 1
        if batch.end or batch.looks_left > 0:
            return
        fault = batch.seen.fault
        if batch.cancelling and fault != "batch_too_late":
            batch.end = "canceled"
        elif fault in ("batch_expired", "batch_errored", "batch_failed", "batch_cancelled"):
            ends = {"batch_failed": "errored" if batch.anthropic else "failed", "batch_cancelled": "canceled"}
            batch.end = ends.get(fault, fault.removeprefix("batch_"))
        else:
            batch.end, batch.seen.completed = "succeeded", True
            if fault.startswith("batch_"):
                batch.seen.fault = "ok"
            batch.answer = self._make_answer(batch.body, batch.seen)
            batch.seen.fault = fault
            batch.seen.input_tokens = batch.answer.input_tokens
            batch.seen.output_tokens = batch.answer.output_tokens


def _complaint(status: int, kind: str, message: str, *, anthropic: bool) -> tuple[int, bytes]:
    return status, json.dumps((Messages if anthropic else Responses).error_body(kind, "", message)).encode()


def _shown(batch: _Batch) -> bytes:
    shown: dict[str, Any]
    if batch.anthropic:
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        counts[batch.end or "processing"] += 1
        at_work = "canceling" if batch.cancelling else "in_progress"
        shown = {
            "id": batch.batch_id,
            "type": "message_batch",
            "processing_status": "ended" if batch.end else at_work,
            "request_counts": counts,
            "created_at": batch.created.isoformat(),
            "archived_at": None,
        }
    else:
        statuses = {"succeeded": "completed", "errored": "completed", "canceled": "cancelled"}
        at_work = "cancelling" if batch.cancelling else "in_progress"
        has_output = batch.end == "succeeded"
        has_errors = batch.end in ("errored", "expired", "canceled") or batch.seen.fault == "batch_mixed"
        shown = {
            "id": batch.batch_id,
            "object": "batch",
            "status": statuses.get(batch.end, batch.end) or at_work,
            "created_at": int(batch.created.timestamp()),
            "metadata": batch.metadata,
            "output_file_id": f"file-out:{batch.batch_id}" if has_output else None,
            "error_file_id": f"file-err:{batch.batch_id}" if batch.end and has_errors else None,
            "errors": {"data": [{"code": "invalid_request", "message": "told to fail"}]}
            if batch.end == "failed"
            else None,
        }
    return json.dumps(shown).encode()


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _failed(line: dict[str, Any]) -> bool:
    return line["error"] is not None or line["response"]["status_code"] != 200


def _response_lines(batch: _Batch) -> list[dict[str, Any]]:
    line: dict[str, Any] = {"id": "x", "custom_id": batch.custom_id, "response": None, "error": None}
    failure = {"status_code": 500, "body": Responses.error_body("server_error", "server_error", "told to fail")}
    if batch.answer is not None:
        line["response"] = {"status_code": 200, "request_id": "r", "body": Responses.body(batch.answer)}
    elif batch.end == "errored":
        line["response"] = failure
    else:
        line["error"] = {
            "code": {"canceled": "batch_cancelled"}.get(batch.end, "batch_expired"),
            "message": "told to fail",
        }
    if batch.seen.fault != "batch_mixed":
        return [line]
    others = [{**line, "custom_id": "another-1"}, {**line, "custom_id": "another-2", "response": failure}]
    return [others[1], {"custom_id": None, "response": failure, "error": None}, line, others[0]]


def _message_lines(batch: _Batch) -> list[dict[str, Any]]:
    result: dict[str, Any] = {"type": batch.end}
    if batch.answer is not None:
        result["message"] = Messages.body(batch.answer)
    elif batch.end == "errored":
        result["error"] = Messages.error_body("api_error", "", "told to fail")
    line = {"custom_id": batch.custom_id, "result": result}
    if batch.seen.fault != "batch_mixed":
        return [line]
    return [{"custom_id": "another-2", "result": {"type": "expired"}}, line, {**line, "custom_id": "another-1"}]
