"""Readers of public data sets, from files that the user has fetched and unpacked. Their schemas: docs/traces.md."""

from __future__ import annotations

import hashlib
import json
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quintain.errors import InvalidArgument
from quintain.plugins.trace import Row
from quintain_cli.traces.files import Record, open_text, read_csv

MINUTES = 1440
PERCENTILES = (0, 1, 25, 50, 75, 99, 100)
ADRS_GAP_SECONDS = 600  # of a tick, where a window file does not say
TAKEN = 2**64  # hashes below share * TAKEN are taken


@dataclass(frozen=True, slots=True)
class Selection:
    """The part of a log that is wanted: `seconds` from `start` (seconds after the log's own zero), of a `share` of its
    functions (by a hash of their ids, so that it is the same in every file). `seed` draws what the log does not say."""

    start: float = 0.0
    seconds: float = float("inf")
    share: float = 1.0
    seed: int = 0

    def has(self, function: str) -> bool:
        digest = hashlib.sha256(function.encode()).digest()
        return self.share >= 1.0 or int.from_bytes(digest[:8], "big") < self.share * TAKEN

    def place(self, arrival: float) -> float | None:
        """The arrival after `start`, or None outside of the part."""
        after = arrival - self.start
        return after if 0.0 <= after < self.seconds else None


@dataclass(slots=True)
class Log:
    """Rows of a public log; `notes` are complete once all rows were taken."""

    rows: Iterator[Row]
    notes: list[str] = field(default_factory=list)


# ------------------------------------------------------------------------------------------------- Azure Functions 2019


def azure_2019(paths: Sequence[Path], selection: Selection) -> Log:
    """Invocations by minute, duration percentiles by function and memory by application, of one day."""
    kinds: dict[str, list[Path]] = {"invocations": [], "durations": [], "memory": []}
    for path in paths:
        kinds[_kind_2019(path)].append(path)
    for kind in ("invocations", "durations"):
        if len(kinds[kind]) != 1:
            found = len(kinds[kind])
            raise InvalidArgument.of("file", f"needs the {kind} file of one day, found {found}; a day is one trace")
    log = Log(iter(()))
    log.rows = _rows_2019(kinds, selection, log.notes)
    return log


def _kind_2019(path: Path) -> str:
    _, first = next(read_csv(path), (None, {}))
    if "HashFunction" in first and "Trigger" in first and "1" in first:
        return "invocations"
    if "percentile_Average_50" in first:
        return "durations"
    if "AverageAllocatedMb" in first:
        return "memory"
    raise InvalidArgument.of(
        "file",
        f"{path}: has the columns of none of the three kinds of files (invocations, durations, memory), or no row",
    )


def _rows_2019(kinds: Mapping[str, Sequence[Path]], selection: Selection, notes: list[str]) -> Iterator[Row]:
    (invocations,), (durations,) = kinds["invocations"], kinds["durations"]
    laws = {
        _id(record, "HashFunction"): tuple(
            _number(place, record, f"percentile_Average_{p}") / 1000 for p in PERCENTILES
        )
        for place, record in read_csv(durations)
    }
    memory = {
        _id(record): _number(place, record, "AverageAllocatedMb") / 1024
        for path in kinds["memory"]
        for place, record in read_csv(path)
    }
    without: Counter[str] = Counter()
    for place, record in read_csv(invocations):
        function = _id(record, "HashFunction")
        if not selection.has(function):
            continue
        if function not in laws:
            without["duration"] += 1
            continue
        values: dict[str, str | float] = {
            "function": function, "tenant": str(record["HashOwner"]), "trigger": str(record["Trigger"])
        }  # fmt: skip
        if _id(record) in memory:
            values["memory_gb"] = memory[_id(record)]
        else:
            without["memory"] += 1
        chance = random.Random(f"{selection.seed}/{function}")
        for minute in range(MINUTES):
            for _ in range(int(_number(place, record, str(minute + 1)))):
                arrival = selection.place(60.0 * (minute + chance.random()))
                duration = _draw(laws[function], chance.random())
                if arrival is not None:
                    yield Row(place, {**values, "arrival_seconds": arrival, "duration_seconds": duration})
    notes += [
        "the log counts by minute: the moment within the minute is drawn evenly",
        "durations are drawn from the day's percentiles of each function's 30 s averages; cold starts are not in them",
        "memory is what the application had allocated on average, not the invocation's own",
    ]
    if without["duration"]:
        notes.append(f"{without['duration']} functions have no durations in the log: left out")
    if without["memory"]:
        notes.append(f"{without['memory']} functions have no memory in the log")


def _id(record: Mapping[str, object], *more: str) -> str:
    return "/".join(str(record[name])[:16] for name in ("HashOwner", "HashApp", *more))


