"""The use case: one request, one result, however often and by however many it is asked for."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from quintain.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    QuintainError,
    Unavailable,
)
from quintain.plugins.backend import Allowance, BackendReply, CallOutcome, Message, Task
from quintain.service.logs import get_logger
from quintain_generator import metrics
from quintain_generator.domain.generation import (
    FINAL_ANSWERS,
    CallRecord,
    Claim,
    Generation,
    Outcome,
    Ownership,
    RequestKey,
    spend_of,
    total_cost,
    total_usage,
)
from quintain_generator.domain.habits import MEASURED_REQUESTS, Habits, habits_of
from quintain_generator.domain.judge import Judgement, judge
from quintain_generator.ports import GenerationStore
from quintain_generator.prompt.builder import PromptTooLarge, ask_again, build_prompt
from quintain_generator.usecases.answer_keeper import AnswerKeeper
from quintain_generator.usecases.call_loop import CallLoop, CallsUsedUp, spend_metadata
from quintain_generator.usecases.endpoint import Endpoint
from quintain_generator.usecases.waiting import SILENCE_SECONDS, Deadline, Progress, StopToken, announced

log = get_logger("generations")

_UNSEEN_END = "the generator ended before it could write down what came of the call"
_CHECK_SECONDS = 3.0  # how long a store that could be written is believed to be so
_ANSWER_SECONDS = 2.0  # for a store to say so
_POLL_SECONDS = 0.2  # how often to look whether another replica has finished
_RENEW_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request for one candidate. `backend` empty: the default. `task_digest` names everything of it but its id."""

    request_id: str
    backend: str
    task: Task
    allowance: Allowance
    task_digest: str


@dataclass(frozen=True, slots=True)
class Finished:
    """`recorded`: it was in the record already and nobody was called."""

    generation: Generation
    recorded: bool


class _Run:
    """A request that is being worked on, and those who wait for it."""

    def __init__(self, command: GenerationRequest, deadline: Deadline) -> None:
        self.command = command
        self.deadline = deadline
        self.listeners: set[asyncio.Queue[Progress | None]] = set()
        self.stop = StopToken()
        self.cancelled = False
        self.task: asyncio.Task[Finished]

    def publish(self, progress: Progress) -> None:
        for queue in self.listeners:
            queue.put_nowait(progress)


