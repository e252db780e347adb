"""What every backend must do, as checks that run on an installed one.

    for result in await check_backend(MyBackend, "model", {"option": 1}, task):
        print(result.name, "ok" if result.passed else result.message)

The backend must be able to answer: give it an endpoint that does (a fake provider). Each check makes a few calls.
"""

from __future__ import annotations

import ast
import asyncio
import pickle
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from quintain.conformance.simulator import CheckResult, Nonconformance
from quintain.plugins.backend import (
    Allowance,
    Backend,
    BackendCall,
    BackendReply,
    CallOutcome,
    Message,
    Operator,
    Task,
    Tool,
    ToolResult,
    Turn,
    Usage,
)

TIMEOUT_SECONDS = 20.0
CANCEL_SECONDS = 2.0
CONCURRENT_CALLS = 8

MAX_TURNS = 5

_PARENTS_NEEDED = {Operator.FULL: 0, Operator.DIFF: 1, Operator.REPAIR: 1, Operator.CROSSOVER: 2, Operator.AGENT: 0}
_OBJECT = {"type": "object", "properties": {"policy": {"type": "string"}}}
_TOOLS = (Tool("run", "Run a policy.", _OBJECT), Tool("submit", "Hand in your policy.", _OBJECT))


async def check_backend(
    kind: type[Backend],
    model: str,
    options: Mapping[str, Any],
    task: Task,
    dead_options: Mapping[str, Any] | None = None,
) -> list[CheckResult]:
    """Run all checks on backends of class `kind`; never raises for what a backend does.

    `task` is one that it can answer, with at least two parents. `dead_options`: options with which no provider can be
    reached (None for a backend that has none), so that failing is checked, too.
    """
    subject = _Subject(kind, model, options, dead_options, task)
    results = []
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        work = asyncio.create_task(check(subject))
        done, _ = await asyncio.wait([work], timeout=TIMEOUT_SECONDS)
        if not done:  # not waited for: what does not end may not be cancelled either
            work.cancel()
            results.append(CheckResult(name, False, f"not over after {TIMEOUT_SECONDS} s"))
            continue
        try:
            work.result()
        except Nonconformance as finding:
            results.append(CheckResult(name, False, str(finding)))
        except Exception as error:  # noqa: BLE001 - the boundary to the backend's code
            results.append(CheckResult(name, False, f"{type(error).__name__}: {error}"))
        else:
            results.append(CheckResult(name, True))
    return results


@dataclass(frozen=True)
class _Subject:
    kind: type[Backend]
    model: str
    options: Mapping[str, Any]
    dead_options: Mapping[str, Any] | None
    task: Task

    def make(self, options: Mapping[str, Any] | None = None) -> Backend:
        return self.kind(
            self.model, self.kind.Options.model_validate(dict(self.options if options is None else options))
        )

    async def ask(self, backend: Backend, **changes: Any) -> BackendReply:
        reply: object = await backend.generate(self.call(backend, **changes))
        if not isinstance(reply, BackendReply):
            raise Nonconformance(f"generate returned {type(reply).__name__}, not a BackendReply")
        return reply

    def call(self, backend: Backend, **changes: Any) -> BackendCall:
        prompt = (Message("system", "Write a policy.", cache_breakpoint=True), Message("user", "Now."))
        return replace(
            BackendCall(
                request_id=f"conformance-{uuid.uuid4()}",
                attempt=1,
                task=self.task,
                messages=prompt if backend.capabilities.prompt else (),
                allowance=Allowance(max_output_tokens=2000),
                timeout_seconds=TIMEOUT_SECONDS,
            ),
            **changes,
        )


def _demand(condition: bool, message: str) -> None:
    if not condition:
        raise Nonconformance(message)


# ---------------------------------------------------------------------------------------------------------- the checks


async def unknown_options_are_refused(subject: _Subject) -> None:
    try:
        subject.kind.Options.model_validate({**subject.options, "no_such_option": 1})
    except ValidationError:
        return
    raise Nonconformance("Options took the key 'no_such_option'; set extra='forbid' (BackendOptions does)")


async def capabilities_are_constant(subject: _Subject) -> None:
    backend = subject.make()
    first = backend.capabilities
    _demand(bool(first.operators), "capabilities.operators is empty; name at least one operator")
    await subject.ask(backend)
    _demand(backend.capabilities == first, "capabilities changed after a call; they are read once")
    await backend.close()


async def it_says_that_it_can_be_used(subject: _Subject) -> None:
    backend = subject.make()
    reason = backend.unavailable_reason
    _demand(reason == "", f"unavailable_reason is {reason!r} although the backend was given everything it needs")
    await backend.close()


async def every_operator_gets_an_answer(subject: _Subject) -> None:
    backend = subject.make()
    for operator in sorted(backend.capabilities.operators, key=lambda o: o.value):
        needed = _PARENTS_NEEDED[operator]
        task = replace(subject.task, operator=operator, parents=subject.task.parents[: max(needed, 1)])
        reply = await (
            _converse(subject, backend, task) if operator is Operator.AGENT else subject.ask(backend, task=task)
        )
        _demand(
            reply.outcome is CallOutcome.OK and reply.rejection is None,
            f"operator {operator.value}: {reply.outcome.value} ({reply.detail}) where an answer was expected",
        )
        if reply.tool_calls:
            continue  # submitted
        _demand(bool(reply.text or reply.source), f"operator {operator.value}: OK without text or source")
        _demand(reply.sent, f"operator {operator.value}: OK, but sent is False, so that it would cost nothing")
        if reply.source:
            ast.parse(reply.source)
    await backend.close()