def _draw(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie, linear between the percentiles."""
    at = 100 * share
    above = max(1, bisect_left(PERCENTILES, at))
    low, high = PERCENTILES[above - 1], PERCENTILES[above]
    return values[above - 1] + (values[above] - values[above - 1]) * (at - low) / (high - low)


# ------------------------------------------------------------------------------------------------- Azure Functions 2021


def azure_2021(paths: Sequence[Path], selection: Selection) -> Log:
    """One row an invocation: its end and its duration."""

    def row(place: str, record: Mapping[str, object]) -> Row | None:
        application = _text(place, record, "app")[:16]
        function = f"{application}/{_text(place, record, 'func')[:16]}"
        duration = _number(place, record, "duration")
        arrival = selection.place(_number(place, record, "end_timestamp") - duration)
        if arrival is None or not selection.has(function):
            return None
        return Row(
            place,
            {
                "arrival_seconds": arrival,
                "duration_seconds": duration,
                "function": function,
                "tenant": application,
            },
        )

    notes = [
        "the log says neither memory nor trigger",
        "arrival is end_timestamp - duration, so it includes no waiting",
    ]
    return Log(_each(paths, row), notes)


# --------------------------------------------------------------------------------------------------- Huawei Public 2025


def huawei_2025(paths: Sequence[Path], selection: Selection) -> Log:
    """Request tables: one row a request."""

    def row(place: str, record: Mapping[str, object]) -> Row | None:
        function = f"{_text(place, record, 'userID')}/{_text(place, record, 'funcName')}"
        arrival = selection.place(_number(place, record, "time_worker"))
        if arrival is None or not selection.has(function):
            return None
        return Row(
            place,
            {
                "arrival_seconds": arrival,
                "duration_seconds": _number(place, record, "totalCost_worker"),
                "function": function,
                "tenant": _text(place, record, "userID"),
                "memory_gb": _number(place, record, "memory_usage") / 1024,
                "cpu_cores": _number(place, record, "cpu_usage"),
            },
        )

    notes = [
        "arrival is the worker's timestamp; waiting in the frontend and in the bus is not in it",
        "memory and CPU are the whole pod's, averaged over the request",
    ]
    return Log(_each(paths, row), notes)


# --------------------------------------------------------------------------------------------- ADRS "can't be late"


def adrs_window(paths: Sequence[Path], selection: Selection) -> Log:
    """A window file of the ADRS task "can't be late": JSON, a number a tick, 1 where spot is gone."""
    if len(paths) != 1:
        raise InvalidArgument.of("file", f"{len(paths)} files; a window is one trace")
    (path,) = paths
    with open_text(path) as text:
        try:
            document = json.load(text)
            samples, metadata = document["data"], document.get("metadata", {})
            gap = float(metadata.get("gap_seconds", ADRS_GAP_SECONDS))
        except (ValueError, KeyError, TypeError, AttributeError):
            message = (
                f"{path.name}: must be a JSON object with a list 'data' and, if any, a number metadata.gap_seconds"
            )
            raise InvalidArgument.of("file", message) from None
    return Log(
        _ticks(path, samples, gap, selection), ["the file stores 1 where spot is gone, the trace 1 where it exists"]
    )


def _ticks(path: Path, samples: Sequence[object], gap: float, selection: Selection) -> Iterator[Row]:
    for tick, sample in enumerate(samples):
        place = f"{path.name}:data[{tick}]"
        if isinstance(sample, bool) or sample not in (0, 1):
            raise InvalidArgument.of("file", f"{place}: {sample!r} is no state; must be 0 (spot exists) or 1 (gone)")
        after = selection.place(tick * gap)
        if after is not None:
            yield Row(place, {"time_seconds": f"{after:g}", "available": "0" if sample else "1"})


# ------------------------------------------------------------------------------------------------------------- shared


PUBLIC: Mapping[str, Callable[[Sequence[Path], Selection], Log]] = {
    "azure-2019": azure_2019,
    "azure-2021": azure_2021,
    "huawei-2025": huawei_2025,
    "adrs-window": adrs_window,
}


def _each(paths: Sequence[Path], row: Callable[[str, Mapping[str, object]], Row | None]) -> Iterator[Row]:
    for path in paths:
        record: Record
        for record in read_csv(path):
            if (made := row(*record)) is not None:
                yield made


def _text(place: str, record: Mapping[str, object], column: str) -> str:
    if column not in record:
        raise InvalidArgument.of("file", f"{place}: there is no column {column!r}; there are {', '.join(record)}")
    return str(record[column])


def _number(place: str, record: Mapping[str, object], column: str) -> float:
    text = _text(place, record, column)
    try:
        number = float(text)
    except ValueError:
        raise InvalidArgument.of("file", f"{place}:{column}: {text!r} is not a number") from None
    if not -float("inf") < number < float("inf"):
        raise InvalidArgument.of("file", f"{place}:{column}: {text!r} is not finite")
    return number
