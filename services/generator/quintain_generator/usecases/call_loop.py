"""The one loop of calls behind a request: retries, deadline, rates, the breaker and the ledger's entries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from quintain.backoff import Backoff
from quintain.errors import DeadlineExceeded, FailedPrecondition, QuintainError, ResourceExhausted, Unavailable
from quintain.plugins.backend import Allowance, BackendCall, BackendReply, CallOutcome, Task
from quintain.service.logs import get_logger
from quintain_generator import metrics
from quintain_generator.domain.conversation import Question
from quintain_generator.domain.generation import (
    FINAL_ANSWERS,
    MAX_UNCERTAIN_CALLS,
    Batched,
    CallRecord,
    Spend,
    bound_reached,
    is_uncertain,
    spend_of,
)
from quintain_generator.domain.prices import estimate_prompt_tokens
from quintain_generator.ports import GenerationStore
from quintain_generator.usecases.answer_keeper import AnswerKeeper
from quintain_generator.usecases.endpoint import BackendEndpoint
from quintain_generator.usecases.rate_limits import TokenBucket
from quintain_generator.usecases.waiting import SILENCE_SECONDS, Deadline, GenerationProgress, StopToken, announced

log = get_logger("call_loop")

# Signs that the endpoint itself is in trouble. (A rate limit is an endpoint that is up.)
DOWN = {
    CallOutcome.OVERLOADED,
    CallOutcome.SERVER_ERROR,
    CallOutcome.CONNECTION,
    CallOutcome.MALFORMED,
    CallOutcome.TIMEOUT,
}
_FINAL_ERRORS = {
    CallOutcome.AUTH: "AUTHENTICATION_FAILED",
    CallOutcome.SPEND_LIMIT: "SPEND_LIMIT_REACHED",
    CallOutcome.BAD_REQUEST: "BACKEND_REFUSED_REQUEST",
}
_LEAST_SECONDS = 0.2  # another call that is sure to be cut off would only cost
_PROGRESS_CHARACTERS = 500


class CallsUsedUp(Exception):
    """The request must end without an answer; the message says why."""


class CostUsedUp(CallsUsedUp):
    """What the request may cost has no room for another call."""


class CallLoop:
    """Makes the calls of one request. `calls` has them all, those recorded before a restart included."""

    def __init__(
        self,
        endpoint: BackendEndpoint,
        store: GenerationStore,
        keeper: AnswerKeeper,
        request_id: str,
        task: Task,
        allowance: Allowance,
        deadline: Deadline,
        stop: StopToken,
        publish: Callable[[GenerationProgress], None],
        calls: tuple[CallRecord, ...],
    ) -> None:
        self._endpoint = endpoint
        self._store = store
        self._keeper = keeper
        self._request_id = request_id
        self._task = task
        self._allowance = endpoint.effective(allowance)
        self._deadline = deadline
        self._stop = stop
        self._publish = publish
        self.calls = list(calls)

    async def ask(self, question: Question) -> BackendReply:
        """Call until there is a final answer, and return it. Raises QuintainError where there is none now, CallsUsedUp
        where there will be none."""
        failures = self._failures_before()
        while True:
            self._check_bound()
            reply = await self._admitted_call(question)
            if reply.outcome in FINAL_ANSWERS:
                return reply
            self._check_bound()
            failures += 1
            wait = self._wait_before_retry(reply, failures)
            metrics.RETRIES.labels(self._endpoint.name, reply.outcome.value).inc()
            await self._pause(reply, wait)

    def _failures_before(self) -> int:
        """How many calls in a row have failed before this one, as far as they count."""
        return 0

    async def _pause(self, reply: BackendReply, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        why = f"{reply.outcome.value}: {reply.detail[:200]}"
        self._tell("retrying", f"again in {seconds:.1f} s, after {why}")
        if seconds > SILENCE_SECONDS:
            log.info("waiting", what=f"the next call in {seconds:.0f} s, after {why}", **self._about)
        async with self._announced("retrying", lambda: f"again in {max(0.0, end - clock()):.0f} s, after {why}"):
            await self._stop.pause(seconds)

    def _check_bound(self) -> None:
        """Calls that may have been charged for nothing are bounded over all the times the request is asked for."""
        if not self._endpoint.backend.capabilities.repeatable:
            reason = bound_reached(self.calls, self._endpoint.settings.max_calls)
            if reason:
                raise CallsUsedUp(reason)

    # ---------------------------------------------------------------------------------------------------------- news

    @property
    def backend(self) -> str:
        """The name of who is called."""
        return self._endpoint.name

    @property
    def _about(self) -> dict[str, object]:
        return {"backend": self._endpoint.name, "request_id": self._request_id}

    def _tell(self, stage: str, note: str = "", characters: int = 0, attempt: int = 0) -> None:
        self._publish(GenerationProgress(stage, attempt or len(self.calls), characters, note, spend_of(self.calls)))

    def _announced(self, stage: str, words: Callable[[], str]) -> AbstractAsyncContextManager[None]:
        return announced(lambda note: self._tell(stage, note), words, **self._about)

    # ---------------------------------------------------------------------------------------------------- admission

    async def _admitted_call(self, question: Question) -> BackendReply:
        """Wait for a place and tokens, then make one call."""
        tokens = estimate_prompt_tokens(question.messages) + self._allowance.max_output_tokens
        bucket, taken, earlier = self._endpoint.bucket, 0, len(self.calls)
        self._tell("queued", attempt=len(self.calls) + 1)
        await self._take_place()
        try:
            if bucket is not None:
                await self._take_tokens(bucket, tokens)
                taken = tokens
            self._check_open()
            return await self._recorded_call(question)
        finally:
            self._endpoint.places.release()
            if bucket is not None:
                bucket.give_back(taken - sum(_tokens_used(call, tokens) for call in self.calls[earlier:]))

    async def _take_place(self) -> None:
        most = self._endpoint.settings.max_concurrency
        try:
            async with self._announced("queued", lambda: f"waiting for one of {most} places (max_concurrency)"):
                await self._deadline.bound(self._endpoint.places.acquire())
        except TimeoutError:
            raise ResourceExhausted(
                f"backend {self._endpoint.name!r}: all {most} places stayed taken",
                reason="RATE_LIMITED",
                retry_after_seconds=self._endpoint.settings.retry_base_seconds,
                metadata=self._spent(),
            ) from None

    async def _take_tokens(self, bucket: TokenBucket, tokens: int) -> None:
        words = lambda: f"waiting for tokens_per_minute, {bucket.wait_seconds(tokens):.0f} s more"  # noqa: E731
        try:
            async with self._announced("queued", words):
                await self._deadline.bound(bucket.turn.acquire())
        except TimeoutError:
            raise self._no_tokens(bucket.wait_seconds(tokens)) from None
        try:
            while (wait := bucket.wait_seconds(tokens)) > 0:
                self._check_open()
                if wait > self._deadline.left():
                    raise self._no_tokens(wait)
                async with self._announced("queued", words):
                    await self._stop.pause(wait)
            bucket.take(tokens)
        finally:
            bucket.turn.release()

    def _no_tokens(self, wait: float) -> QuintainError:
        return ResourceExhausted(
            f"backend {self._endpoint.name!r}: its tokens per minute are used up for longer than the deadline",
            reason="RATE_LIMITED",
            retry_after_seconds=wait,
            metadata=self._spent(),
        )

    def _check_open(self) -> None:
        if self._stop.reason:
            message = f"no further call is made: {self._stop.reason}"
            raise Unavailable(message, reason="NO_MORE_CALLS", retry_after_seconds=1.0, metadata=self._spent())
        wait = self._endpoint.breaker.wait_seconds()
        if wait > 0:
            raise Unavailable(
                f"backend {self._endpoint.name!r} is down; the next try is in {wait:.0f} s",
                reason="BACKEND_DOWN",
                retry_after_seconds=wait,
                metadata=self._spent(),
            )

    # -------------------------------------------------------------------------------------------------------- a call

    async def _recorded_call(self, question: Question) -> BackendReply:
        """Intent, call, outcome: each durable before the next."""
        record = self._next_record(question)
        names: list[str] = []  # the provider's, of the call
        streamed: list[int] = [0]  # characters
        call = self._backend_call(question, record.attempt, self._streaming(record.attempt, streamed), names.append)
        begin, sent = time.monotonic(), False
        probe, success = self._endpoint.breaker.begin_call(), None
        try:
            await self._store.intend(self._request_id, record.attempt, record.prompt, record.reserved_usd, record.told)
            self._tell("calling", attempt=record.attempt)
            begin, sent = time.monotonic(), True
            waiting = self._announced("calling", lambda: self._waiting_words(call, streamed, begin))
            with metrics.IN_FLIGHT.labels(self._endpoint.name).track_inprogress():
                async with waiting:
                    reply = self._named(await self._reply(call), names)
            success = self._success(call, reply)
        except asyncio.CancelledError:
            again = self._endpoint.backend.capabilities.repeatable
            outcome = CallOutcome.CONNECTION if again else CallOutcome.UNKNOWN
            cut_off = BackendReply(outcome, detail="cancelled before there was an answer", sent=sent)
            await self._write_down(replace(record, reply=self._named(cut_off, names), seconds=time.monotonic() - begin))
            raise
        finally:
            self._endpoint.breaker.end_call(probe, success)
            metrics.BREAKER_OPEN.labels(self._endpoint.name).set(self._endpoint.breaker.is_open)
        await self._write_down(replace(record, reply=reply, seconds=time.monotonic() - begin))
        return reply

    def _next_record(self, question: Question, batched: Batched | None = None) -> CallRecord:
        """The next call as it is intended. Raises if the request has no room for what it may cost."""
        reserved = self._endpoint.reserve_usd(question.messages, self._allowance)
        self._check_cost(reserved)
        prompt = () if question.turns else question.prompt
        return CallRecord(len(self.calls) + 1, prompt, reserved, told=question.told, batched=batched)

    def _backend_call(
        self,
        question: Question,
        attempt: int,
        progress: Callable[[int], None] = lambda _characters: None,
        identified: Callable[[str], None] = lambda _name: None,
    ) -> BackendCall:
        return BackendCall(
            request_id=self._request_id,
            attempt=attempt,
            task=self._task,
            messages=question.prompt,
            allowance=self._allowance,
            timeout_seconds=min(self._endpoint.settings.call_timeout_seconds, self._deadline.left()),
            progress=progress,
            identified=identified,
            tools=question.tools,
            turns=question.turns,
            max_turns=question.max_turns,
        )

    def _waiting_words(self, call: BackendCall, streamed: list[int], begin: float) -> str:
        left = call.timeout_seconds - (time.monotonic() - begin)
        what = f"{streamed[0]} characters so far" if streamed[0] else "nothing so far"
        return f"waiting for {self._endpoint.backend.model or self._endpoint.name}: {what}, at most {left:.0f} s more"

    def _named(self, reply: BackendReply, names: list[str]) -> BackendReply:
        """With the provider's id of the call, which a call that was cut off could not hand over itself."""
        if reply.provider_request_id or not names:
            return reply
        return replace(reply, provider_request_id=self._endpoint.clean(names[-1]))

    def _success(self, call: BackendCall, reply: BackendReply) -> bool | None:
        """What the reply says about the endpoint. A caller in a hurry, or a crash of the plugin, says nothing."""
        hurried = call.timeout_seconds < self._endpoint.settings.call_timeout_seconds
        if reply.outcome is CallOutcome.UNKNOWN or (reply.outcome is CallOutcome.TIMEOUT and hurried):
            return None
        return reply.outcome not in DOWN

    async def _reply(self, call: BackendCall) -> BackendReply:
        own_limit = self._endpoint.settings.call_timeout_seconds
        try:
            made = asyncio.wait_for(self._endpoint.backend.generate(call), own_limit)
            return self._endpoint.clean_reply(await self._deadline.bound(made))
        except TimeoutError:
            return BackendReply(CallOutcome.TIMEOUT, detail=f"no complete answer within {call.timeout_seconds:.1f} s")
        except Exception as error:  # noqa: BLE001 - the boundary to a plugin
            detail = self._endpoint.clean(f"the backend raised {type(error).__name__}: {error}")[:2000]
            log.error("backend crashed", backend=self._endpoint.name, error=detail)
            return BackendReply(CallOutcome.UNKNOWN, detail=detail)

    async def _write_down(self, settled: CallRecord) -> None:
        """What came of a call, with what it cost."""
        reply, attempt = settled.reply, settled.attempt
        assert reply is not None, "the call is over"
        charged, at_risk = self._endpoint.settle(reply, settled.reserved_usd, self.calls)
        record = replace(settled, charged_usd=charged, at_risk_usd=at_risk)
        self.calls.append(record)
        metrics.count_call(self._endpoint.name, record)
        log.info("call", backend=self._endpoint.name, request_id=self._request_id, attempt=attempt,
                 outcome=reply.outcome.value, provider_request_id=reply.provider_request_id,
                 seconds=round(record.seconds, 3))  # fmt: skip
        await self._keeper.keep(
            lambda: self._store.settle(self._request_id, record),
            f"what came of call {attempt}",
            lambda note: self._tell("calling", note),
            self._request_id,
        )

    def _streaming(self, attempt: int, streamed: list[int]) -> Callable[[int], None]:
        told = 0

        def progress(characters: int) -> None:
            nonlocal told
            streamed[0] = characters
            if characters - told >= _PROGRESS_CHARACTERS:
                told = characters
                self._tell("streaming", characters=characters, attempt=attempt)

        return progress

    # -------------------------------------------------------------------------------------------------------- refusals

    def has_room_for(self, calls: int, question: Question) -> bool:
        """Whether what the request may cost surely has room for so many calls like `question`."""
        limit, reserved = self._allowance.max_cost_usd, self._endpoint.reserve_usd(question.messages, self._allowance)
        if limit is None or reserved is None or self._endpoint.backend.capabilities.meters_itself:
            return True
        return sum((c.charged_usd or 0.0) + c.at_risk_usd for c in self.calls) + calls * reserved <= limit

    def _check_cost(self, reserved: float | None) -> None:
        limit = self._allowance.max_cost_usd
        if limit is None:
            return
        if reserved is None:
            raise FailedPrecondition(
                f"model {self._endpoint.backend.model!r} has no price, so max_cost_usd cannot be kept; add it to the "
                "price file or leave max_cost_usd unset",
                reason="UNPRICED_MODEL",
            )
        spent = sum((c.charged_usd or 0.0) + c.at_risk_usd for c in self.calls)
        if not self._endpoint.backend.capabilities.meters_itself and spent + reserved > limit:
            message = (
                f"the next call may cost {reserved:.6f} USD and {spent:.6f} USD are spent or at risk; "
                f"max_cost_usd is {limit:.6f}"
            )
            if spent > 0:  # and will be: nothing makes room for a further call of this request
                raise CostUsedUp(message)
            raise ResourceExhausted(message, reason="COST_LIMIT", metadata=self._spent())

    def _wait_before_retry(self, reply: BackendReply, failures: int) -> float:
        """Seconds until the next call. Raises the error to answer with if there is to be none."""
        settings = self._endpoint.settings
        backoff = Backoff(settings.retry_base_seconds, settings.retry_max_seconds)
        wait = reply.retry_after_seconds
        if wait is None:
            wait = backoff.seconds(failures) * random.uniform(0.5, 1.0)
        uncertain = sum(1 for c in self.calls if c.reply is not None and is_uncertain(c.reply))
        gives_up = (
            reply.outcome in _FINAL_ERRORS
            or failures >= settings.max_calls
            or (is_uncertain(reply) and uncertain >= MAX_UNCERTAIN_CALLS)
            or wait + _LEAST_SECONDS >= self._deadline.left()
        )
        if gives_up:
            raise call_error(self._endpoint, reply, self.calls, max(wait, self._endpoint.breaker.wait_seconds()))
        return wait

    def _spent(self) -> dict[str, str]:
        return spend_metadata(spend_of(self.calls))