async def _converse(subject: _Subject, backend: Backend, task: Task) -> BackendReply:
    """The answer that ends a conversation: it submits, or calls no tool."""
    turns: list[Turn] = []
    while True:
        reply = await subject.ask(
            backend, task=task, attempt=len(turns) + 1, tools=_TOOLS, turns=tuple(turns), max_turns=MAX_TURNS
        )
        wrong = _mistyped(reply) + [name for call in reply.tool_calls for name in _mistyped(call)]
        _demand(not wrong, f"operator agent: fields of another type: {', '.join(wrong)}")
        ids = [call.call_id for call in reply.tool_calls]
        _demand(len(ids) == len(set(ids)), f"operator agent: two tool calls of an answer have one id: {ids}")
        if reply.outcome is not CallOutcome.OK or not ids or any(c.name == "submit" for c in reply.tool_calls):
            return reply
        _demand(len(turns) < MAX_TURNS, f"operator agent: still no policy after {MAX_TURNS} answers")
        results = tuple(ToolResult(call_id, "It ran.") for call_id in ids)
        turns.append(Turn(reply.text, reply.tool_calls, reply.state, results))


async def usage_is_never_negative(subject: _Subject) -> None:
    backend = subject.make()
    reply = await subject.ask(backend)
    usage = reply.usage
    if usage is not None:
        counts = (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens, usage.output_tokens)
        _demand(min(counts) >= 0, f"negative counts in {usage}")
        _demand(
            0 <= usage.reasoning_tokens <= usage.output_tokens,
            f"reasoning ({usage.reasoning_tokens}) must be part of the output ({usage.output_tokens})",
        )
        _demand(
            usage.output_tokens > 0 or not reply.text, "text without an output token; usage is None if nobody knows"
        )
    await backend.close()


async def calls_may_run_at_the_same_time(subject: _Subject) -> None:
    backend = subject.make()
    tasks = [replace(subject.task, seed=n) for n in range(CONCURRENT_CALLS)]
    replies = await asyncio.gather(*(subject.ask(backend, task=task) for task in tasks))
    bad = [r.outcome.value for r in replies if r.outcome is not CallOutcome.OK]
    _demand(not bad, f"{len(bad)} of {CONCURRENT_CALLS} concurrent calls ended as {sorted(set(bad))}")
    await backend.close()


async def the_same_task_gives_the_same_reply_if_it_says_so(subject: _Subject) -> None:
    backend, again = subject.make(), subject.make()
    if backend.capabilities.deterministic:
        first, second = [_content(await subject.ask(b)) for b in (backend, again)]
        _demand(first == second, "capabilities.deterministic, but two calls with the same task differ")
    await backend.close()
    await again.close()


async def a_call_can_be_cancelled(subject: _Subject) -> None:
    backend = subject.make()
    work = asyncio.create_task(backend.generate(subject.call(backend)))
    await asyncio.sleep(0)  # let it begin
    answered = work.done()
    work.cancel()
    done, _ = await asyncio.wait([work], timeout=CANCEL_SECONDS)
    _demand(bool(done), f"a cancelled call went on for more than {CANCEL_SECONDS} s")
    _demand(answered or work.cancelled(), "a cancelled call must let CancelledError through")
    reply = await subject.ask(backend)
    _demand(reply.outcome is CallOutcome.OK, f"after a cancelled call, the next one ended as {reply.outcome.value}")
    await backend.close()


async def secrets_are_in_no_text(subject: _Subject) -> None:
    backend = subject.make()
    reply = await subject.ask(backend)
    shown = f"{backend!r} {backend.options!r} {backend.options.model_dump_json()} {reply!r}"
    for secret in backend.secrets:
        _demand(secret not in shown, "a secret is in repr(backend), its options or a reply")
    await backend.close()


async def replies_are_plain_data(subject: _Subject) -> None:
    backend = subject.make()
    reply = await subject.ask(backend)
    for record in (reply, reply.usage or Usage(), backend.capabilities):
        wrong = _mistyped(record)
        _demand(not wrong, f"{type(record).__name__} with fields of another type: {', '.join(wrong)}")
    _demand(pickle.loads(pickle.dumps(reply)) == reply, "a reply must be plain data that can be stored and compared")
    await backend.close()


async def a_dead_endpoint_is_a_reply(subject: _Subject) -> None:
    if subject.dead_options is None:
        return
    backend = subject.make(subject.dead_options)
    reply = await subject.ask(backend, timeout_seconds=2.0)
    expected = {CallOutcome.CONNECTION, CallOutcome.TIMEOUT, CallOutcome.OVERLOADED, CallOutcome.BAD_REQUEST}
    _demand(reply.outcome in expected, f"with nobody there, the outcome was {reply.outcome.value}")
    _demand(bool(reply.detail), "a failure without detail; say what happened")
    await backend.close()


def _mistyped(record: Any) -> list[str]:
    wrong = []
    for name, hint in get_type_hints(type(record)).items():
        value = getattr(record, name)
        whole = get_origin(hint)
        kinds = (whole,) if whole in (frozenset, tuple) else get_args(hint) or (hint,)
        if not isinstance(value, (*kinds, int) if float in kinds else kinds):
            wrong.append(f"{name} ({type(value).__name__})")
    return wrong


def _content(reply: BackendReply) -> tuple[object, ...]:
    return reply.outcome, reply.text, reply.source, reply.rationale, reply.usage


CHECKS: tuple[Callable[[_Subject], Any], ...] = (
    unknown_options_are_refused,
    capabilities_are_constant,
    it_says_that_it_can_be_used,
    every_operator_gets_an_answer,
    usage_is_never_negative,
    calls_may_run_at_the_same_time,
    the_same_task_gives_the_same_reply_if_it_says_so,
    a_call_can_be_cancelled,
    secrets_are_in_no_text,
    replies_are_plain_data,
    a_dead_endpoint_is_a_reply,
)