class Generations:
    """Lives on one event loop."""

    def __init__(
        self,
        store: GenerationStore,
        endpoints: Mapping[str, Endpoint],
        default: str,
        *,
        max_policy_bytes: int,
        prompt_tokens: int,
        max_seconds: float,
        abandoned_call_seconds: float,
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self.default = default
        self._max_policy_bytes = max_policy_bytes
        self.prompt_tokens = prompt_tokens
        self._max_seconds = max_seconds
        self._abandoned_call_seconds = abandoned_call_seconds
        self._keeper = AnswerKeeper()
        self._runs: dict[str, _Run] = {}
        self._checking: asyncio.Task[str] | None = None
        self._checked_at = -math.inf
        self._store_problem = ""
        self._draining = False
        self._background: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------------ life cycle

    async def start(self) -> None:
        """Open the store and report the calls that a crash cut off."""
        await self._store.open()
        await self._report_abandoned()
        self._in_background(self._keep_alive())

    async def drain(self) -> None:
        """Take nothing new, begin no further call, and wait for the calls in flight to be recorded."""
        self._draining = True
        for run in self._runs.values():
            run.stop.set("the generator is stopping")
        while self._runs:
            runs = [run.task for run in self._runs.values()]
            if not (await asyncio.wait(runs, timeout=SILENCE_SECONDS))[0]:
                log.info("draining", requests=len(runs), answers_waiting_for_the_store=self._keeper.waiting)

    async def close(self) -> None:
        """Cut off what drain did not wait for; it is recorded as unknown."""
        self._keeper.close()
        for task in [*(run.task for run in self._runs.values()), *self._background]:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):  # every run has told its callers already
                await task
        try:
            await self._store.close()
        except Unavailable as error:  # the lease runs out by itself
            log.warning("the store could not be closed", reason=error.message)

    async def ready(self) -> bool:
        """Whether a request would be served: a write succeeds, and a backend can be used."""
        return (
            not self._draining
            and any(not e.backend.unavailable_reason for e in self._endpoints.values())
            and not await self._find_store_problem()
        )

    async def _find_store_problem(self) -> str:
        clock = asyncio.get_running_loop().time
        if not self._store_problem and clock() - self._checked_at < _CHECK_SECONDS:
            return ""
        if self._checking is None:
            self._checking = asyncio.create_task(self._store.check())
        done, _ = await asyncio.wait([self._checking], timeout=_ANSWER_SECONDS)
        found = "it does not answer"
        if done:
            found, self._checking, self._checked_at = self._checking.result(), None, clock()
        if found and not self._store_problem:
            log.error("not ready: the store cannot be written", reason=found)
        elif self._store_problem and not found:
            log.info("the store can be written again")
        self._store_problem = found
        return found

    # ------------------------------------------------------------------------------------------- use cases

    async def generate(self, command: GenerationRequest, seconds: float | None) -> AsyncIterator[Progress | Finished]:
        """Progress, then the result. `seconds` is the caller's time left. Raises QuintainError.

        A caller that goes away does not end the call in flight at once: it has `abandoned_call_seconds` to finish and
        be recorded, and no further call is made.
        """
        try:
            run = await self._join(command, seconds)
        except QuintainError as error:
            await self._add_spend(error, command.request_id)
            raise
        queue: asyncio.Queue[Progress | None] = asyncio.Queue()
        run.listeners.add(queue)
        run.task.add_done_callback(lambda _task: queue.put_nowait(None))
        try:
            while (progress := await queue.get()) is not None:
                yield progress
            yield run.task.result() if not run.task.cancelled() else self._cut_off()
        except QuintainError as error:
            await self._add_spend(error, command.request_id)
            raise
        finally:
            run.listeners.discard(queue)
            if not run.listeners and not run.task.done():
                self._in_background(self._end_abandoned(run))

    async def find(self, request_id: str) -> Generation:
        """The recorded result. Raises NotFound, or FailedPrecondition while there is none yet."""
        found = await self._store.find(request_id)
        if found is None:
            raise NotFound(f"request id {request_id!r} was never seen")
        if found[1] is None:
            spent = spend_metadata(await self._store.spend(request_id))
            raise FailedPrecondition(
                f"request {request_id!r} has no result yet", reason="NO_RESULT_YET", metadata=spent
            )
        return found[1]

    async def habits(self, endpoint: Endpoint) -> Habits:
        """What requests of a backend usually need; nothing is known while the store is away."""
        try:
            found = await self._store.measured(endpoint.name, endpoint.backend.model, MEASURED_REQUESTS)
        except Unavailable as error:
            log.warning("no habits", backend=endpoint.name, reason=error.message)
            return Habits()
        return habits_of(found)

    async def _add_spend(self, error: QuintainError, request_id: str) -> None:
        """Say in an error what its request has cost so far, if that is known."""
        if "calls" in error.metadata:
            return
        with suppress(Unavailable):
            spend = await self._store.spend(request_id)
            if spend.calls:
                error.metadata |= spend_metadata(spend)

    async def _join(self, command: GenerationRequest, seconds: float | None) -> _Run:
        """The run of this request: the one at work, or a new one."""
        while (ending := self._runs.get(command.request_id)) is not None and ending.cancelled:
            left = min(seconds or self._max_seconds, self._max_seconds)
            if not (await asyncio.wait([ending.task], timeout=left))[0]:
                raise Unavailable(
                    f"what came of the last call of request {command.request_id!r} still waits for the store",
                    reason="STORE_DOWN",
                    retry_after_seconds=5.0,
                )
        at = asyncio.get_running_loop().time() + min(seconds or self._max_seconds, self._max_seconds)
        run = self._runs.get(command.request_id)
        if run is not None:
            if run.command.task_digest != command.task_digest:
                raise AlreadyExists(f"request id {command.request_id!r} is in use for another task or backend")
            run.deadline.extend(at)
            if not self._draining:
                run.stop.clear()
            return run
        if self._draining:
            raise Unavailable("the generator is stopping", reason="DRAINING", retry_after_seconds=1.0)
        run = _Run(command, Deadline(at))
        run.task = asyncio.create_task(self._finish(run))
        self._runs[command.request_id] = run
        run.task.add_done_callback(self._forget(command.request_id))
        return run

    def _forget(self, request_id: str) -> Callable[[asyncio.Task[Finished]], None]:
        def done(task: asyncio.Task[Finished]) -> None:
            self._runs.pop(request_id, None)
            if (
                not task.cancelled()
                and task.exception() is not None
                and not isinstance(task.exception(), QuintainError)
            ):
                log.error("generation crashed", request_id=request_id, exc_info=task.exception())

        return done

    @staticmethod
    def _cut_off() -> Finished:
        raise Unavailable("the generator is stopping", reason="DRAINING", retry_after_seconds=1.0)

    async def _end_abandoned(self, run: _Run) -> None:
        run.stop.set("its caller is gone")
        await asyncio.wait([run.task], timeout=self._abandoned_call_seconds)
        if not run.listeners and not run.task.done():
            run.cancelled = True  # takes effect when what came of its call is written down
            run.task.cancel()

    # ----------------------------------------------------------------------------------------- one request

    async def _finish(self, run: _Run) -> Finished:
        command = run.command
        name = command.backend or self.default
        if await self._store.find(command.request_id) is None:
            self._check(self._endpoint(name), command.task)  # what is refused does not use up its id
        model = self._endpoints[name].backend.model if name in self._endpoints else ""
        claim = await self._begin(run, RequestKey(command.request_id, command.task_digest, name, model))
        if claim.result is not None:
            metrics.RECORDED.inc()
            return Finished(claim.result, recorded=True)
        try:
            return Finished(await self._work(run, claim), recorded=False)
        except BaseException:
            try:
                await self._store.release(command.request_id)
            except Unavailable as error:  # then it stays this process's until somebody asks again
                log.warning("a request was not released", request_id=command.request_id, reason=error.message)
            raise

    async def _begin(self, run: _Run, request: RequestKey) -> Claim:
        """Write the request down, after waiting for another replica that may be at it."""

        def tell(note: str) -> None:
            run.publish(Progress("queued", note=note))

        words = "another replica is working on this request"
        told = False
        async with announced(tell, lambda: words, request_id=request.request_id):
            while True:
                claim = await self._store.begin(request)
                if claim.ownership is not Ownership.OWNED_BY_OTHER:
                    return claim
                if run.deadline.left() <= _POLL_SECONDS:
                    raise DeadlineExceeded(f"another replica is still working on request {request.request_id!r}")
                if not told:
                    tell(words)
                    told = True
                await asyncio.sleep(_POLL_SECONDS)

    async def _work(self, run: _Run, claim: Claim) -> Generation:
        command, request = run.command, claim.request
        endpoint = self._endpoint(request.backend)
        calls = claim.calls
        if any(call.reply is None for call in calls):
            calls = await self._close_open_calls(request, endpoint, calls)
        if any(call.outcome is CallOutcome.UNKNOWN for call in calls):
            detail = next(c.reply.detail for c in calls if c.reply is not None and c.outcome is CallOutcome.UNKNOWN)
            unknown = Judgement(Outcome.UNKNOWN, detail=detail)
            return await self._record(endpoint, request, calls, calls[-1].prompt, unknown)
        recorded = [call.reply for call in calls if call.reply is not None and call.outcome in FINAL_ANSWERS]
        if not recorded:
            self._check(endpoint, command.task)
        prompt = self._prompt(command.task) if endpoint.backend.capabilities.prompt else ()
        calling = CallLoop(
            endpoint, self._store, self._keeper, command.request_id, command.task, command.allowance, run.deadline,
            run.stop, run.publish, calls,
        )  # fmt: skip
        try:
            judgement, reply, prompt = await self._converse(calling, recorded, prompt, command.task)
        except CallsUsedUp as end:
            unknown = Judgement(Outcome.UNKNOWN, detail=str(end))
            return await self._record(endpoint, request, tuple(calling.calls), prompt, unknown)
        except asyncio.CancelledError:
            if calling.calls and calling.calls[-1].outcome is CallOutcome.UNKNOWN:
                made = tuple(calling.calls)
                await self._record(endpoint, request, made, prompt, Judgement(Outcome.UNKNOWN, detail="cancelled"))
            raise
        run.publish(Progress("extracting", len(calling.calls), spend=spend_of(calling.calls)))
        return await self._record(endpoint, request, tuple(calling.calls), prompt, judgement, reply)

    async def _converse(
        self, calling: CallLoop, recorded: list[BackendReply], prompt: tuple[Message, ...], task: Task
    ) -> tuple[Judgement, BackendReply, tuple[Message, ...]]:
        """Ask; and ask once more, with the reason, if a diff did not apply."""
        reply = recorded[0] if recorded else await calling.ask(prompt)
        judgement = await asyncio.to_thread(judge, task, reply, self._max_policy_bytes)
        if judgement.outcome is not Outcome.DIFF_FAILED or not prompt:
            return judgement, reply, prompt
        longer = ask_again(prompt, reply.text, judgement.detail, self.prompt_tokens)
        try:
            second = recorded[1] if len(recorded) > 1 else await calling.ask(longer)
        except (QuintainError, CallsUsedUp) as error:  # the first answer is paid for and is the result
            log.info("no second try for a diff", reason=str(error))
            return judgement, reply, prompt
        return await asyncio.to_thread(judge, task, second, self._max_policy_bytes), second, longer

    def _prompt(self, task: Task) -> tuple[Message, ...]:
        try:
            return build_prompt(task, self.prompt_tokens)
        except PromptTooLarge as error:
            raise FailedPrecondition(str(error), reason="PROMPT_TOO_LARGE") from None

    def _endpoint(self, name: str) -> Endpoint:
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise NotFound(f"no backend {name!r}; configured are {', '.join(sorted(self._endpoints))}")
        return endpoint

    @staticmethod
    def _check(endpoint: Endpoint, task: Task) -> None:
        reason = endpoint.backend.unavailable_reason
        if reason:
            raise FailedPrecondition(f"backend {endpoint.name!r}: {reason}", reason="BACKEND_NOT_CONFIGURED")
        known = endpoint.backend.capabilities.operators
        if task.operator not in known:
            names = ", ".join(sorted(o.value for o in known))
            raise InvalidArgument.of("task.operator", f"backend {endpoint.name!r} knows {names}")

    # ------------------------------------------------------------------------------------------- recording

    async def _close_open_calls(
        self, request: RequestKey, endpoint: Endpoint, calls: tuple[CallRecord, ...]
    ) -> tuple[CallRecord, ...]:
        """Settle the calls that a crash cut off: at risk, or (where repeating costs nothing) as a lost connection."""
        settled: list[CallRecord] = []
        for call in calls:
            if call.reply is None:
                again = endpoint.backend.capabilities.repeatable
                outcome = CallOutcome.CONNECTION if again else CallOutcome.UNKNOWN
                reply = BackendReply(outcome, detail=_UNSEEN_END)
                charged, at_risk = endpoint.settle(reply, call.reserved_usd, settled)
                call = replace(call, reply=reply, charged_usd=charged, at_risk_usd=at_risk)
                await self._store.settle(request.request_id, call)
                metrics.count_call(endpoint.name, call)
            settled.append(call)
        return tuple(settled)

    async def _record(
        self,
        endpoint: Endpoint,
        request: RequestKey,
        calls: tuple[CallRecord, ...],
        prompt: tuple[Message, ...],
        judgement: Judgement,
        reply: BackendReply | None = None,
    ) -> Generation:
        generation = Generation(
            request_id=request.request_id,
            backend=endpoint.name,
            model=(reply.model if reply else "") or endpoint.backend.model,
            outcome=judgement.outcome,
            source=judgement.source,
            rationale=judgement.rationale,
            response_text=reply.text if reply else "",
            prompt=prompt,
            usage=total_usage(calls),
            cost=total_cost(calls, endpoint.price_source),
            calls=calls,
            detail=judgement.detail,
            ast_digest=judgement.ast_digest,
            hints=judgement.hints,
            finished_at=time.time(),
        )
        await self._keeper.keep(
            lambda: self._store.finish(generation), "the result", lambda _note: None, request.request_id
        )
        metrics.GENERATIONS.labels(endpoint.name, generation.outcome.value).inc()
        return generation

    # ------------------------------------------------------------------------------------------ background

    async def _report_abandoned(self) -> None:
        """Give the requests that a dead owner left in the middle of a paid call their result: unknown."""
        for request in await self._store.abandoned():
            endpoint = self._endpoints.get(request.backend)
            if endpoint is None or endpoint.backend.capabilities.repeatable or request.request_id in self._runs:
                continue
            claim = await self._store.begin(request)
            if claim.ownership is not Ownership.OWNED:
                continue
            if all(call.reply is not None for call in claim.calls):  # its owner was only slow
                await self._store.release(request.request_id)
                continue
            calls = await self._close_open_calls(request, endpoint, claim.calls)
            judgement = Judgement(Outcome.UNKNOWN, detail=_UNSEEN_END)
            await self._record(endpoint, request, calls, calls[-1].prompt, judgement)
            log.warning("a call was cut off by a crash", request_id=request.request_id, backend=endpoint.name)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await self._store.renew()
                await self._report_abandoned()
            except Exception as error:  # noqa: BLE001 - a database that is away now may be back at the next turn
                log.warning("the lease was not renewed", reason=str(error) or type(error).__name__)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
