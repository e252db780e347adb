"""Pictures of a run: containers by pool, memory and CPU over time, and the queue of each class.

Made from `Outcome.detail` (a run with ``RunOptions(timeline=True)``) with plotly, which the extra ``viz`` brings:

    figure = comparison_figure([("FIFO", fifo.detail), ("best found", best.detail)], "Reference experiment")
    write_html(figure, "runs.html")
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quintain_faas.objective import CLASS_OF_PRIORITY, CLASSES

# Okabe and Ito's palette: told apart by the colour-blind and, by lightness, in a grey print.
COLOURS = {"query": "#D55E00", "interactive": "#0072B2", "batch": "#9AD0F5"}
HELD, USED, LIMIT, INK = "#444444", "#009E73", "#AAAAAA", "#222222"
KILLED = "killed (out of memory, late)"
ROWS = ("Containers by pool", "Memory (GB)", "CPU", "Pipelines outstanding")
HEIGHTS = (0.43, 0.19, 0.14, 0.24)
MOST_POOLS = 16
LANE_GAP = 1  # empty lanes between pools


@dataclass(frozen=True, slots=True)
class Bar:
    """A container as a bar: seconds, and the lane (from the bottom) where it is drawn."""

    start: float
    length: float
    lane: int
    category: str
    end_reason: str
    text: str


def timeline_figure(detail: str, title: str) -> go.Figure:
    """One run. `detail` is `Outcome.detail`; raises ValueError if it is empty."""
    return comparison_figure([("", detail)], title)


def comparison_figure(runs: Sequence[tuple[str, str]], title: str) -> go.Figure:
    """Runs side by side on the same axes: (name, `Outcome.detail`) for each."""
    documents = [_document(detail) for _, detail in runs]
    figure = make_subplots(
        rows=len(ROWS),
        cols=len(runs),
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.045,
        horizontal_spacing=0.03,
        row_heights=list(HEIGHTS),
        column_titles=[name for name, _ in runs] if len(runs) > 1 else None,
    )
    lanes = _lanes_by_pool(documents)
    _legend_of_classes(figure)
    seconds = max(float(d["duration_seconds"]) for d in documents)
    for column, document in enumerate(documents, start=1):
        _containers(figure, document, lanes, column)
        _resources(figure, document, column)
        _queues(figure, document, column)
        figure.update_xaxes(range=[0, seconds], col=column)
        figure.update_xaxes(title_text="simulated time (s)", row=len(ROWS), col=column)
    for row, name in enumerate(ROWS, start=1):
        figure.update_yaxes(title_text=name, row=row, col=1)
    pools = max(d["num_pools"] for d in documents)
    if pools > len(lanes):
        figure.update_yaxes(title_text=f"Containers, {len(lanes)} of {pools} pools", row=1, col=1)
    for row, top in zip(range(2, len(ROWS) + 1), _tops(documents), strict=True):
        figure.update_yaxes(range=[0, 1.06 * top], row=row)
    _label_pools(figure, lanes, len(runs))
    _style(figure, title, columns=len(runs))
    return figure


def write_html(figure: go.Figure, path: str | Path) -> None:
    """One file that needs nothing else, also without a network."""
    figure.write_html(path, include_plotlyjs=True, full_html=True, div_id="timeline", config={"displaylogo": False})


def _document(detail: str) -> dict[str, Any]:
    if not detail:
        raise ValueError("the run has no timeline: run it with RunOptions(timeline=True)")
    document: dict[str, Any] = json.loads(detail)
    return document


def pack_lanes(intervals: Sequence[tuple[int, int]]) -> list[int]:
    """The lowest free lane for each (first tick, last tick), both included, in order of the start."""
    lanes = [0] * len(intervals)
    free: list[int] = []
    busy: list[tuple[int, int]] = []  # last tick, lane
    for position in sorted(range(len(intervals)), key=lambda i: intervals[i]):
        start, end = intervals[position]
        while busy and busy[0][0] < start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, lane))
        lanes[position] = lane
    return lanes


def _packed(document: dict[str, Any], pool: int) -> list[tuple[int, int]]:
    """(container's position, lane within the pool)."""
    c = document["containers"]
    inside = [i for i, p in enumerate(c.get("pool", [])) if p == pool]
    return list(zip(inside, pack_lanes([(c["start_tick"][i], c["end_tick"][i]) for i in inside]), strict=True))


def _tops(documents: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """The highest memory, CPU and queue over all runs."""
    memory = max(d["num_pools"] * d["ram_gb_per_pool"] for d in documents)
    cpus = max(d["num_pools"] * d["cpus_per_pool"] for d in documents)
    queue = max((max(counts) for d in documents for counts in d["samples"].get("outstanding", [])), default=0)
    return memory, cpus, max(queue, 1)


def _lanes_by_pool(documents: Sequence[dict[str, Any]]) -> list[int]:
    """How many lanes each drawn pool needs, over all runs."""
    pools = min(MOST_POOLS, max(d["num_pools"] for d in documents))
    return [max((lane + 1 for d in documents for _, lane in _packed(d, pool)), default=1) for pool in range(pools)]


def _bars(document: dict[str, Any], lanes: Sequence[int]) -> list[Bar]:
    c = document["containers"]
    tick = 1.0 / document["ticks_per_second"]
    bars = []
    bottom = 0
    for pool, height in enumerate(lanes):
        for i, lane in _packed(document, pool):
            start, end = c["start_tick"][i] * tick, (c["end_tick"][i] + 1) * tick
            text = (
                f"{c['container_id'][i]}: {c['priority'][i]} {c['pipeline_id'][i]}<br>{c['cpu'][i]:g} CPU, "
                f"{c['ram_gb'][i]:g} GB, pool {pool}<br>{start:g} to {end:g} s, {c['end_reason'][i]}"
            )
            category = CLASS_OF_PRIORITY[c["priority"][i]]
            bars.append(Bar(start, end - start, bottom + lane, category, c["end_reason"][i], text))
        bottom += height + LANE_GAP
    return bars


def _containers(figure: go.Figure, document: dict[str, Any], lanes: Sequence[int], column: int) -> None:
    bars = _bars(document, lanes)
    for name, colour in (*COLOURS.items(), (KILLED, INK)):
        chosen = [b for b in bars if (KILLED if b.end_reason in ("OOM", "timeout") else b.category) == name]
        figure.add_trace(
            go.Bar(
                orientation="h",
                base=[b.start for b in chosen],
                x=[b.length for b in chosen],
                y=[b.lane for b in chosen],
                width=0.86,
                marker={"color": colour, "line": {"width": 0.4, "color": "#FFFFFF"}},
                hovertext=[b.text for b in chosen],
                hoverinfo="text",
                name=name,
                legendgroup=name,
                showlegend=False,
            ),
            row=1,
            col=column,
        )


def _legend_of_classes(figure: go.Figure) -> None:
    """Entries of their own, so that a class is explained also where one run has no container of it."""
    for name, colour in (*COLOURS.items(), (KILLED, INK)):
        figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="markers",
                marker={"symbol": "square", "size": 11, "color": colour},
                name=name,
                legendgroup=name,
            ),
            row=1,
            col=1,
        )


