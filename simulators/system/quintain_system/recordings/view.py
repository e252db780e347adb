"""A package as those see it who do not know how the system works inside: without its model, and without what is hidden.

What needs something hidden goes as well (a metric over a hidden field, a bound), and each loss is said.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import tomllib
from collections.abc import Sequence
from typing import Any

from quintain.plugins.simulator import InvalidInput, Part
from quintain_system.form.checks import check_system
from quintain_system.form.package import (
    BASELINES_FOLDER,
    GRAMMAR_FILE,
    GUIDE_FILE,
    SUITE_FILE,
    SYSTEM_FILE,
    Package,
    Placed,
    decoded,
    read_toml,
)
from quintain_system.form.spec import SystemSpec
from quintain_system.form.toml_text import toml_text
from quintain_system.recordings.form import Recording

_SECTIONS = ("inputs", "decisions", "events")
# What may go, by its place in system.toml: an objective's bound before the objective.
_LOSABLE = (
    re.compile(r"(objectives)\.([^.]+)\.(bound)$"),
    re.compile(r"((?:inputs|events))\.([^.]+)\.fields\.([^.]+)"),
    re.compile(r"(metrics|invariants|objectives)\.([^.]+)"),
    re.compile(r"(classes)"),
    re.compile(r"(descriptors)\[(\d+)\]"),
)


def visible_package(package: Package, hide: Sequence[str] = ()) -> tuple[dict[str, bytes], list[str]]:
    """The files without model, workload and suites; and what is lost, one line each. `hide` names more that is hidden:
    ``config.KEY``, ``inputs.KIND`` or ``inputs.KIND.FIELD`` and so on. Raises InvalidInput for what is not there, or if
    what is left is no package (no objective)."""
    table = tomllib.loads(decoded(SYSTEM_FILE, package.files[SYSTEM_FILE]))
    _drop_hidden(table, package.spec)
    for place in hide:
        _hide(table, place)
    lost = _drop_broken(table)
    files = {SYSTEM_FILE: toml_text(table).encode()}
    for name, data in package.files.items():
        if name.startswith((BASELINES_FOLDER, "grammar/")) or name in (GUIDE_FILE, GRAMMAR_FILE):
            files[name] = data
    return files, lost


def reduced(recording: Recording, spec: SystemSpec) -> Recording:
    """Of a recording of the whole system what `spec` declares. It is checked when it is read."""
    kinds = {"input": spec.inputs, "decision": spec.decisions, "event": spec.events}
    entries = []
    for entry in recording.entries:
        declared = kinds[entry.role].get(entry.kind)
        if declared is not None:
            fields = {name: entry.fields[name] for name in declared.fields if name in entry.fields}
            entries.append(type(entry)(entry.time, entry.role, entry.kind, fields))
    config = {key: value for key, value in recording.config.items() if key in spec.config}
    return Recording(
        recording.name,
        spec.name,
        recording.policy,
        config,
        recording.duration,
        tuple(entries),
        recording.start,
        recording.about,
    )


def suite_files(
    spec: SystemSpec, objective: str, recordings: Sequence[tuple[str, Part, Recording]]
) -> dict[str, bytes]:
    """A suite whose scenarios have the inputs of recordings: (scenario's name, part, recording) for each."""
    files: dict[str, bytes] = {}
    scenarios = []
    chosen = objective if objective in spec.objectives else next(iter(spec.objectives))
    for name, part, recording in recordings:
        trace = f"{name}.csv.gz"
        files[trace] = _trace(recording, spec)
        config = {
            key: list(v) if isinstance(v, tuple) else v
            for key, v in recording.config.items()
            if v != spec.config[key].default
        }
        scenario = {"name": name, "part": part.value, "duration": recording.duration, "trace": trace}
        scenarios.append({**scenario, **({"config": config} if config else {})})
    files[SUITE_FILE] = toml_text({"objective": chosen, "scenarios": scenarios}).encode()
    return files


def _trace(recording: Recording, spec: SystemSpec) -> bytes:
    fields = list(dict.fromkeys(field for kind in spec.inputs.values() for field in kind.fields))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["time", "kind", *fields])
    for entry in recording.entries:
        if entry.role == "input":
            rows.writerow([repr(entry.time), entry.kind, *(_cell(entry.fields.get(field)) for field in fields)])
    return gzip.compress(text.getvalue().encode(), mtime=0)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _drop_hidden(table: dict[str, Any], spec: SystemSpec) -> None:
    table.pop("parameters", None)
    for key in [key for key, of in spec.config.items() if of.hidden]:
        del table["config"][key]
    for section in _SECTIONS:
        for name, kind in getattr(spec, section).items():
            if kind.hidden:
                del table[section][name]
                continue
            for field in [field for field, of in kind.fields.items() if of.hidden]:
                del table[section][name]["fields"][field]


def _hide(table: dict[str, Any], place: str) -> None:
    section, _, rest = place.partition(".")
    name, _, field = rest.partition(".")
    holder = table.get(section, {}) if section in ("config", "inputs", "events") else {}
    if field and section != "config":
        holder, name = holder.get(name, {}).get("fields", {}), field
    if name not in holder or (field and section == "config"):
        message = "is not declared; name config.KEY, inputs.KIND, events.KIND, or a field of those (inputs.KIND.FIELD)"
        raise InvalidInput(f"hide:{place}", message)
    del holder[name]


def _drop_broken(table: dict[str, Any]) -> list[str]:
    """Take away what does not fit without the hidden, one thing after the other."""
    lost: list[str] = []
    while True:
        text = toml_text(table)
        try:
            spec = read_toml(SYSTEM_FILE, text.encode(), SystemSpec)
            check_system(spec, Placed(SYSTEM_FILE, text))
            return lost
        except InvalidInput as error:
            place = error.field.partition(":")[2].partition(":")[2]
            lost.append(_drop(table, place, error))


def _drop(table: dict[str, Any], place: str, error: InvalidInput) -> str:
    for pattern in _LOSABLE:
        found = pattern.match(place)
        if found is None:
            continue
        match found.groups():
            case ("objectives", name, "bound"):
                del table["objectives"][name]["bound"]
            case (("inputs" | "events") as section, name, field):
                del table[section][name]["fields"][field]
            case ("descriptors", number):
                del table["descriptors"][int(number) - 1]
            case ("classes",):
                del table["classes"]
            case (section, name):
                del table[section][name]
        return f"{found[0]}: {error.message}"
    raise InvalidInput(error.field, f"{error.message}: without what is hidden this is no system package") from error
