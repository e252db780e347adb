"""Recorded availability in a folder of the user's: it is not shipped with the project.

``series.tsv`` holds the series (see `quintain_spot_deadline.series.parse_table`), ``runs.csv`` the runs of the public
table, a row each: run, series, window, offset (of its first tick in the series), overhead_s, deadline_s, duration_s.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quintain.plugins.simulator import InvalidInput
from quintain_spot_deadline.engine import Window
from quintain_spot_deadline.job import checked_window, job
from quintain_spot_deadline.series import parse_table

WINDOW_TICKS = 554  # 92 h 20 min: what the public table's runs see
_COLUMNS = ("run", "series", "window", "offset", "overhead_s", "deadline_s", "duration_s")


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """One row of the public table: where it is cut from, and the window itself."""

    number: int
    series: str
    offset: int  # ticks
    window: Window


@dataclass(frozen=True, slots=True)
class Recordings:
    series: Mapping[str, str]  # availability by name
    runs: tuple[PublishedRun, ...]


def load(folder: Path) -> Recordings:
    """Raises InvalidInput with the file, and the row and column where there is one."""
    series = parse_table("series.tsv", _read(folder, "series.tsv"))
    return Recordings(series, tuple(_runs("runs.csv", _read(folder, "runs.csv"), series)))


def _read(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(name, f"cannot be read in the data folder: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(name, f"is not UTF-8: {error.reason} at byte {error.start}") from error


def _runs(where: str, text: str, series: Mapping[str, str]) -> list[PublishedRun]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if tuple(rows.fieldnames or ()) != _COLUMNS:
        raise InvalidInput(f"{where}:1", f"has the columns {rows.fieldnames}; must be {', '.join(_COLUMNS)}")
    runs = []
    for row in rows:
        place = f"{where}:{rows.line_num}"
        if row["series"] not in series:
            raise InvalidInput(f"{place}:series", f"{row['series']!r} is unknown; known are: {', '.join(series)}")
        try:
            number, offset, overhead, deadline, duration = (
                int(row[name]) for name in ("run", "offset", "overhead_s", "deadline_s", "duration_s")
            )
        except (TypeError, ValueError) as error:
            raise InvalidInput(place, f"all but the series are whole numbers: {error}") from error
        available = series[row["series"]][offset : offset + WINDOW_TICKS] if offset >= 0 else ""
        window = Window(job(overhead=overhead, deadline=deadline, duration=duration), available)
        runs.append(PublishedRun(number, row["series"], offset, checked_window(place, window)))
    return runs
