"""What the fidelity card needs beside one distance: distances by window, beside the floors', and curves to draw."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from quintain_system.fit.distance import Comparison
from quintain_system.fit.episode import Episode, Kinds, Step
from quintain_system.fit.summary import Summaries
from quintain_system.form.spec import SystemSpec

PIECES = 5  # windows of one recording, at least
FEW_INPUTS = 3  # in a window; fewer say nothing
SHARES = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]
MOST_CURVES = 4  # of each sort

Histories = Sequence[Sequence[Step]]


def judged_windows(
    spec: SystemSpec, kinds: Kinds, episode: Episode, said: Histories, floors: Mapping[str, Histories]
) -> list[dict[str, Any]]:
    """The recording's windows in pieces, each with its load (inputs a second) and distances from the same rollouts."""
    found = []
    recording = episode.recording
    times = np.asarray([e.time for e in recording.entries if e.role == "input" and e.time > 0])
    for low, high in _pieces(recording.windows):
        inputs = int(((times >= low) & (times < high)).sum())
        if inputs < FEW_INPUTS:
            continue
        piece = replace(episode, recording=replace(recording, windows=((low, high),)))
        comparison = Comparison(spec, kinds, piece)
        distance = comparison.distance(said, worded=False).value
        beside = {name: comparison.distance(histories, worded=False).value for name, histories in floors.items()}
        found.append(
            {
                "recording": recording.name,
                "policy": recording.policy,
                "from": low,
                "until": high,
                "load": inputs / (high - low),
                "distance": distance,
                "floors": beside,
            }
        )
    return found


def curves(spec: SystemSpec, kinds: Kinds, episode: Episode, said: Histories) -> dict[str, Any]:
    """What is held over time, and how long the steps took by share of the things: recorded, and as the model says."""
    summaries = Summaries(spec, kinds, episode)
    recorded, own = summaries.of(episode.history), summaries.of(said[0])
    levels = {}
    for name, values in list(recorded.levels.items())[:MOST_CURVES]:
        levels[name] = {
            "times": summaries.grid.tolist(),
            "recorded": values.tolist(),
            "said": own.levels[name].tolist(),
        }
    steps = sorted(recorded.steps.items(), key=lambda item: -sum(item[1].seconds))
    quantiles = {}
    for step, times in [s for s in steps if len(s[1].seconds) >= len(SHARES) and s[0] in own.steps][:MOST_CURVES]:
        name = f"{kinds.names[step[1]]} after {kinds.names[step[0]]}"
        quantiles[name] = {
            "shares": SHARES,
            "recorded": np.quantile(times.seconds, SHARES).tolist(),
            "said": np.quantile(own.steps[step].seconds, SHARES).tolist(),
        }
    return {"recording": episode.recording.name, "levels": levels, "quantiles": quantiles}


def _pieces(windows: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Windows of about equal length, `PIECES` at least."""
    length = sum(high - low for low, high in windows) / PIECES
    found = []
    for low, high in windows:
        edges = np.linspace(low, high, max(1, round((high - low) / length)) + 1).tolist()
        found += list(itertools.pairwise(edges))
    return found
