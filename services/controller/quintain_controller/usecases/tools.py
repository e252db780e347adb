"""Runs the tools that a model calls in its conversation, on train scenarios and within the conversation's bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

from quintain.errors import FailedPrecondition, Internal, InvalidArgument
from quintain_controller import metrics
from quintain_controller.domain import tools
from quintain_controller.domain.model import AgentOptions, Candidate, Plan, ToolCall, ToolUse, without_nul
from quintain_controller.domain.records import SearchRecord
from quintain_controller.domain.tools import PolicyRun, WrongCall
from quintain_controller.ports import Verifier
from quintain_controller.usecases.async_store import AsyncStore

_PAGE = 500


class _OutOfTime(Exception):
    """The verifier was not done within what the conversation had left."""


@dataclass(slots=True)
class _Meter:
    """What one call has used."""

    runs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of one conversation. `ignore_cache`: run policies, even if their verdicts are on record. `place`: where
    a run waits for its turn."""

    store: AsyncStore
    verifier: Verifier
    record: SearchRecord
    plan: Plan
    options: AgentOptions
    ignore_cache: bool = False
    place: AbstractAsyncContextManager[object] = field(default_factory=nullcontext)

    async def use(self, call: ToolCall, before: Sequence[ToolUse]) -> ToolUse:
        """Run a tool. `before`: what this conversation used already. What is wrong with the call is told to the model;
        raises QuintainError for what is nobody's fault but may pass."""
        meter, failed, repeatable = _Meter(), False, True
        try:
            said = await self._run(call, before, meter)
        except WrongCall as error:
            said, failed = str(error), True
        except _OutOfTime:
            said, failed, repeatable = (
                "The time for runs in this conversation is used up: submit a policy.",
                True,
                False,
            )
        except InvalidArgument as error:
            said, failed = f"The verifier does not take this policy: {error.message}", True
        except Internal:
            said, failed, repeatable = "The verifier broke on this policy; it would not be scored.", True, False
        metrics.TOOL_CALLS.labels(call.name if call.name in tools.NAMES else "unknown", str(failed).lower()).inc()
        metrics.TOOL_SECONDS.inc(meter.seconds)
        return ToolUse(call, without_nul(said), failed, meter.runs, meter.seconds, repeatable)

    async def _run(self, call: ToolCall, before: Sequence[ToolUse], meter: _Meter) -> str:
        context = self.record.context
        match tools.arguments(call.name, call.arguments):
            case tools.Run(policy=policy, scenarios=names):
                run = await self._verify(policy, tools.scenarios_of(context, names), before, meter)
                return f"{tools.say_run(run)}\n{self._left(before, meter)}"
            case tools.Compare(policy=policy, other=number, scenarios=names):
                wanted = tools.scenarios_of(context, names)
                train = (await self._candidate(number)).train
                run = await self._verify(policy, wanted, before, meter)
                return (
                    f"{tools.say_comparison(run, number, train.values if train else {})}\n{self._left(before, meter)}"
                )
            case tools.Observe(scenario=name, group=group, candidate=number):
                wanted = tools.scenarios_of(context, [name])
                run = await self._verify(await self._policy(number, before), wanted, before, meter, detail=True)
                return tools.say_observation(run, group)
            case tools.Timeline(scenario=name, begin=begin, end=end, candidate=number):
                wanted = tools.scenarios_of(context, [name])
                run = await self._verify(await self._policy(number, before), wanted, before, meter, detail=True)
                return tools.say_timeline(run, begin, end)
            case tools.Floors(scenario=name):
                return tools.say_floors(context, await self._candidate(0), [name] if name else [])
            case tools.Candidates():
                return tools.say_candidates(context, await self._told())
            case tools.Source(number=number):
                return await self._source(number)
            case tools.Note():
                return "Noted."

    def _left(self, before: Sequence[ToolUse], meter: _Meter) -> str:
        left = self.options.max_runs - sum(use.runs for use in before) - meter.runs
        return f"({left} of {self.options.max_runs} runs left)"

    async def _verify(
        self, policy: str, scenarios: Sequence[str], before: Sequence[ToolUse], meter: _Meter, *, detail: bool = False
    ) -> PolicyRun:
        if sum(use.runs for use in before) >= self.options.max_runs:
            raise WrongCall(f"all {self.options.max_runs} runs of this conversation are used up: submit a policy")
        left = self.options.max_seconds - sum(use.seconds for use in before)
        if left <= 0.0 and not self.ignore_cache:
            raise _OutOfTime
        meter.runs = 1
        async with self.place:
            run = await self._within(left, policy, scenarios, detail, meter)
        meter.seconds = run.seconds
        if run.simulator_build != self.record.context.simulator_build:
            raise FailedPrecondition(
                f"the simulator is build {run.simulator_build!r} now and was {self.record.context.simulator_build!r} "
                "when the search began",
                reason="SIMULATOR_CHANGED",
            )
        return run

    async def _within(
        self, seconds: float, policy: str, scenarios: Sequence[str], detail: bool, meter: _Meter
    ) -> PolicyRun:
        all_of_them = len(scenarios) == len(self.record.context.train)
        work = self.verifier.run(
            self.record.spec, policy, () if all_of_them else scenarios, detail=detail, ignore_cache=self.ignore_cache
        )
        try:
            return await asyncio.wait_for(work, None if self.ignore_cache else seconds)
        except TimeoutError:
            meter.seconds = seconds
            raise _OutOfTime from None

    # ---------------------------------------------------------------------------------------------------- candidates

    async def _told(self) -> list[Candidate]:
        """The candidates that were told when the conversation was asked for: who works faster sees no more."""
        found: list[Candidate] = []
        while len(found) < self.plan.after:
            page = await self.store(self.store.blocking.candidate_page, self.record.search_id, len(found) - 1, _PAGE)
            if not page:
                break
            found += page
        return found[: self.plan.after]

    def _check(self, number: int) -> None:
        if number >= self.plan.after:
            raise WrongCall(f"there is no candidate {number} yet; there are 0 to {self.plan.after - 1}")

    async def _candidate(self, number: int) -> Candidate:
        self._check(number)
        known = await self.store(self.store.blocking.candidates, self.record.search_id, [number])
        return known[number]

    async def _source(self, number: int) -> str:
        self._check(number)
        texts = await self.store(self.store.blocking.texts, self.record.search_id, [number])
        if number not in texts:
            raise WrongCall(f"candidate {number} has no source: nothing came of it")
        return texts[number][1]

    async def _policy(self, number: int | None, before: Sequence[ToolUse]) -> str:
        """The source that is meant: a candidate's, or the one that was run last."""
        if number is not None:
            return await self._source(number)
        for use in reversed(before):
            if use.runs and use.call.name in (tools.Run.tool, tools.Compare.tool):
                given = tools.arguments(use.call.name, use.call.arguments)
                if isinstance(given, tools.Run | tools.Compare):
                    return given.policy
        raise WrongCall("you have run no policy yet: run one, or name a candidate")
