"""One plan on workers that are played: what is tried again, what is ended, what counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.unit.verifier.test_domain import LATE, RAISED, REFERENCE, planned, result

from quintain.plugins.simulator import FailureKind, PolicyFailure
from quintain_verifier.domain.jobs import Failed, Ran, ReferenceJob, Referred, RunJob
from quintain_verifier.domain.plan import RunPlan
from quintain_verifier.domain.verdict import Status, Verdict
from quintain_verifier.ports import JobTimedOut, WorkerDied
from quintain_verifier.sandbox.report import IsolationReport
from quintain_verifier.usecases.fair_queue import FairQueue
from quintain_verifier.usecases.planning import PlannedRequest
from quintain_verifier.usecases.run_plan import JobRunner, RunTotals

STALLED = PolicyFailure(FailureKind.WALL_LIMIT, "no answer in time")
ISOLATION = IsolationReport({}, 0, {}, "strict", "x86_64")


@dataclass(eq=False)
class Worker:
    pid: int
    isolation: IsolationReport | None = ISOLATION


class Workers:
    """Answers each run of a scenario with the next of its `script`: a failure or none, an exception, or "for ever".
    `computing`: the share of its time that a policy computes."""

    no_jail = ""

    def __init__(self, count: int, script: Mapping[str, list[Any]], computing: float = 0.0) -> None:
        self._script = {name: list(steps) for name, steps in script.items()}
        self._computing = computing
        self.runs: Counter[str] = Counter()
        self.given_up: list[str] = []
        self.queue: FairQueue[Any] = FairQueue(9, lambda: 1.0)
        for pid in range(count):
            self.queue.add_idle(Worker(pid))

    def next_job(self) -> int:
        return 1

    async def run(self, worker: Worker, job: RunJob | ReferenceJob, timeout: float) -> Ran | Referred | Failed:
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, self.queue.add_idle, worker)
        if isinstance(job, ReferenceJob):
            return Referred(job.job, REFERENCE)
        self.runs[job.scenario] += 1
        step = (self._script.get(job.scenario) or [None]).pop(0)
        if step == "for ever":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.given_up.append(job.scenario)
                raise
        if isinstance(step, Exception):
            raise step
        return Ran(job.job, result(5.0, step), self._computing * 60.0, 60.0, 1, [], ISOLATION)


async def run(workers: Workers, plan: RunPlan) -> tuple[Verdict, RunTotals]:
    def evicted(error: Exception) -> None:
        raise AssertionError("nobody else is here")

    ticket = workers.queue.enter("me", evicted)
    async with asyncio.timeout(20):
        return await JobRunner(workers, 300.0).run(
            PlannedRequest(plan, {}, "", None), ticket, lambda scenario, done: None
        )


def ran(verdict: Verdict) -> list[bool]:
    return [s.outcome is not None for s in verdict.scenarios]


async def test_a_stalled_policy_is_tried_once_more_because_the_machine_may_have_been_busy() -> None:
    workers = Workers(1, {"s0": [STALLED, None]})
    verdict, totals = await run(workers, planned(1))
    assert (workers.runs["s0"], verdict.status, totals.repeatable) == (2, Status.OK, True)


async def test_a_policy_that_computed_all_the_time_is_not_tried_again() -> None:
    workers = Workers(1, {"s0": [STALLED]}, computing=0.97)
    verdict, totals = await run(workers, planned(1))
    assert (workers.runs["s0"], verdict.status, totals.repeatable) == (1, Status.POLICY_FAILED, False)


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_a_time_limit_ends_what_comes_after_it_and_waits_for_what_came_before(count: int) -> None:
    """s2 has a time limit; with five workers s3 and s4 are running by then, and are given up."""
    workers = Workers(count, {"s1": [RAISED], "s2": [LATE], "s3": ["for ever"], "s4": ["for ever"]})
    verdict, _ = await run(workers, planned(5))
    assert ran(verdict) == [True, True, True, False, False]
    assert verdict.status is Status.POLICY_FAILED
    assert verdict.failure == RAISED
    if count == 5:
        assert set(workers.given_up) == {"s3", "s4"}


async def test_who_wants_all_scenarios_gets_them() -> None:
    workers = Workers(2, {"s0": [LATE], "s1": [LATE]})
    verdict, _ = await run(workers, replace(planned(4), continue_after_time_limit=True))
    assert ran(verdict) == [True] * 4
    assert verdict.status is Status.POLICY_FAILED


async def test_a_worker_that_dies_costs_a_second_try_and_two_are_the_policys_failure() -> None:
    workers = Workers(2, {"s0": [WorkerDied("gone"), None], "s1": [WorkerDied("gone"), WorkerDied("gone")]})
    verdict, totals = await run(workers, planned(2))
    assert [s.failure.kind if s.failure else None for s in verdict.scenarios] == [None, FailureKind.DIED]
    assert not totals.repeatable


async def test_an_engine_that_never_ends_is_a_time_limit() -> None:
    workers = Workers(1, {"s0": [JobTimedOut("long"), JobTimedOut("long")]})
    verdict, _ = await run(workers, planned(2))
    assert ran(verdict) == [True, False]
    assert verdict.scenarios[0].failure is not None
    assert verdict.scenarios[0].failure.kind is FailureKind.WALL_LIMIT
