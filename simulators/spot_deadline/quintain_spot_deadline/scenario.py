"""Scenarios: several windows that one policy is run on, each as a run of its own; built-in ones and a caller's own."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quintain.plugins.simulator import InvalidInput, Scenario
from quintain_spot_deadline.engine import Window
from quintain_spot_deadline.job import GAP, check_job, checked_window, job, ticks_needed
from quintain_spot_deadline.series import parse_samples

MAX_WINDOWS = 200
_FILES = ("scenario.toml", "trace.csv")
_SECONDS = ("overhead_seconds", "deadline_seconds", "duration_seconds", "gap_seconds")
_PRICES = ("spot_usd_per_hour", "on_demand_usd_per_hour")
_WINDOWS = ("window_ticks", "window_every_ticks")
_KEYS = (*_SECONDS, *_PRICES, *_WINDOWS, "description")


@dataclass(frozen=True, slots=True)
class LabelledWindow:
    """`label` says what it is a window of (a profile, a series): its class in an outcome's groups."""

    label: str
    window: Window


@dataclass(frozen=True, slots=True)
class SpotScenario:
    """What `Scenario.spec` holds."""

    windows: tuple[LabelledWindow, ...]


def spec_of(scenario: Scenario) -> SpotScenario:
    if not isinstance(scenario.spec, SpotScenario):
        raise InvalidInput("scenario", f"{scenario.name!r} does not belong to this simulator")
    return scenario.spec


def make_scenario(name: str, description: str, windows: tuple[LabelledWindow, ...]) -> Scenario:
    digest = hashlib.sha256()
    for labelled in windows:
        digest.update(f"{labelled.label}\n{window_digest(labelled.window)}\n".encode())
    return Scenario(name, digest.hexdigest(), description, SpotScenario(windows), cost=float(len(windows)))


def window_digest(window: Window) -> str:
    """sha256 (hex) over everything that a policy's bill depends on."""
    text = f"{list(window.job)!r} {window.forced} {window.available}"
    return hashlib.sha256(text.encode()).hexdigest()


def from_files(name: str, files: Mapping[str, bytes]) -> Scenario:
    """``scenario.toml`` (the job) and ``trace.csv`` (``time_seconds,available``, a row a tick), cut into windows.

    Raises InvalidInput with the file, and the key or the row and column.
    """
    for file in _FILES:
        if file not in files:
            raise InvalidInput(file, f"is missing; the files given are: {', '.join(sorted(files)) or 'none'}")
    table = _table(files["scenario.toml"])
    seconds = {key: _whole(table, key) for key in _SECONDS if key in table}
    prices = {key: _price(table, key) for key in _PRICES if key in table}
    for key in ("overhead_seconds", "deadline_seconds"):
        if key not in seconds:
            raise InvalidInput(f"scenario.toml:{key}", "is missing: a whole number of seconds")
    own = {key.removesuffix("_seconds"): value for key, value in seconds.items()}
    priced = {key.removesuffix("_usd_per_hour") + "_price": value for key, value in prices.items()}
    wanted = job(**own, **priced)  # type: ignore[arg-type]
    check_job("scenario.toml", wanted)
    try:
        text = files["trace.csv"].decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("trace.csv", f"is not UTF-8: {error.reason} at byte {error.start}") from error
    series = parse_samples("trace.csv", text, seconds.get("gap_seconds", GAP))
    ticks = _whole(table, "window_ticks") if "window_ticks" in table else ticks_needed(wanted)
    every = _whole(table, "window_every_ticks", least=1) if "window_every_ticks" in table else ticks
    if len(series) < ticks:
        raise InvalidInput("trace.csv", f"has {len(series)} ticks, and a window is {ticks} ticks long")
    windows = tuple(
        LabelledWindow(f"from tick {offset}", checked_window("scenario.toml:window_ticks", Window(wanted, cut)))
        for offset in range(0, len(series) - ticks + 1, every)
        if (cut := series[offset : offset + ticks])
    )
    if len(windows) > MAX_WINDOWS:
        raise InvalidInput(
            "scenario.toml:window_every_ticks", f"makes {len(windows)} windows; {MAX_WINDOWS} are possible"
        )
    return make_scenario(name, str(table.get("description", "")), windows)


def _table(data: bytes) -> dict[str, Any]:
    try:
        table = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput("scenario.toml", f"is not TOML: {error}") from error
    if unknown := sorted(table.keys() - set(_KEYS)):
        raise InvalidInput(f"scenario.toml:{unknown[0]}", f"unknown key; known are: {', '.join(_KEYS)}")
    return table


def _whole(table: Mapping[str, Any], key: str, least: int = 0) -> int:
    value = table[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidInput(f"scenario.toml:{key}", f"{value!r} is not a whole number of at least {least}")
    return value


def _price(table: Mapping[str, Any], key: str) -> float:
    value = table[key]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidInput(f"scenario.toml:{key}", f"{value!r} is not a number of dollars")
    return float(value)
