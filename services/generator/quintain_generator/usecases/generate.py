"""The use case: one request, one result, however often and by however many it is asked for."""

from __future__ import annotations

import asyncio
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
from quintain_generator.domain.conversation import Conversation, Question
from quintain_generator.domain.generation import (
    FINAL_ANSWERS,
    MENDABLE,
    Claim,
    Generation,
    GenerationOutcome,
    Ownership,
    RequestKey,
    prompt_of,
    spend_of,
)
from quintain_generator.domain.habits import MEASURED_REQUESTS, Habits, habits_of
from quintain_generator.domain.judge import Judgement, judge
from quintain_generator.ports import GenerationStore
from quintain_generator.prompt.builder import PromptTooLarge, ask_again, build_prompt
from quintain_generator.usecases.answer_keeper import AnswerKeeper
from quintain_generator.usecases.batches import AnswerLater, BatchLoop, Waiting, batches_of
from quintain_generator.usecases.call_loop import CallLoop, CallsUsedUp, spend_metadata
from quintain_generator.usecases.cancel import end_unanswered
from quintain_generator.usecases.conversation import Conversing, ToolsWanted
from quintain_generator.usecases.endpoint import BackendEndpoint
from quintain_generator.usecases.readiness import StoreReadiness
from quintain_generator.usecases.recorder import Recorder
from quintain_generator.usecases.waiting import SILENCE_SECONDS, Deadline, GenerationProgress, StopToken, announced

log = get_logger("generations")

_POLL_SECONDS = 0.2  # how often to look whether another replica has finished
_RENEW_SECONDS = 4.0
_CANCEL_SECONDS = 30.0  # for a provider to stop a batch; what comes of it later is at risk


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request for one candidate. `backend` empty: the default. `task_digest` names everything of it but its id and
    the results of tools. `conversation`: with operator AGENT."""

    request_id: str
    backend: str
    task: Task
    allowance: Allowance
    task_digest: str
    conversation: Conversation | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a request. `recorded`: it was in the record already and nobody was called."""

    generation: Generation
    recorded: bool


_End = Finished | ToolsWanted | Waiting


class _Run:
    """A request that is being worked on, and those who wait for it."""

    def __init__(self, request: GenerationRequest, deadline: Deadline) -> None:
        self.request = request
        self.deadline = deadline
        self.listeners: set[asyncio.Queue[GenerationProgress | None]] = set()
        self.stop = StopToken()
        self.cancelled = False
        self.task: asyncio.Task[_End]

    def publish(self, progress: GenerationProgress) -> None:
        for queue in self.listeners:
            queue.put_nowait(progress)


