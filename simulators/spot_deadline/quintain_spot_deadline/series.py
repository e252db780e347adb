"""Availability series: one "1" (spot exists) or "0" (gone) a tick, and the text forms that they are kept in."""

from __future__ import annotations

import csv
import io
from itertools import groupby

from quintain.plugins.simulator import InvalidInput

MAX_TICKS = 1_000_000


def run_lengths(series: str) -> list[tuple[str, int]]:
    """(state, ticks) of every stretch of one state, in order."""
    return [(state, sum(1 for _ in stretch)) for state, stretch in groupby(series)]


def parse_table(where: str, text: str) -> dict[str, str]:
    """Series by name from a tab-separated table ``series ticks first runs``: the number of ticks, the first tick's
    state, and the lengths of the stretches of one state, separated by commas. Raises InvalidInput with file, row and
    column."""
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t")
    columns = ("series", "ticks", "first", "runs")
    if tuple(rows.fieldnames or ()) != columns:
        raise InvalidInput(
            f"{where}:1", f"has the columns {rows.fieldnames}; must be {', '.join(columns)}, tab-separated"
        )
    found: dict[str, str] = {}
    for row in rows:
        place = f"{where}:{rows.line_num}"
        if row["first"] not in ("0", "1"):
            raise InvalidInput(f"{place}:first", f"{row['first']!r} is no state; must be 1 (spot exists) or 0 (gone)")
        lengths = [_whole(f"{place}:runs", length) for length in (row["runs"] or "").split(",")]
        ticks = _whole(f"{place}:ticks", row["ticks"])
        if sum(lengths) != ticks:
            raise InvalidInput(f"{place}:runs", f"add up to {sum(lengths)} ticks, not to the {ticks} that are named")
        if not row["series"] or row["series"] in found:
            raise InvalidInput(f"{place}:series", f"{row['series']!r} must be a name that is not there yet")
        states = (row["first"], "10"[int(row["first"])])
        found[row["series"]] = "".join(states[number % 2] * length for number, length in enumerate(lengths))
    return found


def parse_samples(where: str, text: str, gap: int) -> str:
    """A series from a CSV table ``time_seconds,available``, one row a tick of `gap` seconds, 1 where spot exists and 0
    where it is gone. Raises InvalidInput for a gap in time, another symbol, or a table that is none."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if tuple(rows.fieldnames or ()) != ("time_seconds", "available"):
        raise InvalidInput(f"{where}:1", f"has the columns {rows.fieldnames}; must be time_seconds,available")
    states: list[str] = []
    expected = None
    for row in rows:
        place = f"{where}:{rows.line_num}"
        time = _whole(f"{place}:time_seconds", row["time_seconds"], least=0)
        if expected is not None and time != expected:
            raise InvalidInput(f"{place}:time_seconds", f"{time} follows {expected - gap}; a row every {gap} s is due")
        if row["available"] not in ("0", "1"):
            raise InvalidInput(
                f"{place}:available", f"{row['available']!r} is no state; must be 1 (spot exists) or 0 (gone)"
            )
        states.append(row["available"])
        expected = time + gap
        if len(states) > MAX_TICKS:
            raise InvalidInput(place, f"more than {MAX_TICKS} rows")
    if not states:
        raise InvalidInput(where, "has no rows")
    return "".join(states)


def _whole(place: str, text: str | None, least: int = 1) -> int:
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 12 or int(text) < least:
        raise InvalidInput(place, f"{text!r} is not a whole number of at least {least}")
    return int(text)
