"""OpenAI's Batch API: a file with the request, a batch of it, a file with what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Literal

import httpx2
from openai import AsyncOpenAI, omit

from quintain.plugins.backend import (
    CLOCK_SKEW_SECONDS,
    BackendCall,
    BackendReply,
    BatchCall,
    Batches,
    BatchLookup,
    CallOutcome,
    Unreached,
)
from quintain_generator.backends.answer import Answer, field_of, whole_reply, word_of
from quintain_generator.backends.batch_body import MAX_PAGES, Asker, cancelled, expired, line_of
from quintain_generator.backends.failures import complained, malformed, refused
from quintain_generator.backends.openai_client import FAILURES, failed
from quintain_generator.backends.provider_words import complaint_in
from quintain_generator.backends.wire import timeouts

_ENDPOINT: Literal["/v1/responses"] = "/v1/responses"
_NAME = "quintain_call"  # of a batch's metadata
_FILE_SECONDS = 7 * 86400  # that the provider keeps a request and its answer
_AT_WORK = ("validating", "in_progress", "finalizing", "cancelling")
_ENDS: dict[str, Callable[[], BackendReply]] = {
    "expired": expired,
    "cancelled": cancelled,
    "completed": lambda: malformed("the batch is complete, and nothing in it says what came of the call"),
}
_ERRORS = {"batch_expired": expired, "batch_cancelled": cancelled}
_LINE_ERRORS = 5  # of a batch that did not begin; more say the same


class OpenAIBatches(Batches):
    """`request` makes the body of a call, `answer` what reads its answer (from the most output tokens that it may
    have)."""

    def __init__(
        self,
        client: AsyncOpenAI,
        request: Callable[[BackendCall], dict[str, Any]],
        answer: Callable[[int], Answer],
        address: str,
        poll_seconds: float,
    ) -> None:
        self.poll_seconds = poll_seconds
        self._files, self._batches = client.files.with_raw_response, client.batches.with_raw_response
        self._request = request
        self._answer = answer
        self._address = address
        self._asker = Asker(FAILURES, lambda error: failed(error, address))

    async def submit(self, batched: BatchCall, call: BackendCall) -> str | BackendReply:
        timeout = timeouts(batched.timeout_seconds)
        line = {"custom_id": batched.name, "method": "POST", "url": _ENDPOINT, "body": self._request(call)}
        file = await self._asker.document(
            self._files.create(
                file=(f"{batched.name}.jsonl", json.dumps(line).encode()),
                purpose="batch",
                expires_after={"anchor": "created_at", "seconds": _FILE_SECONDS},
                timeout=timeout,
            )
        )
        if isinstance(file, Unreached):
            return _uncharged(file.reply)
        if not (file_id := word_of(file, "id")):
            return _uncharged(malformed("the uploaded file has no id"))
        batch = await self._asker.document(
            self._batches.create(
                input_file_id=file_id,
                endpoint=_ENDPOINT,
                completion_window="24h",
                metadata={_NAME: batched.name},
                output_expires_after={"anchor": "created_at", "seconds": _FILE_SECONDS},
                timeout=timeout,
            )
        )
        if isinstance(batch, Unreached):
            return batch.reply
        return word_of(batch, "id") or malformed("the batch has no id")

    async def find(self, batched: BatchCall, others: Collection[str]) -> str | BatchLookup | Unreached:
        after = ""
        for _ in range(MAX_PAGES):
            listed = self._batches.list(limit=100, after=after or omit, timeout=timeouts(batched.timeout_seconds))
            page = await self._asker.document(listed)
            if isinstance(page, Unreached):
                return page
            batches = [b for b in page.get("data") or () if isinstance(b, dict)]
            for batch in batches:
                if word_of(batch, "metadata", _NAME) == batched.name and word_of(batch, "id"):
                    return word_of(batch, "id")
            created = field_of(batches[-1], "created_at") if batches else None
            earlier = isinstance(created, int | float) and created < batched.sent_at - CLOCK_SKEW_SECONDS
            if not batches or earlier or not page.get("has_more"):
                return BatchLookup.NOT_THERE
            after = word_of(batches[-1], "id")
        return BatchLookup.UNDECIDED

    async def collect(self, batched: BatchCall, batch_id: str) -> BackendReply | Unreached | None:
        timeout = timeouts(batched.timeout_seconds)
        batch = await self._asker.document(self._batches.retrieve(batch_id, timeout=timeout))
        if isinstance(batch, Unreached):
            return batch
        status = word_of(batch, "status")
        if status in _AT_WORK:
            return None
        if status == "failed":
            return _not_begun(batch)
        for kind in ("output_file_id", "error_file_id"):
            if file_id := word_of(batch, kind):
                body = await self._asker.text(self._files.content(file_id, timeout=timeout))
                if isinstance(body, Unreached):
                    return body
                if (line := line_of(body, batched.name)) is not None:
                    return self._reply(line, tools=batched.tools)
        end = _ENDS.get(status)
        return (
            end() if end is not None else Unreached(malformed(f"batch {batch_id} is in an unknown status {status!r}"))
        )

    async def cancel(self, batched: BatchCall, batch_id: str) -> Unreached | None:
        told = await self._asker.document(self._batches.cancel(batch_id, timeout=timeouts(batched.timeout_seconds)))
        return told if isinstance(told, Unreached) else None

    def _reply(self, line: dict[str, Any], *, tools: bool) -> BackendReply:
        response, code = line.get("response"), word_of(line, "error", "code")
        status = field_of(response, "status_code")
        if isinstance(status, int) and status != 200:
            return refused(httpx2.Response(status, json=field_of(response, "body")), "", self._address)
        if isinstance(response, dict):
            return whole_reply(response.get("body"), self._answer(sys.maxsize), self._address, tools=tools)
        if code in _ERRORS:
            return _ERRORS[code]()
        return complained(complaint_in(line.get("error") or "the call failed without a reason"))


def _uncharged(reply: BackendReply) -> BackendReply:
    """An upload costs nothing, whatever came of it."""
    return replace(reply, sent=False)


def _not_begun(batch: dict[str, Any]) -> BackendReply:
    """Nothing of it was done, or charged: the file is wrong, or too much waits already."""
    errors = field_of(batch, "errors", "data")
    said = complaint_in(errors[:_LINE_ERRORS] if isinstance(errors, list) else "the batch failed without a reason")
    if "token_limit_exceeded" in said.names:  # of all batches that wait
        return BackendReply(CallOutcome.RATE_LIMITED, detail=said.words)
    return BackendReply(CallOutcome.BAD_REQUEST, detail=said.words, sent=False)
