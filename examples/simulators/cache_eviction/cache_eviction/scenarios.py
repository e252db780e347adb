"""The scenarios and suites that the simulator ships, and scenarios from a caller's files."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cache_eviction.engine import most_hits
from cache_eviction.traces import KINDS, Trace, make_trace
from quintain.plugins.simulator import Aggregation, InvalidInput, Part, Scenario, Suite, SuiteEntry

DESCRIPTIONS = {
    "popular": "Independent requests, a few objects popular: frequency is what counts",
    "scan_mix": "A steady part, and a scan over 4,000 objects that come once in a long while: do not let it in",
    "loop": "A loop over more objects than fit: evicting the oldest never hits",
    "phases": "What is popular changes eight times: what was frequent must be forgotten",
    "bursts": "Many objects are asked for a few times and never again",
    "loop_and_phases": "Half of it a loop, half of it phases",
}
TRAIN_KINDS = ("popular", "scan_mix", "loop", "phases")
HELD_OUT_KINDS = ("bursts", "loop_and_phases")
MAX_CAPACITY = 10**6
MAX_REQUESTS = 5 * 10**6


@dataclass(frozen=True, slots=True)
class CacheScenario:
    """What `Scenario.spec` holds."""

    capacity: int
    trace: Trace
    most_hits: int

    @property
    def digest(self) -> str:
        text = "\n".join([str(self.capacity), *map(":".join, zip(self.trace.sources, self.trace.keys, strict=True))])
        return hashlib.sha256(text.encode()).hexdigest()


def spec_of(scenario: Scenario) -> CacheScenario:
    if not isinstance(scenario.spec, CacheScenario):
        raise InvalidInput("scenario", f"{scenario.name!r} does not belong to this simulator")
    return scenario.spec


def _scenario(name: str, description: str, capacity: int, trace: Trace) -> Scenario:
    spec = CacheScenario(capacity, trace, most_hits(trace.keys, capacity))
    return Scenario(name, spec.digest, description, spec, cost=len(trace.keys) / 1000)


# name -> (kind, seed, requests, capacity)
_BUILT_IN: dict[str, tuple[str, int, int, int]] = {
    **{f"{kind}_{seed}": (kind, seed, 20_000, 200) for kind in (*TRAIN_KINDS, *HELD_OUT_KINDS) for seed in (1, 2)},
    **{f"{kind}_3": (kind, 3, 20_000, 100) for kind in TRAIN_KINDS},
    **{f"smoke_{kind}": (kind, 1, 3_000, 100) for kind in ("popular", "scan_mix", "loop", "bursts")},
}


@functools.cache
def built_in(name: str) -> Scenario:
    if name not in _BUILT_IN:
        raise InvalidInput("scenario", f"{name!r} is unknown; known are: {', '.join(_BUILT_IN)}")
    kind, seed, requests, capacity = _BUILT_IN[name]
    return _scenario(name, DESCRIPTIONS[kind], capacity, make_trace(kind, seed, requests))


def _entries(train: list[str], held_out: list[str]) -> tuple[SuiteEntry, ...]:
    return (
        *(SuiteEntry(name, Part.TRAIN) for name in train),
        *(SuiteEntry(name, Part.HELD_OUT) for name in held_out),
    )


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "standard",
            "Four kinds of traffic to train on; other kinds, and other seeds on a smaller cache, held out",
            "hit_rate",
            Aggregation.MEAN_NORMALIZED,
            _entries(
                [f"{kind}_{seed}" for kind in TRAIN_KINDS for seed in (1, 2)],
                [*(f"{kind}_{seed}" for kind in HELD_OUT_KINDS for seed in (1, 2)), *(f"{k}_3" for k in TRAIN_KINDS)],
            ),
        ),
        Suite(
            "smoke",
            "Three short traces and a held-out one, for tests and first steps",
            "hit_rate",
            Aggregation.MEAN_NORMALIZED,
            _entries(["smoke_popular", "smoke_scan_mix", "smoke_loop"], ["smoke_bursts"]),
        ),
    )
}


def from_files(name: str, files: Mapping[str, bytes]) -> Scenario:
    """``scenario.toml`` with ``capacity``, and ``trace.csv`` with a column ``key`` (and ``source``, if you like)."""
    table = _toml("scenario.toml", files)
    _known("scenario.toml", table, {"capacity", "description"})
    return _from_table("scenario.toml", name, table, "trace.csv", files)


def suite_from_files(name: str, files: Mapping[str, bytes]) -> tuple[Suite, dict[str, Scenario]]:
    """``suite.toml`` with ``[[scenarios]]``: of each ``name``, ``part``, ``capacity``, ``trace`` (a file)."""
    table = _toml("suite.toml", files)
    _known("suite.toml", table, {"description", "scenarios"})
    entries: list[SuiteEntry] = []
    scenarios: dict[str, Scenario] = {}
    for number, entry in enumerate(table.get("scenarios", []), start=1):
        where = f"suite.toml:scenarios[{number}]"
        _known(where, entry, {"name", "part", "capacity", "trace", "description"})
        own = entry.get("name")
        if not isinstance(own, str) or not own or own in scenarios:
            raise InvalidInput(f"{where}.name", f"{own!r} is empty or there twice")
        if entry.get("part") not in ("train", "held_out"):
            raise InvalidInput(f"{where}.part", f"{entry.get('part')!r} is not one of train, held_out")
        scenarios[own] = _from_table(where, own, entry, str(entry.get("trace")), files)
        entries.append(SuiteEntry(own, Part(entry["part"])))
    if not any(entry.part is Part.TRAIN for entry in entries):
        raise InvalidInput("suite.toml:scenarios", "none is of part 'train'; a score counts those only")
    description = str(table.get("description", ""))
    return Suite(name, description, "hit_rate", Aggregation.MEAN_NORMALIZED, tuple(entries)), scenarios


def template() -> dict[str, bytes]:
    """Two short traces and the table that names them."""
    table = "".join(
        f'[[scenarios]]\nname = "{name}"\npart = "{part}"   # train or held_out\n'
        f'capacity = 100   # objects\ntrace = "{name}.csv"   # columns: key, and source if you like\n\n'
        for name, part in (("monday", "train"), ("tuesday", "held_out"))
    )
    traces = {"monday.csv": make_trace("popular", 1, 3_000), "tuesday.csv": make_trace("bursts", 2, 3_000)}
    files = {"suite.toml": table.encode()}
    for name, trace in traces.items():
        rows = ["key,source", *map(",".join, zip(trace.keys, trace.sources, strict=True)), ""]
        files[name] = "\n".join(rows).encode()
    return files


def _toml(file: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        return tomllib.loads(_file(file, files).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(file, f"is not TOML: {error}") from error


def _file(file: str, files: Mapping[str, bytes]) -> bytes:
    if file not in files:
        raise InvalidInput(file, f"is missing; the files given are: {', '.join(sorted(files)) or 'none'}")
    return files[file]


def _known(where: str, table: Mapping[str, Any], keys: set[str]) -> None:
    if unknown := sorted(table.keys() - keys):
        raise InvalidInput(f"{where}:{unknown[0]}", f"unknown key; known are: {', '.join(sorted(keys))}")


def _from_table(where: str, name: str, table: Mapping[str, Any], trace: str, files: Mapping[str, bytes]) -> Scenario:
    capacity = table.get("capacity")
    if not isinstance(capacity, int) or isinstance(capacity, bool) or not 1 <= capacity <= MAX_CAPACITY:
        raise InvalidInput(f"{where}:capacity", f"{capacity!r} is not a whole number from 1 to {MAX_CAPACITY}")
    return _scenario(name, str(table.get("description", "")), capacity, _read_trace(trace, _file(trace, files)))


def _read_trace(file: str, data: bytes) -> Trace:
    try:
        rows = csv.DictReader(io.StringIO(data.decode(), newline=""))
        if "key" not in (rows.fieldnames or ()):
            raise InvalidInput(f"{file}:1", f"needs a column 'key'; it has {rows.fieldnames}")
        keys: list[str] = []
        sources: list[str] = []
        for row in rows:
            if not row["key"]:
                raise InvalidInput(f"{file}:{rows.line_num}:key", "is empty")
            keys.append(row["key"])
            sources.append(row.get("source") or "all")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(file, f"is not a CSV file in UTF-8: {error}") from error
    if not 1 <= len(keys) <= MAX_REQUESTS:
        raise InvalidInput(file, f"has {len(keys)} requests; 1 to {MAX_REQUESTS} are possible")
    return Trace(tuple(keys), tuple(sources))


assert set(TRAIN_KINDS) | set(HELD_OUT_KINDS) == set(KINDS)
