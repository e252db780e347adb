"""Suites: a directory with `suite.toml` and the traces it names. The built-in ones are shipped in the wheel.

    description = "..."
    objective = "throughput"
    aggregation = "mean_normalized"      # or "median_value"

    [defaults.cluster]                   # what every scenario has unless it says otherwise
    ram_gb_per_pool = 500

    [[scenarios]]                        # a scenario file's table, with a name and a part
    name = "burst"
    part = "train"                       # or "held_out"
    workload.trace = "burst.csv.gz"

The score of a suite counts its train part only; held-out scenarios are run to see whether a gain carries over.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from quintain.plugins.simulator import Aggregation, InvalidInput, Part, Scenario, Suite, SuiteEntry
from quintain_faas.objective import OBJECTIVES
from quintain_faas.scenario import (
    SECTIONS,
    ReadFile,
    checked,
    parse_toml,
    scenario_from_table,
    spec_of,
    workload_of,
)

SUITE_FILE = "suite.toml"
BUILT_IN = ("paper-reference", "standard", "smoke")


@dataclass(frozen=True, slots=True)
class LoadedSuite:
    suite: Suite
    scenarios: Mapping[str, Scenario]  # by name, in the suite's order


@functools.cache
def built_in_suites() -> Mapping[str, LoadedSuite]:
    """The suites of the wheel, by name."""
    root = resources.files("quintain_faas") / "suites"
    return {name: _load(_in(root / name), f"{name}/{SUITE_FILE}", name) for name in BUILT_IN}


@functools.cache
def built_in_scenarios() -> Mapping[str, Scenario]:
    """The scenarios of all built-in suites; no two share a name."""
    return {name: s for loaded in built_in_suites().values() for name, s in loaded.scenarios.items()}


def load_suite(path: str | Path) -> LoadedSuite:
    """A suite from your own directory. Raises InvalidInput with the file and the entry."""
    folder = Path(path)
    return _checked(_load(_in(folder), str(folder / SUITE_FILE), folder.name))


def suite_from_files(name: str, files: Mapping[str, bytes]) -> LoadedSuite:
    """A suite that comes as a folder's files: ``suite.toml``, or ``suites/NAME.toml`` for the name ``folder/NAME``; its
    traces lie beside it. Every trace is read. Raises InvalidInput with file, row and column."""
    chosen = name.rpartition("/")[2]
    folder, file = ("suites/", f"{chosen}.toml") if "/" in name else ("", SUITE_FILE)
    if folder + file not in files:
        given = ", ".join(sorted(files)[:20]) or "none"
        raise InvalidInput(folder + file, f"is missing; the files given are: {given}")
    return _checked(_load(lambda wanted: files[folder + wanted], folder + file, name, file))


FEW_TRAIN = 5  # of fewer, no interval of an improvement can be told


def weaknesses(loaded: LoadedSuite) -> list[str]:
    """What a suite cannot tell, one line each."""
    notes = []
    parts = [entry.part for entry in loaded.suite.entries]
    train, held_out = parts.count(Part.TRAIN), parts.count(Part.HELD_OUT)
    if held_out == 0:
        notes.append("there are no held-out scenarios: nothing will say whether a gain carries over")
    if train < FEW_TRAIN:
        notes.append(f"{train} train scenarios: of fewer than {FEW_TRAIN} no interval of an improvement can be told")
    seen: dict[str, str] = {}
    for name, scenario in loaded.scenarios.items():
        if other := seen.get(scenario.digest):
            notes.append(f"{name} is the same scenario as {other}")
        seen.setdefault(scenario.digest, name)
        spec = spec_of(scenario)
        late = (
            sum(p.arrival_seconds >= spec.params.duration for p in workload_of(spec).pipelines()) if spec.trace else 0
        )
        if late:
            notes.append(f"{name}: {late} pipelines arrive after its end, {spec.params.duration:g} s, and never run")
    return notes


def _checked(loaded: LoadedSuite) -> LoadedSuite:
    for scenario in loaded.scenarios.values():
        checked(scenario)
    return loaded


def _in(folder: Traversable) -> ReadFile:
    return lambda name: (folder / name).read_bytes()


def _load(read_file: ReadFile, where: str, name: str, file: str = SUITE_FILE) -> LoadedSuite:
    try:
        data = read_file(file)
    except OSError as error:
        raise InvalidInput(where, f"cannot be read: {error.strerror}") from error
    table = parse_toml(where, data)
    known = {"description", "objective", "aggregation", "defaults", "scenarios"}
    for key in table:
        if key not in known:
            raise InvalidInput(f"{where}:{key}", f"unknown key; known are: {', '.join(sorted(known))}")
    defaults = _defaults(where, table.get("defaults", {}))
    entries: list[SuiteEntry] = []
    scenarios: dict[str, Scenario] = {}
    listed = table.get("scenarios", [])
    if not isinstance(listed, list) or not listed:
        raise InvalidInput(f"{where}:scenarios", "needs at least one [[scenarios]] entry")
    for number, entry in enumerate(listed, start=1):
        scenario, part = _entry(f"{where}:scenarios[{number}]", entry, defaults, read_file)
        if scenario.name in scenarios:
            raise InvalidInput(f"{where}:scenarios[{number}].name", f"{scenario.name!r} is there twice")
        scenarios[scenario.name] = scenario
        entries.append(SuiteEntry(scenario.name, part))
    if all(e.part is Part.HELD_OUT for e in entries):
        raise InvalidInput(f"{where}:scenarios", "none is of part 'train', and a score counts train scenarios only")
    suite = Suite(
        name=name,
        description=str(table.get("description", "")),
        objective=_choice(f"{where}:objective", table.get("objective"), OBJECTIVES),
        aggregation=Aggregation(
            _choice(f"{where}:aggregation", table.get("aggregation"), [a.value for a in Aggregation])
        ),
        entries=tuple(entries),
    )
    return LoadedSuite(suite, scenarios)


def _entry(where: str, entry: Any, defaults: Mapping[str, Any], read_file: ReadFile) -> tuple[Scenario, Part]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise InvalidInput(where, "needs a name")
    table = {k: v for k, v in entry.items() if k not in ("name", "part")}
    for section, values in defaults.items():
        own = table.get(section)
        if section == "generator" and own is None:
            continue  # defaults of the generator do not turn a trace scenario into a generated one
        if own is None or isinstance(own, dict):
            table[section] = {**values, **(own or {})}
    part = Part(_choice(f"{where}.part", entry.get("part"), [p.value for p in Part]))
    named = f"{where} ({entry['name']})"
    return scenario_from_table(named, entry["name"], table, read_file), part


def _defaults(where: str, defaults: Any) -> Mapping[str, Any]:
    if not isinstance(defaults, dict) or not all(isinstance(v, dict) for v in defaults.values()):
        raise InvalidInput(f"{where}:defaults", "must hold tables like [defaults.cluster]")
    for section in defaults:
        if section not in SECTIONS:
            raise InvalidInput(f"{where}:defaults.{section}", f"unknown table; known are: {', '.join(SECTIONS)}")
    return defaults


def _choice(where: str, value: Any, known: Any) -> str:
    if value not in known:
        raise InvalidInput(where, f"{value!r} is not one of {', '.join(known)}")
    return str(value)
