"""The use case: one request, one result, however often and by however many it is asked for."""

from __future__ import annotations

import asyncio
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
from quintain_generator.adapters.store.sql import Begun, GenerationStore, Request, Standing
from quintain_generator.domain.generation import (
    FINAL_ANSWERS,
    CallRecord,
    Generation,
    Outcome,
    total_cost,
    total_usage,
)
from quintain_generator.domain.judge import Judgement, judge
from quintain_generator.prompt.builder import PromptTooLarge, ask_again, build_prompt
from quintain_generator.usecases.call_loop import Calling, Deadline, Progress, Stop, durably
from quintain_generator.usecases.endpoint import Endpoint

log = get_logger("generations")

_POLL_SECONDS = 0.2  # how often to look whether another replica has finished
_RENEW_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Command:
    """A request to generate. `backend` empty: the default. `task_digest` names everything of it but its id."""

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
    """A request being worked on, and those who wait for it."""

    def __init__(self, command: Command, deadline: Deadline) -> None:
        self.command = command
        self.deadline = deadline
        self.listeners: set[asyncio.Queue[Progress | None]] = set()
        self.stop = Stop()
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
        self._runs: dict[str, _Run] = {}
        self._draining = False
        self._background: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------------ life cycle

    async def start(self) -> None:
        """Open the store and report the calls that a crash cut off."""
        await asyncio.to_thread(self._store.open)
        await self._report_abandoned()
        self._in_background(self._keep_alive())

    async def drain(self) -> None:
        """Take nothing new, begin no further call, and wait for the calls in flight to be recorded."""
        self._draining = True
        for run in self._runs.values():
            run.stop.set("the generator is stopping")
        while self._runs:
            await asyncio.wait([run.task for run in self._runs.values()])

    async def close(self) -> None:
        """Cut off what drain did not wait for; it is recorded as unknown."""
        for task in [*(run.task for run in self._runs.values()), *self._background]:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):  # every run has told its callers already
                await task
        await asyncio.to_thread(self._store.close)

    async def ready(self) -> bool:
        try:
            await asyncio.to_thread(self._store.ping)
        except Exception as error:  # noqa: BLE001 - whatever a database driver raises, we are not ready
            log.warning("store does not answer", error=type(error).__name__)
            return False
        return not self._draining and any(not e.backend.unavailable_reason for e in self._endpoints.values())

    # ------------------------------------------------------------------------------------------- use cases

    async def generate(self, command: Command, seconds: float | None) -> AsyncIterator[Progress | Finished]:
        """Progress, then the result. `seconds` is the caller's time left. Raises QuintainError.

        A caller that goes away does not end the call in flight at once: it has `abandoned_call_seconds` to finish and
        be recorded, and no further call is made.
        """
        run = await self._join(command, seconds)
        queue: asyncio.Queue[Progress | None] = asyncio.Queue()
        run.listeners.add(queue)
        run.task.add_done_callback(lambda _task: queue.put_nowait(None))
        try:
            while (progress := await queue.get()) is not None:
                yield progress
            yield run.task.result() if not run.task.cancelled() else self._cut_off()
        finally:
            run.listeners.discard(queue)
            if not run.listeners and not run.task.done():
                self._in_background(self._end_abandoned(run))

    async def find(self, request_id: str) -> Generation:
        """The recorded result. Raises NotFound, or FailedPrecondition while there is none yet."""
        found = await asyncio.to_thread(self._store.find, request_id)
        if found is None:
            raise NotFound(f"request id {request_id!r} was never seen")
        if found[1] is None:
            raise FailedPrecondition(f"request {request_id!r} has no result yet", reason="NO_RESULT_YET")
        return found[1]

    async def _join(self, command: Command, seconds: float | None) -> _Run:
        """The run of this request: the one at work, or a new one."""
        while (ending := self._runs.get(command.request_id)) is not None and ending.cancelled:
            await asyncio.wait([ending.task])
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
            run.cancelled = True
            run.task.cancel()

    # ----------------------------------------------------------------------------------------- one request

    async def _finish(self, run: _Run) -> Finished:
        command = run.command
        name = command.backend or self.default
        if await asyncio.to_thread(self._store.find, command.request_id) is None:
            self._check(self._endpoint(name), command.task)  # what is refused does not use up its id
        model = self._endpoints[name].backend.model if name in self._endpoints else ""
        begun = await self._begin(run, Request(command.request_id, command.task_digest, name, model))
        if begun.result is not None:
            metrics.RECORDED.inc()
            return Finished(begun.result, recorded=True)
        try:
            return Finished(await self._work(run, begun), recorded=False)
        except BaseException:
            await durably(self._store.release, command.request_id)
            raise

    async def _begin(self, run: _Run, request: Request) -> Begun:
        """Write the request down, after waiting for another replica that may be at it."""
        while True:
            begun = await durably(self._store.begin, request)
            if begun.standing is not Standing.ELSEWHERE:
                return begun
            if run.deadline.left() <= _POLL_SECONDS:
                raise DeadlineExceeded(f"another replica is still working on request {request.request_id!r}")
            run.publish(Progress("queued", note="another replica is working on this request"))
            await asyncio.sleep(_POLL_SECONDS)

    async def _work(self, run: _Run, begun: Begun) -> Generation:
        command, request = run.command, begun.request
        endpoint = self._endpoint(request.backend)
        calls = begun.calls
        if any(call.reply is None for call in calls):
            calls = await self._close_open_calls(request, endpoint, calls)
        if any(call.outcome is CallOutcome.UNKNOWN for call in calls):
            return await self._record(endpoint, request, calls, calls[-1].prompt, Judgement(Outcome.UNKNOWN))
        recorded = [call.reply for call in calls if call.reply is not None and call.outcome in FINAL_ANSWERS]
        if not recorded:
            self._check(endpoint, command.task)
        prompt = self._prompt(command.task) if endpoint.backend.capabilities.prompt else ()
        calling = Calling(
            endpoint, self._store, command.request_id, command.task, command.allowance, run.deadline,
            run.stop, run.publish, calls,
        )  # fmt: skip
        try:
            judgement, reply, prompt = await self._converse(calling, recorded, prompt, command.task)
        except asyncio.CancelledError:
            if calling.calls and calling.calls[-1].outcome is CallOutcome.UNKNOWN:
                made = tuple(calling.calls)
                await self._record(endpoint, request, made, prompt, Judgement(Outcome.UNKNOWN, detail="cancelled"))
            raise
        run.publish(Progress("extracting", len(calling.calls)))
        return await self._record(endpoint, request, tuple(calling.calls), prompt, judgement, reply)

    async def _converse(
        self, calling: Calling, recorded: list[BackendReply], prompt: tuple[Message, ...], task: Task
    ) -> tuple[Judgement, BackendReply, tuple[Message, ...]]:
        """Ask; and ask once more, with the reason, if a diff did not apply."""
        reply = recorded[0] if recorded else await calling.ask(prompt)
        judgement = await asyncio.to_thread(judge, task, reply, self._max_policy_bytes)
        if judgement.outcome is not Outcome.DIFF_FAILED or not prompt:
            return judgement, reply, prompt
        longer = ask_again(prompt, reply.text, judgement.detail, self.prompt_tokens)
        try:
            second = recorded[1] if len(recorded) > 1 else await calling.ask(longer)
        except QuintainError as error:  # the first answer is paid for and is the result
            log.info("no second try for a diff", reason=error.reason)
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
        self, request: Request, endpoint: Endpoint, calls: tuple[CallRecord, ...]
    ) -> tuple[CallRecord, ...]:
        """Settle the calls that a crash cut off: at risk, or (where repeating costs nothing) as a lost connection."""
        settled: list[CallRecord] = []
        for call in calls:
            if call.reply is None:
                again = endpoint.backend.capabilities.repeatable
                outcome = CallOutcome.CONNECTION if again else CallOutcome.UNKNOWN
                reply = BackendReply(outcome, detail="the generator died during the call")
                charged, at_risk = endpoint.settle(reply, call.reserved_usd, settled)
                call = replace(call, reply=reply, charged_usd=charged, at_risk_usd=at_risk)
                await durably(self._store.settle, request.request_id, call)
                metrics.count_call(endpoint.name, call)
            settled.append(call)
        return tuple(settled)

    async def _record(
        self,
        endpoint: Endpoint,
        request: Request,
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
        await durably(self._store.finish, generation)
        metrics.GENERATIONS.labels(endpoint.name, generation.outcome.value).inc()
        return generation

    # ------------------------------------------------------------------------------------------ background

    async def _report_abandoned(self) -> None:
        """Give the requests that a dead owner left in the middle of a paid call their result: unknown."""
        for request in await asyncio.to_thread(self._store.abandoned):
            endpoint = self._endpoints.get(request.backend)
            if endpoint is None or endpoint.backend.capabilities.repeatable or request.request_id in self._runs:
                continue
            begun = await durably(self._store.begin, request)
            if begun.standing is not Standing.MINE:
                continue
            if all(call.reply is not None for call in begun.calls):  # its owner was only slow
                await durably(self._store.release, request.request_id)
                continue
            calls = await self._close_open_calls(request, endpoint, begun.calls)
            judgement = Judgement(Outcome.UNKNOWN, detail="the generator died during the call")
            await self._record(endpoint, request, calls, calls[-1].prompt, judgement)
            log.warning("a call was cut off by a crash", request_id=request.request_id, backend=endpoint.name)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await durably(self._store.renew)
                await self._report_abandoned()
            except Exception as error:  # noqa: BLE001 - a database that is away now may be back at the next turn
                log.warning("the lease was not renewed", error=type(error).__name__)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
