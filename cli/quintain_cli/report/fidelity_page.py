"""The fidelity card as a page: tables, the model beside the floors, and the model over the recordings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

import quintain
from quintain.statistics import Interval
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli.fidelity.card import Card, Row
from quintain_cli.fidelity.decision import DecisionFidelity
from quintain_cli.report.bundle import pack
from quintain_cli.report.page import Figures, Section, environment

# Okabe and Ito's palette: told apart by the colour-blind and, by lightness, in a grey print.
MODEL, RECORDED = "#0072B2", "#444444"
FLOORS = ("#E69F00", "#CC79A7", "#009E73")
ROW_PIXELS = 220
MOST_RECORDINGS = 3  # of each part


def render_card(card: Card, verdict: pb.Verdict) -> str:
    """The whole file as text; it fetches nothing."""
    figures = Figures()
    sections = [
        Section(
            "Distance to the recordings",
            "0 is the same, 1 nothing alike; bars are 95 % intervals over windows. A model that is not left of both "
            "floors in each held-out part is refused.",
            figures.add(_distances([*card.parts, *card.loads])),
        )
    ]
    if card.decision is not None and card.decision.references:
        sections.append(
            Section(
                "Policies in the model and in the truth",
                "Each point is a policy. What matters is the order: the model's best should be the truth's best.",
                figures.add(_ranks(card.decision)),
            )
        )
    for scenario in [s for s in verdict.scenarios if s.detail and not s.HasField("failure")]:
        part = scenario.scenario.split("/")[1]
        for recording in json.loads(scenario.detail)["recordings"][:MOST_RECORDINGS]:
            figure = _over_recording(recording)
            if figure is not None:
                text = "What is held over time, and how long things took (quantiles): recorded, and as the model says."
                sections.append(Section(f"{part}: {recording['recording']}", text, figures.add(figure)))
    return environment().get_template("fidelity.html.j2").render(
        card=card,
        sections=sections,
        rows=[*card.parts, *card.loads],
        floors=list(dict.fromkeys(floor for row in (*card.parts, *card.loads) for floor in row.floors)),
        components=sorted(card.components, key=lambda c: -c.distance.mean),
        interval=_interval,
        number=lambda value: "" if value is None else f"{value:.4g}",
        version=quintain.__version__,
        packed_plotly=Markup(pack(get_plotlyjs())),
        packed_data=figures.packed({}),
    )  # fmt: skip


def _interval(found: Interval) -> str:
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _distances(rows: Sequence[Row]) -> go.Figure:
    figure = go.Figure()
    floors = list(dict.fromkeys(floor for row in rows for floor in row.floors))
    series = [("model", MODEL, [row.distance for row in rows])]
    for floor, color in zip(floors, FLOORS, strict=False):
        series.append((f"floor: {floor}", color, [row.floors[floor] for row in rows]))
    for name, color, found in series:
        figure.add_scatter(
            x=[f.mean for f in found],
            y=[row.name.replace("_", " ") for row in rows],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [f.high - f.mean for f in found],
                "arrayminus": [f.mean - f.low for f in found],
            },
            mode="markers",
            name=name,
            marker={"color": color, "size": 10},
        )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text="distance", rangemode="tozero")
    figure.update_layout(template="plotly_white", height=120 + 45 * len(rows), margin={"t": 20})
    return figure


def _ranks(decision: DecisionFidelity) -> go.Figure:
    shown = [(r.name, r.model, r.truth) for r in decision.references if r.model is not None and r.truth is not None]
    figure = go.Figure(
        go.Scatter(
            x=[m for _, m, _ in shown],
            y=[t for _, _, t in shown],
            text=[name for name, _, _ in shown],
            mode="markers+text",
            textposition="top center",
            marker={"color": MODEL, "size": 9},
        )
    )
    figure.update_xaxes(title_text="score in the model")
    figure.update_yaxes(title_text="score in the truth")
    figure.update_layout(template="plotly_white", height=420, margin={"t": 20})
    return figure


def _over_recording(detail: Mapping[str, Any]) -> go.Figure | None:
    levels, quantiles = detail.get("levels", {}), detail.get("quantiles", {})
    titles = [*(f"{name}: held" for name in levels), *(f"{name}: seconds, by share" for name in quantiles)]
    if not titles:
        return None
    figure = make_subplots(rows=len(titles), cols=1, subplot_titles=titles, vertical_spacing=0.25 / len(titles))
    panels = [*((c, c["times"]) for c in levels.values()), *((q, q["shares"]) for q in quantiles.values())]
    for row, (curves, across) in enumerate(panels, start=1):
        for key, color in (("recorded", RECORDED), ("said", MODEL)):
            line = {"color": color, "dash": "solid" if key == "recorded" else "dot"}
            name = "recorded" if key == "recorded" else "model"
            figure.add_scatter(
                x=across, y=curves[key], line=line, name=name, mode="lines", legendgroup=name, showlegend=row == 1,
                row=row, col=1,
            )  # fmt: skip
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(template="plotly_white", height=ROW_PIXELS * len(titles) + 60, margin={"t": 30})
    return figure
