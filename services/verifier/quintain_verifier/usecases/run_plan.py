"""Runs the scenarios of one plan on the workers, side by side, and puts the verdict together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import structlog

from quintain.errors import FailedPrecondition, Internal, InvalidArgument, Unavailable
from quintain.plugins.simulator import FailureKind, Outcome, PolicyFailure
from quintain_verifier import metrics
from quintain_verifier.domain.jobs import Failed, Ran, ReferenceJob, Referred, RunJob
from quintain_verifier.domain.plan import PlannedScenario, RunPlan
from quintain_verifier.domain.verdict import Reference, ScenarioResult, Verdict, assemble, first_stop, first_time_limit
from quintain_verifier.ports import JobTimedOut, Worker, WorkerDied, Workers
from quintain_verifier.sandbox.report import IsolationReport
from quintain_verifier.usecases.fair_queue import Ticket
from quintain_verifier.usecases.planning import PlannedRequest

_REFERENCES_KEPT = 10_000
_COMPUTING_SHARE = 0.9  # of its wall time in CPU time: no busy machine has slowed it down

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("execution")


@dataclass(frozen=True, slots=True)
class VerificationProgress:
    digest: str
    queue_position: int
    scenarios_done: int
    scenarios_total: int
    scenario: str

    def at(self, queue_position: int) -> VerificationProgress:
        return replace(self, queue_position=queue_position)


@dataclass(slots=True)
class RunTotals:
    """What the runs of one plan took. `repeatable`: the same request would give the same verdict again."""

    started: float | None = None
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    isolation: IsolationReport | None = None
    repeatable: bool = True

    def add(self, ran: Ran) -> None:
        self.cpu_seconds += ran.cpu_seconds
        self.peak_memory_bytes = max(self.peak_memory_bytes, ran.peak_memory_bytes)
        self.isolation = ran.isolation
        for killed_by in ran.killed_by:
            metrics.KILLS.labels(metrics.kill_reason(killed_by)).inc()


class JobRunner:
    """Lives on one event loop, used by many flights at once. `engine_seconds`: what a simulator may take for one run
    beside the time it waits for the policy."""

    def __init__(self, pool: Workers[Any], engine_seconds: float) -> None:
        self._pool = pool
        self._engine_seconds = engine_seconds
        self._references: dict[tuple[str, str, str, str], Reference] = {}
        self.mean_run_seconds = 1.0

    def check(self) -> None:
        """Raises FailedPrecondition if no jail can be had on this machine."""
        if self._pool.no_jail:
            raise FailedPrecondition(
                f"the required isolation cannot be had on this machine: {self._pool.no_jail}", reason="NO_ISOLATION"
            )

    def retry_after(self) -> float:
        """Seconds after which a full queue has probably moved."""
        return min(30.0, max(0.2, self.mean_run_seconds))

    async def run(
        self, planned: PlannedRequest, ticket: Ticket[Worker], advanced: Callable[[str, int], None]
    ) -> tuple[Verdict, RunTotals]:
        """`advanced(scenario, how many are done)` after each scenario. Raises QuintainError; cancelled, it lets go of
        its workers."""
        plan = planned.plan
        totals = RunTotals()
        references: dict[str, Reference] = {}
        if plan.stop_below_score is not None:
            references = await self._references_of(planned, plan.scenarios, ticket)
        results: dict[str, ScenarioResult] = {}
        order = plan.running_order
        tasks = {asyncio.create_task(self._scenario(planned, s, ticket, totals)): s for s in order}
        counted = len(order)  # so many scenarios of the order count, as far as is known
        try:
            while pending := {task for task in list(tasks)[:counted] if not task.done()}:
                done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    results[tasks[task].name] = task.result()
                    advanced(tasks[task].name, len(results))
                stop, fatal = first_stop(plan, results, references), first_time_limit(plan, results)
                counted = min(counted, stop or counted, fatal or counted)
                for task in list(tasks)[counted:]:
                    task.cancel()
        finally:
            await _end(tasks)
        # What ran ahead of the decision does not count.
        results = {s.name: results[s.name] for s in order[:counted]}
        if missing := [s for s in order[counted:] if s.name not in references]:
            references |= await self._references_of(planned, missing, ticket)
        return assemble(plan, results, references), totals

    async def _references_of(
        self, planned: PlannedRequest, scenarios: Sequence[PlannedScenario], ticket: Ticket[Worker]
    ) -> dict[str, Reference]:
        tasks = [asyncio.create_task(self._reference(planned, s, ticket)) for s in scenarios]
        try:
            references = await asyncio.gather(*tasks)
        finally:
            await _end(tasks)
        return {s.name: reference for s, reference in zip(scenarios, references, strict=True)}

    async def _reference(self, planned: PlannedRequest, scenario: PlannedScenario, ticket: Ticket[Worker]) -> Reference:
        plan = planned.plan
        key = (plan.simulator, plan.build, scenario.digest, plan.objective.name)
        if key not in self._references:
            job = ReferenceJob(**self._common(planned, scenario))
            try:
                reply = await self._call(job, ticket, self._engine_seconds, RunTotals())
            except (WorkerDied, JobTimedOut) as error:
                raise Internal(
                    f"simulator {plan.simulator} cannot run its baseline on {scenario.name}: {error}",
                    reason="SIMULATOR_FAULT",
                ) from error
            assert isinstance(reply, Referred)
            if len(self._references) >= _REFERENCES_KEPT:
                self._references.clear()
            self._references[key] = reply.reference
        return self._references[key]

    async def _scenario(
        self, planned: PlannedRequest, scenario: PlannedScenario, ticket: Ticket[Worker], totals: RunTotals
    ) -> ScenarioResult:
        """One scenario to its end. A wall limit is tried once more (the machine may have been busy), unless the policy
        had a core to itself all the time."""
        plan = planned.plan
        for last_try in (False, True):
            job = RunJob(
                **self._common(planned, scenario),
                source=plan.source,
                limits=plan.limits,
                seed=plan.seed,
                calling_mode=plan.calling_mode,
                check_determinism=plan.check_determinism,
                confirm=plan.confirm,
                include_detail=plan.include_detail,
            )
            runs = 1 + plan.check_determinism + plan.confirm + (plan.check_determinism and plan.confirm)
            seconds = plan.limits.wall_seconds * runs + self._engine_seconds
            try:
                reply = await self._call(job, ticket, seconds, totals)
            except WorkerDied:
                return await self._failed(planned, scenario, ticket, totals, _KILLED_TWO_WORKERS)
            except JobTimedOut as error:
                if last_try:
                    failure = PolicyFailure(FailureKind.WALL_LIMIT, str(error))
                    return await self._failed(planned, scenario, ticket, totals, failure)
                continue
            assert isinstance(reply, Ran)
            totals.add(reply)
            failure_now = reply.result.outcome.failure
            if failure_now is None or failure_now.kind is not FailureKind.WALL_LIMIT:
                return reply.result
            if last_try or reply.cpu_seconds >= _COMPUTING_SHARE * reply.wall_seconds:
                totals.repeatable = False
                return reply.result
        raise AssertionError("the last try returns")

    async def _failed(
        self,
        planned: PlannedRequest,
        scenario: PlannedScenario,
        ticket: Ticket[Worker],
        totals: RunTotals,
        failure: PolicyFailure,
    ) -> ScenarioResult:
        """A failure that the service saw from outside, scored as the worst; never recorded."""
        totals.repeatable = False
        reference = await self._reference(planned, scenario, ticket)
        outcome = Outcome(scenario.name, {}, (), "", "", failure)
        return ScenarioResult(outcome, reference.worst, reference.baseline_normalized)

    async def _call(
        self, job: RunJob | ReferenceJob, ticket: Ticket[Worker], seconds: float, totals: RunTotals
    ) -> Ran | Referred:
        """The answer of some worker. A worker that dies or whose sandbox fails is no fault of the policy's: another
        one gets the job, once. Raises WorkerDied and JobTimedOut, and QuintainError for faults."""
        for last_try in (False, True):
            worker = await ticket.acquire()
            began = time.monotonic()
            totals.started = totals.started or began
            totals.isolation = totals.isolation or worker.isolation  # in case nothing comes back to say it
            metrics.SLOTS_BUSY.inc()
            try:
                reply = await self._pool.run(worker, job, seconds)
            except WorkerDied:
                metrics.FAULTS.labels("worker_died").inc()
                log.warning("worker died in a job", pid=worker.pid, scenario=job.scenario, retried=not last_try)
                if last_try:
                    raise
                continue
            finally:
                metrics.SLOTS_BUSY.dec()
                ticket.release()
            took = time.monotonic() - began
            metrics.RUN_SECONDS.labels(job.simulator).observe(took)
            self.mean_run_seconds += 0.1 * (took - self.mean_run_seconds)
            if not isinstance(reply, Failed):
                return reply
            metrics.FAULTS.labels(reply.fault).inc()
            if last_try or reply.fault != "sandbox":
                self._raise(reply, job)
        raise AssertionError("the last try returns or raises")

    def _raise(self, failed: Failed, job: RunJob | ReferenceJob) -> NoReturn:
        details = {"simulator": job.simulator, "scenario": job.scenario}
        match failed.fault:
            case "sandbox" | "cancelled":
                raise Unavailable(
                    f"the sandbox failed: {failed.message}", reason="SANDBOX_FAULT", retry_after_seconds=1.0
                )
            case "build_changed":
                raise Unavailable(failed.message, reason="SIMULATOR_CHANGED", metadata=details, retry_after_seconds=0.1)
            case "invalid_input":
                raise InvalidArgument.of(failed.field, failed.message)
            case "unavailable":
                raise Unavailable(failed.message, reason="SIMULATOR_FAULT", metadata=details, retry_after_seconds=1.0)
            case "model":
                message = f"simulator {job.simulator}, {job.scenario}: {failed.message}"
                log.error("a simulator's model failed", **details, message=failed.message)
                raise Internal(message, reason="MODEL_FAILED", metadata={**details, "place": failed.field})
            case "simulator":
                message = f"simulator {job.simulator} failed on {job.scenario}: {failed.message}"
                log.error("simulator failed", **details, message=failed.message)
                raise Internal(message, reason="SIMULATOR_FAULT", metadata=details)

    def _common(self, planned: PlannedRequest, scenario: PlannedScenario) -> dict[str, Any]:
        plan: RunPlan = planned.plan
        files = planned.files.get(scenario.name)
        return {
            "job": self._pool.next_job(),
            "simulator": plan.simulator,
            "build": plan.build,
            "scenario": scenario.name,
            "digest": scenario.digest,
            "suite": planned.suite,
            "suite_files": None if planned.suite_files is None else dict(planned.suite_files),
            "files": None if files is None else dict(files),
            "objective": plan.objective.name,
        }


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel those that still run, and wait for all."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_KILLED_TWO_WORKERS = PolicyFailure(
    FailureKind.DIED,
    "the process that simulated it died twice, on two workers; that may be the machine's fault, so this is not kept",
)
