"""What an author of policies may know of a scenario before the first run: jobs, prices, and how spot comes and goes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from statistics import median

from quintain_spot_deadline.rules import Job
from quintain_spot_deadline.scenario import LabelledWindow, SpotScenario

_MOST_LABELS = 12


def scenario_notes(spec: SpotScenario) -> str:
    """One fact a line; see `quintain.plugins.simulator.ScenarioNotes`."""
    lines = [_job(job, count) for job, count in Counter(labelled.window.job for labelled in spec.windows).items()]
    lines.append("- the bound is the cheapest way of each run by one who knows when spot will be there")
    labels: dict[str, list[LabelledWindow]] = {}
    for labelled in spec.windows:
        labels.setdefault(labelled.label, []).append(labelled)
    lines.append(f"- all {len(spec.windows)} runs: {_spot(spec.windows)}")
    if 1 < len(labels) <= _MOST_LABELS:
        lines += [f"- {label}, {len(windows)} runs: {_spot(windows)}" for label, windows in labels.items()]
    return "\n".join(lines)


def _job(job: Job, count: int) -> str:
    slack = job.deadline - job.duration
    return (
        f"- {count} runs: {job.duration / 3600:g} h of work, deadline {job.deadline / 3600:g} h ({slack / 3600:g} h of "
        f"slack), a launch costs {job.overhead} s, ticks of {job.gap} s, spot {job.spot_price:g} and on-demand "
        f"{job.on_demand_price:g} dollars an hour"
    )


def _spot(windows: Sequence[LabelledWindow]) -> str:
    ticks = "".join(w.window.available for w in windows)
    spells: dict[str, list[float]] = {"0": [], "1": []}
    for labelled in windows:
        for state, run in itertools.groupby(labelled.window.available):
            spells[state].append(sum(1 for _ in run) * labelled.window.job.gap / 3600)
    said = [f"spot is there {ticks.count('1') / len(ticks):.0%} of the time"]
    for state, words in (("1", "there"), ("0", "gone")):
        if spells[state]:
            said.append(
                f"{words} for {median(spells[state]):.2g} h at a time (median; longest {max(spells[state]):.3g} h)"
            )
    return ", ".join(said)
