"""Anthropic's Message Batches. A batch carries no name of ours: whose it is, only its results say."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx2
from anthropic import AsyncAnthropic, omit

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
from quintain_generator.backends.failures import complained, malformed
from quintain_generator.backends.provider_words import complaint_in
from quintain_generator.backends.wire import timeouts


class AnthropicBatches(Batches):
    """`request` makes the body of a call, `answer` what reads its answer (from the most output tokens that it may
    have); `asker` asks through the SDK."""

    def __init__(
        self,
        client: AsyncAnthropic,
        request: Callable[[BackendCall], dict[str, Any]],
        answer: Callable[[int], Answer],
        asker: Asker,
        address: str,
        poll_seconds: float,
    ) -> None:
        self.poll_seconds = poll_seconds
        self._client, self._batches = client, client.messages.batches.with_raw_response
        self._request = request
        self._answer = answer
        self._asker = asker
        self._address = address

    async def submit(self, batched: BatchCall, call: BackendCall) -> str | BackendReply:
        wanted: Any = {"custom_id": batched.name, "params": self._request(call)}
        made = self._batches.create(requests=[wanted], timeout=timeouts(batched.timeout_seconds))
        batch = await self._asker.document(made)
        if isinstance(batch, Unreached):
            return batch.reply
        return word_of(batch, "id") or malformed("the batch has no id")

    async def find(self, batched: BatchCall, others: Collection[str]) -> str | BatchLookup | Unreached:
        """Among the batches of that time that are nobody's: one that has ended says whose it is."""
        timeout, after, at_work = timeouts(batched.timeout_seconds), "", False
        for _ in range(MAX_PAGES):
            page = await self._asker.document(self._batches.list(limit=100, after_id=after or omit, timeout=timeout))
            if isinstance(page, Unreached):
                return page
            batches = [b for b in page.get("data") or () if isinstance(b, dict)]
            for batch in batches:
                batch_id = word_of(batch, "id")
                if batch_id in others or _requests(batch) != 1 or _is_earlier(batch, batched):
                    continue
                if word_of(batch, "processing_status") != "ended":
                    at_work = True
                elif not batch.get("archived_at"):
                    body = await self._results(batched, batch_id)
                    if isinstance(body, Unreached):
                        return body
                    if line_of(body, batched.name) is not None:
                        return batch_id
            if not batches or _is_earlier(batches[-1], batched) or not page.get("has_more"):
                return BatchLookup.UNDECIDED if at_work else BatchLookup.NOT_THERE
            after = word_of(batches[-1], "id")
        return BatchLookup.UNDECIDED

    async def collect(self, batched: BatchCall, batch_id: str) -> BackendReply | Unreached | None:
        retrieved = self._batches.retrieve(batch_id, timeout=timeouts(batched.timeout_seconds))
        batch = await self._asker.document(retrieved)
        if isinstance(batch, Unreached):
            return batch
        if word_of(batch, "processing_status") in ("in_progress", "canceling"):
            return None
        if batch.get("archived_at"):
            return BackendReply(CallOutcome.UNKNOWN, detail="the provider does not keep the batch's results any more")
        body = await self._results(batched, batch_id)
        if isinstance(body, Unreached):
            return body
        line = line_of(body, batched.name)
        return self._reply(field_of(line, "result"), tools=batched.tools)

    async def cancel(self, batched: BatchCall, batch_id: str) -> Unreached | None:
        told = await self._asker.document(self._batches.cancel(batch_id, timeout=timeouts(batched.timeout_seconds)))
        return told if isinstance(told, Unreached) else None

    async def _results(self, batched: BatchCall, batch_id: str) -> str | Unreached:
        """By the documented path: the key goes to no address that an answer names."""
        path = f"/v1/messages/batches/{quote(batch_id, safe='')}/results"
        options: Any = {"timeout": timeouts(batched.timeout_seconds)}
        return await self._asker.text(self._client.get(path, cast_to=httpx2.Response, options=options))

    def _reply(self, result: object, *, tools: bool) -> BackendReply:
        match word_of(result, "type"):
            case "succeeded":
                return whole_reply(field_of(result, "message"), self._answer(sys.maxsize), self._address, tools=tools)
            case "errored":
                return complained(complaint_in(field_of(result, "error")))
            case "canceled":
                return cancelled()
            case "expired":
                return expired()
        return malformed("the batch has ended, and nothing in it says what came of the call")


def _requests(batch: dict[str, Any]) -> int:
    counts = batch.get("request_counts")
    return sum(n for n in counts.values() if isinstance(n, int)) if isinstance(counts, dict) else 0


def _is_earlier(batch: dict[str, Any], batched: BatchCall) -> bool:
    """Whether a batch was made before the call can have been handed in."""
    try:
        created = datetime.fromisoformat(word_of(batch, "created_at").replace("Z", "+00:00")).timestamp()
    except ValueError:
        return False
    return created < batched.sent_at - CLOCK_SKEW_SECONDS
