"""How runs of system packages become recordings: the entry point ``quintain.recorders: system``."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace

from quintain.plugins.recorder import Files, RecordedRun
from quintain.plugins.simulator import InvalidInput, narrowed
from quintain_system.form.package import SYSTEM_FILE, Package, read_toml
from quintain_system.form.spec import SystemSpec
from quintain_system.package_simulator import PackageSimulator
from quintain_system.plugin import simulator
from quintain_system.recordings.form import Recording, file_of, packed, read_recording, unchecked
from quintain_system.recordings.view import reduced, suite_files, visible_package


class SystemRecorder:
    """Satisfies `Recorder`."""

    def package(
        self, suite: str, files: Files | None, runs: Sequence[RecordedRun], hide: Sequence[str] = ()
    ) -> tuple[Files, Sequence[str]]:
        package, objective = _package(suite, files)
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


recorder = SystemRecorder()


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
