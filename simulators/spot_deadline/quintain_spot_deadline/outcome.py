"""One policy on one scenario: every window a run of its own, and what they add up to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from statistics import fmean

from quintain.plugins.simulator import (
    FailureKind,
    Group,
    OpenPolicy,
    Outcome,
    PolicyError,
    PolicyFailure,
    RunOptions,
    Scenario,
    TimelineEvent,
)
from quintain_spot_deadline.conversation import Conversation, checked_mode
from quintain_spot_deadline.engine import Run, Window, run_window
from quintain_spot_deadline.objective import saved
from quintain_spot_deadline.optima import optimal_cost
from quintain_spot_deadline.scenario import LabelledWindow, spec_of

MAX_LOG = 2000  # changes of mind that can be looked at afterwards
WORST_RUNS = 3  # told of in the timeline


@dataclass(frozen=True, slots=True)
class Done:
    """A run that came to its end."""

    number: int
    labelled: LabelledWindow
    run: Run

    @property
    def window(self) -> Window:
        return self.labelled.window

    @property
    def cost(self) -> float:
        return self.run.cost(self.window.job)

    @property
    def late(self) -> bool:
        return self.run.late(self.window.job)


def run_scenario(scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
    """Every window has a policy that was opened for it alone: what one has seen of a series, the next does not know."""
    wanted = checked_mode(options.calling_mode)
    done: list[Done] = []
    log: list[str] = []
    digest = hashlib.sha256()
    mode, failure = wanted, None
    for number, labelled in enumerate(spec_of(scenario).windows):
        run = Run()
        try:
            policy = open_policy({"job": list(labelled.window.job), "calling_mode": wanted})
            conversation = Conversation(policy, wanted)
            mode = mode or conversation.calling_mode
            run_window(labelled.window, conversation.decide, run)
        except PolicyError as error:
            failure = _located(error.failure, number, labelled, run)
        digest.update(f"{number}:{','.join(run.decided)}\n".encode())
        _note(log, number, run)
        if failure is not None:
            break
        done.append(Done(number, labelled, run))
    return Outcome(
        scenario=scenario.name,
        metrics=_metrics(done),
        groups=_groups(done),
        decisions_digest=digest.hexdigest(),
        calling_mode=mode,
        failure=failure,
        timeline=_worst(done),
        decision_log=tuple(log),
    )


def _located(failure: PolicyFailure, number: int, labelled: LabelledWindow, run: Run) -> PolicyFailure:
    """With the run and the tick in which it happened, once there was one."""
    if failure.kind is FailureKind.LOAD:
        return failure
    tick = len(run.machines)
    message = f"run {number} ({labelled.label}): {failure.message}"
    return replace(failure, message=message, step=tick, time_seconds=float(tick * labelled.window.job.gap))


def _note(log: list[str], number: int, run: Run) -> None:
    """What was asked for, wherever it changed: ``window tick decision``."""
    last = ""
    for tick, decision in enumerate(run.decided):
        if decision != last and len(log) < MAX_LOG:
            log.append(f"{number} {tick} {decision}")
        last = decision


def _metrics(done: list[Done]) -> dict[str, float]:
    if not done:
        return {}
    ends = [one.run.finish_tick * one.window.job.gap for one in done if one.run.finish_tick is not None]
    metrics = {
        "runs": float(len(done)),
        "mean_cost": fmean(one.cost for one in done),
        "adrs_score": fmean(saved(one.window.job, one.cost) for one in done),
        "in_time_score": fmean(0.0 if one.late else saved(one.window.job, one.cost) for one in done),
        "late_runs": float(sum(one.late for one in done)),
        "spot_ticks_per_run": fmean(one.run.spot_ticks for one in done),
        "on_demand_ticks_per_run": fmean(one.run.on_demand_ticks for one in done),
        "waited_ticks_per_run": fmean(one.run.waited_ticks for one in done),
        "launches_per_run": fmean(one.run.launches for one in done),
        "preemptions_per_run": fmean(one.run.preemptions for one in done),
        "spot_share": sum(one.run.spot_ticks for one in done)
        / max(1, sum(one.run.spot_ticks + one.run.on_demand_ticks for one in done)),
    }
    if ends:
        metrics["mean_finish_seconds"] = fmean(ends)
    return metrics


def _groups(done: list[Done]) -> tuple[Group, ...]:
    """By label, in the order of the windows."""
    by_label: dict[str, list[Done]] = {}
    for one in done:
        by_label.setdefault(one.labelled.label, []).append(one)
    return tuple(Group(label, _metrics(group)) for label, group in by_label.items())


def _worst(done: list[Done]) -> tuple[TimelineEvent, ...]:
    """The late runs first, then those that lost most against one who knew the future. Time is that of their end."""
    lost = {one.number: one.cost - optimal_cost(one.window, in_time=True) for one in done}
    worst = sorted(done, key=lambda one: (not one.late, -lost[one.number], one.number))[:WORST_RUNS]
    return tuple(_told(one, lost[one.number]) for one in worst)


def _told(one: Done, lost: float) -> TimelineEvent:
    run, job = one.run, one.window.job
    finish = run.finish_tick if run.finish_tick is not None else len(run.machines)
    spare = job.deadline // job.gap - finish
    when = f"ended {spare} ticks before its deadline" if spare >= 0 else f"LATE by {-spare} ticks"
    unused = sum(
        sample == "1" and machine != "s" for sample, machine in zip(one.window.available, run.machines, strict=False)
    )
    return TimelineEvent(
        float(finish * job.gap),
        f"run {one.number} ({one.labelled.label}): {one.cost:.2f} USD, {lost:.2f} more than the optimum; {when}; spot"
        f" {run.spot_ticks}, on-demand {run.on_demand_ticks}, waited {run.waited_ticks} ticks; {run.launches} launches,"
        f" {run.preemptions} preemptions; {unused} ticks of spot not used",
    )
