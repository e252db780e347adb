"""How runs of system packages and logs become recordings: the entry point ``quintain.recorders: system``."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

from quintain.plugins.recorder import Exceeded, Files, RecordedRun, RecordingsReport
from quintain.plugins.simulator import InvalidInput, narrowed
from quintain_system.fit.counterexamples import recorded_limits
from quintain_system.fit.episode import episode_of, kinds_by_number
from quintain_system.fit.reach import beyond, reach_of
from quintain_system.form.package import SYSTEM_FILE, Package, read_toml
from quintain_system.form.spec import SystemSpec
from quintain_system.package_simulator import PackageSimulator
from quintain_system.plugin import simulator
from quintain_system.recordings.consistency import consistency, never_occurred, placed
from quintain_system.recordings.form import (
    Recording,
    file_of,
    is_recording,
    packed,
    read_recording,
    read_recordings,
    unchecked,
)
from quintain_system.recordings.importer import import_log, read_map
from quintain_system.recordings.split import split_of
from quintain_system.recordings.view import reduced, suite_files, visible_package


class SystemRecorder:
    """Satisfies `Recorder`, `RecordingReader` and `ReachJudge`."""

    def package(self, runs: Sequence[RecordedRun], hide: Sequence[str] = ()) -> tuple[Files, Sequence[str]]:
        package, objective = _package(runs[0].suite, runs[0].files)
        visible, lost = visible_package(package, hide)
        spec = _spec(visible)
        wholes = [(short_name(run.scenario), run.part, reduced(_whole(run), spec)) for run in runs]
        return {**visible, **suite_files(spec, objective, wholes)}, lost

    def recording(self, package: Files, run: RecordedRun) -> tuple[str, bytes]:
        name = f"{short_name(run.scenario)}-{run.policy}"
        file = file_of(name)
        spec = _spec(package)
        made = reduced(replace(_whole(run), name=name, policy=run.policy), spec)
        content = packed(made)
        read_recording(file, content, spec)  # says what the package demands and this run does not have
        return file, content

    def policy(self, source: str) -> str:
        return source

    def check(self, package: Files) -> RecordingsReport:
        spec = _spec(package)
        said: list[str] = []
        wrong: list[str] = []
        notes: list[str] = []
        read: list[Recording] = []
        occurred: Counter[str] = Counter()
        for file in sorted(filter(is_recording, package)):
            found = read_recording(file, package[file], spec)
            report = consistency(found, placed(file, found.entries), spec)
            read.append(found)
            said.append(f"{file}: {report.entries} entries in {found.duration:g} s under {found.policy}")
            wrong += report.words()
            occurred += report.occurred
            notes += [f"{file}: {note}" for note in report.notes]
        unverified: list[str] = []
        if read:
            split = split_of(read, package)
            said += [f"{part}: {_parts_text(chosen)}" for part, chosen in split.parts.items()]
            unverified += [*split.unverified, *never_occurred(spec, occurred)]
        return RecordingsReport(said, wrong, notes, unverified)

    def exceeded(self, package: Files, runs: Mapping[str, bytes]) -> Mapping[str, Sequence[Exceeded]]:
        spec = _spec(package)
        kinds = kinds_by_number(spec)
        limits = recorded_limits(spec, kinds, read_recordings(package, spec))
        found: dict[str, Sequence[Exceeded]] = {}
        for name, content in runs.items():
            run = read_recording(file_of(name), content, spec)
            reach = reach_of(spec, kinds, episode_of(run, kinds).history, run.config, run.duration)
            found[name] = beyond(kinds, limits, reach)
        return found

    def import_log(
        self,
        package: Files,
        name: str,
        column_map: bytes,
        rows: Iterable[tuple[str, Mapping[str, Any]]],
        out: IO[bytes],
        start: float,
        seconds: float,
    ) -> RecordingsReport:
        spec = _spec(package)
        made = import_log(name, spec, read_map(column_map, spec), rows, out, start=start, seconds=seconds)
        left_out = [f"not carried over: {words}" for words in made.left_out]
        never = never_occurred(spec, made.consistency.occurred)
        said = [f"{made.entries} entries in {made.duration:g} s"]
        return RecordingsReport(said, list(made.consistency.words()), [*left_out, *made.consistency.notes], never)


recorder = SystemRecorder()


def _parts_text(chosen: Sequence[Recording]) -> str:
    """``monday 0-60 80-100 s, tuesday 0-100 s``"""
    if not chosen:
        return "nothing"
    return ", ".join(f"{r.name} {' '.join(f'{low:g}-{high:g}' for low, high in r.windows)} s" for r in chosen)


def short_name(scenario: str) -> str:
    """``package/suite/steady`` -> ``steady``: scenarios of one suite are told apart by their last name."""
    return scenario.rpartition("/")[2]


def _package(suite: str, files: Files | None) -> tuple[Package, str]:
    found = narrowed(simulator, suite, files=files)
    assert isinstance(found, PackageSimulator)
    return found.package, found.suite(suite).objective


def _spec(package: Files) -> SystemSpec:
    if SYSTEM_FILE not in package:
        raise InvalidInput(SYSTEM_FILE, "is missing; recordings belong to a system package")
    return read_toml(SYSTEM_FILE, package[SYSTEM_FILE], SystemSpec)


def _whole(run: RecordedRun) -> Recording:
    """The run with all that is hidden. Its own `system.toml` wrote it, so nothing is checked but the form."""
    document = json.loads(run.detail)
    if not document["recording"]:
        raise InvalidInput(run.scenario, "the run is too long to record; split the scenario by time")
    return unchecked(base64.b64decode(document["recording"]))
