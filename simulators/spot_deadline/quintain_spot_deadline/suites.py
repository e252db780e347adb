"""The built-in scenarios and suites: generated ones, and those that need the user's recordings."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from quintain.plugins.simulator import Aggregation, InvalidInput, Part, Scenario, Suite, SuiteEntry
from quintain_spot_deadline import recorded
from quintain_spot_deadline.engine import Window
from quintain_spot_deadline.generator import PROFILES, generate
from quintain_spot_deadline.job import DEADLINES, OVERHEADS, checked_window, job
from quintain_spot_deadline.recorded import WINDOW_TICKS
from quintain_spot_deadline.scenario import LabelledWindow, make_scenario
from quintain_spot_deadline.settings import VARIABLE, data_folder

WINDOWS_OF_A_PROFILE = {"train": 4, "held_out": 8}  # train is verified hundreds of times, held out once
SMOKE_PROFILES = ("mostly", "scarce")
# The series that the public table never uses, and where their train windows end (ticks): the held-out ones begin there.
UNSCORED = ("us-west-2a_k80_1", "us-west-2b_v100_8")
TRAIN_ENDS = 882
RECORDED_EVERY = 41  # ticks from one window to the next
RECORDED_SUITES = ("spot-recorded", "adrs-single")
NO_DATA = f"needs recorded series: name their folder in {VARIABLE} (docs/spot-deadline.md)"


@functools.cache
def scenarios() -> Mapping[str, Scenario]:
    """Every built-in scenario that there is here, by name."""
    return {scenario.name: scenario for scenario in (*_generated(), *_from_recordings()[0])}


def unavailable() -> Mapping[str, str]:
    """Suites that cannot be used here, by name, with the reason."""
    return _from_recordings()[1]


@functools.cache
def _from_recordings() -> tuple[list[Scenario], Mapping[str, str]]:
    """-> (scenarios, suites that cannot be made with the reason). A folder that is no good costs only its suites."""
    folder = data_folder()
    if folder is None:
        return [], dict.fromkeys(RECORDED_SUITES, NO_DATA)
    try:
        recordings = recorded.load(folder)
        missing = [name for name in UNSCORED if name not in recordings.series]
        reasons = {"spot-recorded": f"series.tsv has no series {', '.join(missing)}"} if missing else {}
        own = [] if missing else _unscored_scenarios(recordings)
        return [*own, *_published_scenarios(recordings)], reasons
    except InvalidInput as error:
        return [], dict.fromkeys(RECORDED_SUITES, f"the folder in {VARIABLE} cannot be used: {error}")


@functools.cache
def suites() -> Mapping[str, Suite]:
    """The suites that can be used here, by name."""
    names = list(scenarios())
    every = [
        Suite(
            "spot",
            "Jobs of 48 h on generated availability of eight kinds, before deadlines of 52 and 70 h, with three launch"
            " overheads; held out: other series of the same kinds",
            "never_late",
            Aggregation.MEAN_NORMALIZED,
            _entries(names, "spot"),
        ),
        Suite(
            "smoke",
            "A few generated windows, for tests and first steps",
            "never_late",
            Aggregation.MEAN_NORMALIZED,
            _entries(names, "smoke"),
        ),
        Suite(
            "spot-recorded",
            "As spot, on recorded series that the public table does not use; held out: their later days",
            "never_late",
            Aggregation.MEAN_NORMALIZED,
            _entries(names, "recorded"),
        ),
        Suite(
            "adrs-single",
            "The 1,080 runs of the public table (can't be late, single region), to compare with what others published:"
            " do not search on it",
            "adrs",
            Aggregation.MEAN_NORMALIZED,
            _entries(names, "adrs"),
        ),
    ]
    return {suite.name: suite for suite in every if suite.name not in unavailable()}


def _entries(names: list[str], first: str) -> tuple[SuiteEntry, ...]:
    """Scenarios are called ``suite_part_...``, those of the public table ``adrs_...``."""
    return tuple(
        SuiteEntry(name, Part.HELD_OUT if name.startswith(f"{first}_held_out_") else Part.TRAIN)
        for name in names
        if name.startswith(f"{first}_")
    )


def _generated() -> list[Scenario]:
    made = []
    for part in ("train", "held_out"):
        for overhead in OVERHEADS:
            for deadline in DEADLINES:
                name = f"spot_{part}_{overhead}s_{deadline // 3600}h"
                made.append(_of_profiles(name, part, tuple(PROFILES), WINDOWS_OF_A_PROFILE[part], overhead, deadline))
    for part, overhead, deadline in (
        ("train", OVERHEADS[0], DEADLINES[1]),
        ("train", OVERHEADS[2], DEADLINES[0]),
        ("held_out", OVERHEADS[1], DEADLINES[0]),
    ):
        name = f"smoke_{part}_{overhead}s_{deadline // 3600}h"
        made.append(_of_profiles(name, f"smoke/{part}", SMOKE_PROFILES, 2, overhead, deadline))
    return made


def _of_profiles(
    name: str, seed: str, profiles: tuple[str, ...], windows: int, overhead: int, deadline: int
) -> Scenario:
    """The same series for every overhead and deadline, as in the public table."""
    wanted = job(overhead=overhead, deadline=deadline)
    made = tuple(
        LabelledWindow(
            profile,
            checked_window(name, Window(wanted, generate(PROFILES[profile], WINDOW_TICKS, f"{seed}/{profile}/{n}"))),
        )
        for profile in profiles
        for n in range(windows)
    )
    return make_scenario(name, _describe(overhead, deadline, len(made)), made)


def _describe(overhead: int, deadline: int, windows: int) -> str:
    return f"{windows} windows: 48 h of work in {deadline // 3600} h, {overhead} s lost at every launch"


def _unscored_scenarios(recordings: recorded.Recordings) -> list[Scenario]:
    made = []
    for part in ("train", "held_out"):
        for overhead in OVERHEADS:
            for deadline in DEADLINES:
                windows = _unscored(recordings, part, overhead, deadline)
                name = f"recorded_{part}_{overhead}s_{deadline // 3600}h"
                made.append(make_scenario(name, _describe(overhead, deadline, len(windows)), windows))
    return made


def _published_scenarios(recordings: recorded.Recordings) -> list[Scenario]:
    groups: dict[tuple[str, int, int], list[LabelledWindow]] = {}
    for run in recordings.runs:
        key = (run.series, run.window.job.overhead, run.window.job.deadline)
        groups.setdefault(key, []).append(LabelledWindow(run.series, run.window))
    return [
        make_scenario(
            f"adrs_{series}_{overhead}s_{deadline // 3600}h",
            f"{series}: {_describe(overhead, deadline, len(group))}",
            tuple(group),
        )
        for (series, overhead, deadline), group in groups.items()
    ]


def _unscored(recordings: recorded.Recordings, part: str, overhead: int, deadline: int) -> tuple[LabelledWindow, ...]:
    wanted = job(overhead=overhead, deadline=deadline)
    return tuple(
        LabelledWindow(
            name, checked_window(f"series.tsv:{name}", Window(wanted, series[offset : offset + WINDOW_TICKS]))
        )
        for name in UNSCORED
        if (series := recordings.series[name])
        for offset in _offsets(part, len(series))
    )


def _offsets(part: str, ticks: int) -> range:
    if part == "train":
        return range(0, TRAIN_ENDS - WINDOW_TICKS + 1, RECORDED_EVERY)
    return range(TRAIN_ENDS, ticks - WINDOW_TICKS + 1, RECORDED_EVERY)
