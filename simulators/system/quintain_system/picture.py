"""A picture of a run, from `Outcome.detail` (a run with ``RunOptions(timeline=True)``): what is waiting and at work
over time, and how long each thing took. Plotly comes with the extra ``viz``.
"""

from __future__ import annotations

import json

import plotly.graph_objects as go
from plotly.subplots import make_subplots

# Okabe and Ito's palette: told apart by the colour-blind and, by lightness, in a grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#444444")
ROW_PIXELS = 230


def run_figure(detail: str, title: str) -> go.Figure:
    """Raises ValueError if `detail` is empty: the run was made without a timeline."""
    if not detail:
        raise ValueError("the run has no timeline; it was made without one")
    document = json.loads(detail)
    curves = document["curves"]
    titles = [text for curve in curves for text in (f"{curve['what']}: how many", f"{curve['what']}: seconds")]
    rows = max(1, len(titles))
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, subplot_titles=titles, vertical_spacing=0.25 / rows)
    colours: dict[str, str] = {}
    for number, curve in enumerate(curves):
        _levels(figure, curve["levels"], 2 * number + 1, document["duration_seconds"], colours)
        _times(figure, curve["times"], 2 * number + 2, colours)
    figure.update_xaxes(range=[0, document["duration_seconds"]])
    figure.update_xaxes(title_text="simulated time (s)", row=rows)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(title=title, height=ROW_PIXELS * rows + 80, template="plotly_white", legend_title_text="")
    return figure


def _levels(
    figure: go.Figure, levels: dict[str, list[list[float]]], row: int, duration: float, colours: dict[str, str]
) -> None:
    for name, points in levels.items():
        figure.add_trace(
            go.Scatter(
                x=[0.0, *(time for time, _ in points), duration],
                y=[0, *(level for _, level in points), points[-1][1]],
                name=name,
                legendgroup=name,
                showlegend=name not in colours,
                mode="lines",
                line={"shape": "hv", "width": 1.2, "color": _colour(name, colours)},
            ),
            row=row,
            col=1,
        )


def _times(figure: go.Figure, times: list[list[float | str]], row: int, colours: dict[str, str]) -> None:
    for name in sorted({str(label) for _, _, label in times}):
        of_class = [(begun, seconds) for begun, seconds, label in times if label == name]
        figure.add_trace(
            go.Scatter(
                x=[begun for begun, _ in of_class],
                y=[seconds for _, seconds in of_class],
                name=name,
                legendgroup=name,
                showlegend=name not in colours,
                mode="markers",
                marker={"size": 3, "color": _colour(name, colours)},
            ),
            row=row,
            col=1,
        )


def _colour(name: str, colours: dict[str, str]) -> str:
    return colours.setdefault(name, COLOURS[len(colours) % len(COLOURS)])
