"""Calls that are handed in to a provider's batch interface, and asked for their answers later.

Each call has a batch of its own: the price is the same, and who cancels one search ends no call of another. The intent
is written down before the call is handed in, and its batch as soon as the provider names one. A call whose handing-in
was not answered is looked for at the provider before another is made. So whoever was killed goes on with the batch that
there is, and nothing is handed in twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import TypeVar

from quintain.errors import FailedPrecondition
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
from quintain.service.logs import get_logger
from quintain_generator import metrics
from quintain_generator.domain.conversation import Question
from quintain_generator.domain.generation import Batched, CallRecord, Spend, call_name
from quintain_generator.ports import GenerationStore
from quintain_generator.usecases.call_loop import DOWN, CallLoop, call_error
from quintain_generator.usecases.endpoint import BackendEndpoint
from quintain_generator.usecases.waiting import Deadline

log = get_logger("batches")

T = TypeVar("T")

# After these the provider may have made the batch all the same.
_LEFT_OPEN = DOWN | {CallOutcome.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Waiting:
    """The answer is made in a batch: the caller is to ask again after `after_seconds`. `batch_id` is the provider's,
    empty while it is not known; `spend` what the request has cost so far."""

    after_seconds: float
    batch_id: str
    spend: Spend


class AnswerLater(Exception):
    """The answer is not there yet."""

    def __init__(self, seconds: float, batch_id: str) -> None:
        super().__init__(f"batch {batch_id or 'not known yet'}: again in {seconds:.1f} s")
        self.seconds = seconds
        self.batch_id = batch_id


class HandedIn:
    """The last of a request's calls, while it waits for its batch; what can be asked about it."""

    def __init__(
        self,
        endpoint: BackendEndpoint,
        store: GenerationStore,
        request_id: str,
        calls: list[CallRecord],
        deadline: Deadline,
        *,
        tools: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._batches = batches_of(endpoint, calls[-1])
        self._store = store
        self._request_id = request_id
        self._calls = calls
        self._deadline = deadline
        self._tools = tools

    @property
    def batch_id(self) -> str:
        """Empty while it is not known."""
        return self._batched.batch_id

    @property
    def _batched(self) -> Batched:
        batched = self._calls[-1].batched
        assert batched is not None, "only a call that was handed in is followed"
        return batched

    @property
    def _named(self) -> BatchCall:
        return BatchCall(
            name=call_name(self._request_id, self._calls[-1].attempt),
            sent_at=self._batched.sent_at,
            timeout_seconds=min(self._endpoint.settings.call_timeout_seconds, self._deadline.left()),
            tools=self._tools,
        )

    async def submit(self, call: BackendCall) -> BackendReply:
        """Hand it in. The reply of a call that was refused; raises AnswerLater for one that is in a batch, or may
        be."""
        given = await self._asked(self._batches.submit(self._named, call))
        if isinstance(given, str):
            await self._is_in(given)
            raise AnswerLater(self._batches.poll_seconds, given)
        reply = self._endpoint.clean_reply(given.reply if isinstance(given, Unreached) else given)
        if reply.sent and reply.outcome in _LEFT_OPEN:
            log.info("not known whether there is a batch", request_id=self._request_id, reason=reply.detail)
            raise AnswerLater(self._batches.poll_seconds, "")
        return reply

    async def reply(self) -> BackendReply:
        """What came of it. Raises AnswerLater while that is not known, and QuintainError while the provider does not
        say."""
        if not self.batch_id and (nowhere := await self._find()) is not None:
            return nowhere
        came = await self._asked(self._batches.collect(self._named, self.batch_id))
        if isinstance(came, Unreached):
            raise self._error(came.reply)
        if came is None:
            raise AnswerLater(self._batches.poll_seconds, self.batch_id)
        return replace(self._endpoint.clean_reply(came), provider_request_id=self.batch_id)

    async def cancel(self) -> None:
        """Have its batch stopped. Raises QuintainError if the provider does not take that."""
        refused = await self._asked(self._batches.cancel(self._named, self.batch_id))
        if refused is not None:
            raise self._error(refused.reply)

    async def _find(self) -> BackendReply | None:
        """Look for its batch. The reply of a call that never came to be in one."""
        sent_at, soon = self._batched.sent_at, self._batches.poll_seconds
        others = await self._store.batches_since(self._endpoint.name, sent_at - CLOCK_SKEW_SECONDS)
        found = await self._asked(self._batches.find(self._named, others))
        if isinstance(found, Unreached):
            raise self._error(found.reply)
        if isinstance(found, str):
            await self._is_in(found)
            return None
        if found is BatchLookup.UNDECIDED:
            raise AnswerLater(soon, "")
        age = time.time() - sent_at
        if age < soon:  # it may be on its way
            raise AnswerLater(soon - age, "")
        return BackendReply(CallOutcome.CONNECTION, detail="the provider made no batch of the call", sent=False)

    async def _is_in(self, batch_id: str) -> None:
        self._calls[-1] = replace(self._calls[-1], batched=replace(self._batched, batch_id=batch_id))
        log.info("in a batch", request_id=self._request_id, batch_id=batch_id, backend=self._endpoint.name)
        await self._store.submitted(self._request_id, self._calls[-1].attempt, batch_id)

    async def _asked(self, question: Awaitable[T]) -> T | Unreached:
        """One question to the provider, within the time of a call."""
        probe, success = self._endpoint.breaker.begin_call(), None
        limit = self._endpoint.settings.call_timeout_seconds
        try:
            answer: T | Unreached = await self._deadline.bound(asyncio.wait_for(question, limit))
            trouble = answer.reply if isinstance(answer, Unreached) else None
            success = trouble is None or trouble.outcome not in DOWN
        except TimeoutError:
            return Unreached(BackendReply(CallOutcome.TIMEOUT, detail="no answer in time about a batch"))
        except Exception as error:  # noqa: BLE001 - the boundary to a plugin
            detail = self._endpoint.clean(f"the backend raised {type(error).__name__}: {error}")[:2000]
            log.error("backend crashed", backend=self._endpoint.name, error=detail)
            return Unreached(BackendReply(CallOutcome.UNKNOWN, detail=detail))
        finally:
            self._endpoint.breaker.end_call(probe, success)
            metrics.BREAKER_OPEN.labels(self._endpoint.name).set(self._endpoint.breaker.is_open)
        return answer

    def _error(self, reply: BackendReply) -> Exception:
        wait = reply.retry_after_seconds
        return call_error(self._endpoint, reply, self._calls, self._batches.poll_seconds if wait is None else wait)


class BatchLoop(CallLoop):
    """The loop of a backend that works in batches. `ask` raises AnswerLater as well, while the answer is not there."""

    async def _admitted_call(self, question: Question) -> BackendReply:
        await self._take_place()
        try:
            self._check_open()
            if self.calls and self.calls[-1].waits:
                reply = await self._handed_in(question).reply()
            else:
                reply = await self._hand_in(question)
        finally:
            self._endpoint.places.release()
        record = self.calls.pop()
        seconds = 0.0 if record.batched is None else max(0.0, time.time() - record.batched.sent_at)
        await self._write_down(replace(record, reply=reply, seconds=seconds))
        return reply

    async def _hand_in(self, question: Question) -> BackendReply:
        record = self._next_record(question, Batched(time.time()))
        await self._store.intend(
            self._request_id, record.attempt, record.prompt, record.reserved_usd, record.told, batched=True
        )
        self.calls.append(record)
        self._tell("calling", "handed in for a batch", attempt=record.attempt)
        return await self._handed_in(question).submit(self._backend_call(question, record.attempt))

    def _handed_in(self, question: Question) -> HandedIn:
        return HandedIn(
            self._endpoint, self._store, self._request_id, self.calls, self._deadline, tools=bool(question.tools)
        )

    def _failures_before(self) -> int:
        """A call in a batch fails hours after it was handed in, when the request is asked for again."""
        failed = 0
        for call in self.calls:
            if not call.waits:
                failed = 0 if call.ended_well else failed + 1
        return failed


def batches_of(endpoint: BackendEndpoint, call: CallRecord) -> Batches:
    """Raises FailedPrecondition if the backend's batches were turned off while a call is in one."""
    if endpoint.backend.batches is None:
        batch = call.batched.batch_id if call.batched is not None else ""
        raise FailedPrecondition(
            f"backend {endpoint.name!r}: a call waits for batch {batch or '(not known yet)'}, and the backend does not "
            "work in batches any more; set batch = true in its options until the call is answered",
            reason="BACKEND_NOT_CONFIGURED",
        )
    return endpoint.backend.batches