def call_error(
    endpoint: BackendEndpoint, reply: BackendReply, calls: Sequence[CallRecord], retry_after: float
) -> QuintainError:
    """What a request is answered with that has no answer now, after a reply that is none. `calls` are all it made."""
    metadata = spend_metadata(spend_of(calls)) | {"call_outcome": reply.outcome.value}
    if reply.provider_request_id:
        metadata["provider_request_id"] = reply.provider_request_id
    message = f"backend {endpoint.name!r}: {reply.outcome.value} after {len(calls)} calls: {reply.detail}"
    if reply.outcome in _FINAL_ERRORS:
        return FailedPrecondition(message, reason=_FINAL_ERRORS[reply.outcome], metadata=metadata)
    if reply.outcome is CallOutcome.TIMEOUT:
        return DeadlineExceeded(message, metadata=metadata)
    if reply.outcome is CallOutcome.RATE_LIMITED:
        return ResourceExhausted(message, reason="RATE_LIMITED", metadata=metadata, retry_after_seconds=retry_after)
    rest = max(retry_after, endpoint.settings.breaker_cooldown_seconds)  # we have tried; now let it rest
    return Unavailable(message, reason="BACKEND_DOWN", metadata=metadata, retry_after_seconds=rest)


def spend_metadata(spend: Spend) -> dict[str, str]:
    """What the errors of a request without a result say about its money."""
    return {
        "calls": str(spend.calls),
        "spent_usd": f"{spend.spent_usd:.6f}",
        "at_risk_usd": f"{spend.at_risk_usd:.6f}",
    }


def _tokens_used(call: CallRecord, estimate: int) -> int:
    """Of the minute's tokens. Without a meter reading, the estimate for a call that may have been served."""
    reply = call.reply
    if reply is None or reply.usage is None:
        served = reply is not None and (is_uncertain(reply) or reply.outcome in FINAL_ANSWERS) and reply.sent
        return estimate if served else 0
    usage = reply.usage
    return usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens + usage.output_tokens