class Generations:
    """All requests of this process, and those who wait for them; on one event loop."""

    def __init__(
        self,
        store: GenerationStore,
        endpoints: Mapping[str, BackendEndpoint],
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
        self._recorder = Recorder(store, self._keeper, endpoints)
        self._readiness = StoreReadiness(store)
        self._draining = False
        self._background: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------------ life cycle

    async def start(self) -> None:
        """Open the store and report the calls that a crash cut off."""
        await self._store.open()
        await self._recorder.report_abandoned(self._runs.keys())
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

    async def unready_reason(self) -> str:
        """Why a request would not be served now; empty: a write succeeds, and a backend can be used."""
        if self._draining:
            return "the generator is stopping"
        reasons = [f"{name}: {endpoint.backend.unavailable_reason}" for name, endpoint in self._endpoints.items()]
        if all(endpoint.backend.unavailable_reason for endpoint in self._endpoints.values()):
            return f"no backend can be used ({'; '.join(reasons)})"
        problem = await self._readiness.problem()
        return f"the store cannot be written: {problem}" if problem else ""

    # ------------------------------------------------------------------------------------------- use cases

    async def generate(
        self, request: GenerationRequest, seconds: float | None
    ) -> AsyncIterator[GenerationProgress | Finished | ToolsWanted | Waiting]:
        """Progress, then the result, or which tools or which batch it waits for. `seconds` is the caller's time left.
        Raises QuintainError.

        A caller that goes away does not end the call in flight at once: it has `abandoned_call_seconds` to finish and
        be recorded, and no further call is made.
        """
        try:
            run = await self._join(request, seconds)
        except QuintainError as error:
            await self._add_spend(error, request.request_id)
            raise
        queue: asyncio.Queue[GenerationProgress | None] = asyncio.Queue()
        run.listeners.add(queue)
        run.task.add_done_callback(lambda _task: queue.put_nowait(None))
        try:
            while (progress := await queue.get()) is not None:
                yield progress
            yield run.task.result() if not run.task.cancelled() else self._cut_off()
        except QuintainError as error:
            await self._add_spend(error, request.request_id)
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
            raise await self._no_result_yet(request_id)
        return found[1]

    async def cancel(self, request_id: str, seconds: float | None) -> Generation:
        """Give a request up that waits for a batch; its result, as the one that it may have by now. `seconds` is the
        caller's time left. Raises NotFound, and FailedPrecondition for one that is under way otherwise, or whose
        provider has not stopped the batch in time."""
        deadline = Deadline(asyncio.get_running_loop().time() + min(seconds or _CANCEL_SECONDS, _CANCEL_SECONDS))
        found = await self._store.find(request_id)
        if found is None:
            raise NotFound(f"request id {request_id!r} was never seen")
        key, result = found
        endpoint, run = self._endpoints.get(key.backend), self._runs.get(request_id)
        if result is not None:
            return result
        if endpoint is None or endpoint.backend.batches is None:
            raise await self._no_result_yet(request_id)
        if run is not None:  # it asks the provider now, which does not take long
            run.stop.set("its request is cancelled")
            await asyncio.wait([run.task], timeout=deadline.left())
        if request_id in self._runs:
            raise await self._no_result_yet(request_id)
        claim = await self._store.begin(key)
        ended = claim.result
        if claim.ownership is Ownership.OWNED:
            try:
                ended = await end_unanswered(claim, endpoint, self._store, self._recorder, deadline)
            finally:
                await self._release(request_id)
        if ended is None:
            raise await self._no_result_yet(request_id)
        return ended

    async def _no_result_yet(self, request_id: str) -> FailedPrecondition:
        spent = spend_metadata(await self._store.spend(request_id))
        return FailedPrecondition(f"request {request_id!r} has no result yet", reason="NO_RESULT_YET", metadata=spent)

    async def habits(self, endpoint: BackendEndpoint) -> Habits:
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

    async def _join(self, request: GenerationRequest, seconds: float | None) -> _Run:
        """The run of this request: the one at work, or a new one."""
        while (ending := self._runs.get(request.request_id)) is not None and ending.cancelled:
            left = min(seconds or self._max_seconds, self._max_seconds)
            if not (await asyncio.wait([ending.task], timeout=left))[0]:
                raise Unavailable(
                    f"what came of the last call of request {request.request_id!r} still waits for the store",
                    reason="STORE_DOWN",
                    retry_after_seconds=5.0,
                )
        at = asyncio.get_running_loop().time() + min(seconds or self._max_seconds, self._max_seconds)
        run = self._runs.get(request.request_id)
        if run is not None:
            if run.request.task_digest != request.task_digest:
                raise AlreadyExists(f"request id {request.request_id!r} is in use for another task or backend")
            run.deadline.extend(at)
            if not self._draining:
                run.stop.clear()
            return run
        if self._draining:
            raise Unavailable("the generator is stopping", reason="DRAINING", retry_after_seconds=1.0)
        run = _Run(request, Deadline(at))
        run.task = asyncio.create_task(self._finish(run))
        self._runs[request.request_id] = run
        run.task.add_done_callback(self._forget(request.request_id))
        return run

    def _forget(self, request_id: str) -> Callable[[asyncio.Task[_End]], None]:
        def done(task: asyncio.Task[_End]) -> None:
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

    async def _finish(self, run: _Run) -> _End:
        request = run.request
        name = request.backend or self.default
        if await self._store.find(request.request_id) is None:
            self._check(self._endpoint(name), request.task)  # what is refused does not use up its id
        model = self._endpoints[name].backend.model if name in self._endpoints else ""
        claim = await self._begin(run, RequestKey(request.request_id, request.task_digest, name, model))
        if claim.result is not None:
            metrics.RECORDED.inc()
            return Finished(claim.result, recorded=True)
        try:
            done = await self._work(run, claim)
        except BaseException:
            await self._release(request.request_id)
            raise
        if isinstance(done, Generation):
            return Finished(done, recorded=False)
        await self._release(request.request_id)
        return done

    async def _release(self, request_id: str) -> None:
        try:
            await self._store.release(request_id)
        except Unavailable as error:  # then it stays this process's until somebody asks again
            log.warning("a request was not released", request_id=request_id, reason=error.message)

    async def _begin(self, run: _Run, key: RequestKey) -> Claim:
        """Write the request down, after waiting for another replica that may be at it."""

        def tell(note: str) -> None:
            run.publish(GenerationProgress("queued", note=note))

        words = "another replica is working on this request"
        told = False
        async with announced(tell, lambda: words, request_id=key.request_id):
            while True:
                claim = await self._store.begin(key)
                if claim.ownership is not Ownership.OWNED_BY_OTHER:
                    return claim
                if run.deadline.left() <= _POLL_SECONDS:
                    raise DeadlineExceeded(f"another replica is still working on request {key.request_id!r}")
                if not told:
                    tell(words)
                    told = True
                await asyncio.sleep(_POLL_SECONDS)

    async def _work(self, run: _Run, claim: Claim) -> Generation | ToolsWanted | Waiting:
        request, key = run.request, claim.key
        endpoint = self._endpoint(key.backend)
        calls = claim.calls
        if any(call.reply is None for call in calls):
            calls = await self._recorder.close_open_calls(key, endpoint, calls)
        unknown_ends = [c.reply.detail for c in calls if c.reply is not None and c.outcome is CallOutcome.UNKNOWN]
        if unknown_ends:
            detail = unknown_ends[0]
            unknown = Judgement(GenerationOutcome.UNKNOWN, detail=detail)
            return await self._recorder.record(endpoint, key, calls, prompt_of(calls), unknown)
        recorded = [call.reply for call in calls if call.reply is not None and call.outcome in FINAL_ANSWERS]
        if not recorded:
            self._check(endpoint, request.task)
        prompt = self._prompt(request.task) if endpoint.backend.capabilities.prompt else ()
        if calls and calls[-1].waits:
            batches_of(endpoint, calls[-1])
        loop = (CallLoop if endpoint.backend.batches is None else BatchLoop)(
            endpoint, self._store, self._keeper, request.request_id, request.task, request.allowance, run.deadline,
            run.stop, run.publish, calls,
        )  # fmt: skip
        judgement: Judgement
        reply: BackendReply | None
        try:
            if request.conversation is not None:
                talk = self._conversing(loop, request.task, request.conversation, prompt, endpoint)
                found = await talk.run()
                if isinstance(found, ToolsWanted):
                    return found
                judgement, reply = found
            else:
                judgement, reply, prompt = await self._ask_once_or_twice(loop, recorded, prompt, request.task)
        except AnswerLater as later:
            return Waiting(later.seconds, later.batch_id, spend_of(loop.calls))
        except CallsUsedUp as end:
            unknown = Judgement(GenerationOutcome.UNKNOWN, detail=str(end))
            return await self._recorder.record(endpoint, key, tuple(loop.calls), prompt, unknown)
        except asyncio.CancelledError:
            if loop.calls and loop.calls[-1].outcome is CallOutcome.UNKNOWN and not loop.calls[-1].waits:
                made = tuple(loop.calls)
                await self._recorder.record(
                    endpoint, key, made, prompt, Judgement(GenerationOutcome.UNKNOWN, detail="cancelled")
                )
            raise
        run.publish(GenerationProgress("extracting", len(loop.calls), spend=spend_of(loop.calls)))
        return await self._recorder.record(endpoint, key, tuple(loop.calls), prompt, judgement, reply)

    def _conversing(
        self,
        loop: CallLoop,
        task: Task,
        conversation: Conversation,
        prompt: tuple[Message, ...],
        endpoint: BackendEndpoint,
    ) -> Conversing:
        count = lambda what: metrics.TOOL_CALLS.labels(endpoint.name, what).inc()  # noqa: E731
        return Conversing(loop, task, conversation, prompt, self._max_policy_bytes, count=count)

    async def _ask_once_or_twice(
        self, loop: CallLoop, recorded: list[BackendReply], prompt: tuple[Message, ...], task: Task
    ) -> tuple[Judgement, BackendReply, tuple[Message, ...]]:
        """Ask; and ask once more, with the reason, if the answer holds nothing that can be taken as a policy."""
        reply = recorded[0] if recorded else await loop.ask(Question(prompt))
        judgement = await asyncio.to_thread(judge, task, reply, self._max_policy_bytes)
        if judgement.outcome not in MENDABLE or not prompt or not reply.text.strip():
            return judgement, reply, prompt
        name = loop.backend
        longer = ask_again(prompt, reply.text, judgement.detail, task.operator, self.prompt_tokens)
        try:
            second = recorded[1] if len(recorded) > 1 else await loop.ask(Question(longer))
        except (QuintainError, CallsUsedUp) as error:  # the first answer is paid for and is the result
            log.info("an answer is not asked for again", backend=name, reason=str(error))
            return judgement, reply, prompt
        mended = await asyncio.to_thread(judge, task, second, self._max_policy_bytes)
        is_mended = mended.outcome is GenerationOutcome.OK
        metrics.FOLLOW_UPS.labels(name, "yes" if is_mended else "no").inc()
        if is_mended:
            mended = replace(mended, detail=f"mended by a follow-up: {judgement.detail}")
        return mended, second, longer

    def _prompt(self, task: Task) -> tuple[Message, ...]:
        try:
            return build_prompt(task, self.prompt_tokens)
        except PromptTooLarge as error:
            raise FailedPrecondition(str(error), reason="PROMPT_TOO_LARGE") from None

    def _endpoint(self, name: str) -> BackendEndpoint:
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise NotFound(f"no backend {name!r}; configured are {', '.join(sorted(self._endpoints))}")
        return endpoint

    @staticmethod
    def _check(endpoint: BackendEndpoint, task: Task) -> None:
        reason = endpoint.backend.unavailable_reason
        if reason:
            raise FailedPrecondition(f"backend {endpoint.name!r}: {reason}", reason="BACKEND_NOT_CONFIGURED")
        known = endpoint.backend.capabilities.operators
        if task.operator not in known:
            names = ", ".join(sorted(o.value for o in known))
            raise InvalidArgument.of("task.operator", f"backend {endpoint.name!r} knows {names}")

    # ------------------------------------------------------------------------------------------ background

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await self._store.renew()
                await self._recorder.report_abandoned(self._runs.keys())
            except Exception as error:  # noqa: BLE001 - a database that is away now may be back at the next turn
                log.warning("the lease was not renewed", reason=str(error) or type(error).__name__)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