def _resources(figure: go.Figure, document: dict[str, Any], column: int) -> None:
    samples = document["samples"]
    seconds = [t / document["ticks_per_second"] for t in samples.get("tick", [])]
    pools = document["num_pools"]
    ends = [0.0, float(document["duration_seconds"])]

    def add(row: int, key: str, name: str, colour: str, fill: str | None) -> None:
        figure.add_trace(
            go.Scatter(
                x=seconds,
                y=[sum(by_pool) for by_pool in samples.get(key, [])],
                mode="lines",
                line={"color": colour, "width": 1.4, "shape": "hv"},
                fill=fill,
                name=name,
                legendgroup=name,
                showlegend=column == 1 and row == 2,
                hovertemplate="%{y:.4g} at %{x:.0f} s<extra>" + name + "</extra>",
            ),
            row=row,
            col=column,
        )

    def limit(row: int, value: float) -> None:
        figure.add_trace(
            go.Scatter(
                x=ends,
                y=[value, value],
                mode="lines",
                line={"color": LIMIT, "width": 1.2, "dash": "dash"},
                name="capacity",
                legendgroup="capacity",
                showlegend=column == 1 and row == 2,
                hoverinfo="skip",
            ),
            row=row,
            col=column,
        )

    add(2, "ram_gb_consumed", "used", USED, "tozeroy")
    add(2, "ram_gb_allocated", "held", HELD, None)
    limit(2, pools * document["ram_gb_per_pool"])
    add(3, "cpu_allocated", "held", HELD, None)
    limit(3, pools * document["cpus_per_pool"])


def _queues(figure: go.Figure, document: dict[str, Any], column: int) -> None:
    samples = document["samples"]
    seconds = [t / document["ticks_per_second"] for t in samples.get("tick", [])]
    for position, name in reversed(list(enumerate(CLASSES))):
        figure.add_trace(
            go.Scatter(
                x=seconds,
                y=[counts[position] for counts in samples.get("outstanding", [])],
                mode="lines",
                line={"color": COLOURS[name], "width": 2.2, "shape": "hv"},
                name=f"{name} outstanding",
                legendgroup=name,
                showlegend=False,
                hovertemplate="%{y} at %{x:.0f} s<extra>" + name + "</extra>",
            ),
            row=4,
            col=column,
        )


def _label_pools(figure: go.Figure, lanes: Sequence[int], columns: int) -> None:
    middles, bottom = [], 0
    for height in lanes:
        middles.append(bottom + (height - 1) / 2)
        bottom += height + LANE_GAP
    for column in range(1, columns + 1):
        figure.update_yaxes(
            tickmode="array",
            tickvals=middles,
            ticktext=[f"pool {i}" for i in range(len(lanes))] if column == 1 else None,
            range=[-0.7, bottom - LANE_GAP - 0.3],
            showgrid=False,
            row=1,
            col=column,
        )


def _style(figure: go.Figure, title: str, columns: int) -> None:
    figure.update_layout(
        title={"text": title, "x": 0.01, "xanchor": "left", "font": {"size": 20}},
        barmode="overlay",
        template="plotly_white",
        font={"family": "Inter, Segoe UI, Helvetica, Arial, sans-serif", "size": 13, "color": INK},
        paper_bgcolor="#FFFFFF",
        plot_bgcolor="#FFFFFF",
        legend={"orientation": "h", "x": 0.0, "y": -0.07, "yanchor": "top"},
        height=900,
        width=720 + 480 * (columns - 1) if columns > 1 else 1000,
        margin={"l": 80, "r": 24, "t": 84, "b": 90},
    )
    figure.update_xaxes(showline=True, linecolor=LIMIT, gridcolor="#EEEEEE", zeroline=False)
    figure.update_yaxes(showline=True, linecolor=LIMIT, gridcolor="#EEEEEE", zeroline=False)
