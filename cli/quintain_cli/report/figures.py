"""The report's figures, with plotly. Everything that a policy's author wrote is escaped: plotly reads simple HTML."""

from __future__ import annotations

import html

import plotly.graph_objects as go

from quintain.clients.front import FrontRow, all_rows, front_rows, objective_names
from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli.render import enum_name, number, operator_name
from quintain_cli.report.data import ReportData, ancestors, best_so_far

# Okabe and Ito's palette: told apart by the colour-blind.
BEST, OTHER, BASELINE, BOUND, FAILED, HELD_OUT = "#2E86C1", "#9AA5B1", "#7A8590", "#009E73", "#D55E00", "#CC79A7"
CANDIDATE = "candidate"
MOST_TICKS = 20
OPERATOR_COLOURS = {
    "seed": "#7A8590",
    "full": "#E69F00",
    "diff": "#0072B2",
    "crossover": "#009E73",
    "repair": "#D55E00",
}


def score_over_candidates(data: ReportData) -> go.Figure:
    """Every score, the best so far, and between what it can move: baseline and bound."""
    figure = go.Figure()
    scored, best = data.scored, best_so_far(data)
    figure.add_scatter(
        x=[c.number for c in scored],
        y=[c.score for c in scored],
        mode="markers",
        name="candidate",
        marker={"color": OTHER, "size": 6},
        text=[_hover(c) for c in scored],
        hovertemplate="%{text}<extra></extra>",
    )
    figure.add_scatter(
        x=best.numbers, y=best.scores, mode="lines", name="best so far", line={"color": BEST, "width": 2, "shape": "hv"}
    )
    _failures(figure, data)
    _scale(figure, data)
    return styled(figure, data, CANDIDATE)


def score_over_usd(data: ReportData) -> go.Figure | None:
    """The best so far over the dollars spent; None if nothing was paid."""
    best = best_so_far(data)
    if not best.usd or best.usd[-1] <= 0:
        return None
    figure = go.Figure()
    figure.add_scatter(
        x=best.usd, y=best.scores, mode="lines", name="best so far", line={"color": BEST, "width": 2, "shape": "hv"}
    )
    _scale(figure, data)
    drawn = styled(figure, data, "US dollars")
    drawn.update_xaxes(tickprefix="$")
    return drawn


def lineage(data: ReportData) -> go.Figure:
    """Who descends from whom; the line of the shown policy is drawn strong."""
    figure = go.Figure()
    at = {c.candidate_id: (c.number, c.score) for c in data.scored}
    family = ancestors(data, data.shown.summary.candidate_id) if data.shown else set()
    for strong in (False, True):
        xs: list[float | None] = []
        ys: list[float | None] = []
        for child in data.scored:
            for parent in child.parent_ids:
                if parent in at and (child.candidate_id in family and parent in family) == strong:
                    xs += [at[parent][0], child.number, None]
                    ys += [at[parent][1], child.score, None]
        name = "line of the shown policy" if strong else "other descent"
        line = {"color": BEST, "width": 2} if strong else {"color": "rgba(140,150,160,0.35)", "width": 1}
        figure.add_scatter(x=xs, y=ys, mode="lines", name=name, line=line, hoverinfo="skip")
    for operator, colour in OPERATOR_COLOURS.items():
        made = [c for c in data.scored if operator_name(c) == operator]
        if made:
            figure.add_scatter(
                x=[c.number for c in made],
                y=[c.score for c in made],
                mode="markers",
                name=operator,
                marker={"color": colour, "size": [10 if c.candidate_id in family else 6 for c in made]},
                text=[_hover(c) for c in made],
                hovertemplate="%{text}<extra></extra>",
            )
    # On a narrow page the entries are several rows: above the plot they push it down, below they would cover its axis.
    return styled(figure, data, CANDIDATE).update_layout(legend={"y": 1.02, "yanchor": "bottom"}, height=420)


def held_out(data: ReportData) -> go.Figure | None:
    """Train and held-out, normalised, of every new best; None if nothing was scored on held-out scenarios."""
    numbers = {c.candidate_id: c.number for c in data.candidates}
    scores = [e.held_out_scored for e in data.events if e.WhichOneof("event") == "held_out_scored"]
    points = sorted((numbers[s.candidate_id], s) for s in scores if s.candidate_id in numbers)
    if not points:
        return None
    figure = go.Figure()
    for name, colour, values in (
        ("train", BEST, [s.train_normalized for _, s in points]),
        ("held-out", HELD_OUT, [s.held_out_normalized for _, s in points]),
    ):
        figure.add_scatter(
            x=[n for n, _ in points], y=values, mode="lines+markers", name=name, line={"color": colour, "width": 2}
        )
    drawn = styled(figure, data, CANDIDATE)
    drawn.update_yaxes(title_text="normalized (1 = bound)", tickformat=".0%", rangemode="tozero")
    return drawn


def objectives_front(data: ReportData) -> go.Figure | None:
    """The first two objectives of a search that has several: every candidate, and the front; None for one objective."""
    rows, names = all_rows(data.search, data.candidates), objective_names(data.search)
    if len(names) < 2 or not rows:
        return None
    kept = sorted(front_rows(data.search, data.candidates), key=lambda row: row.values[names[1]])
    figure = go.Figure()
    for shown, name, mode, colour in ((rows, "candidate", "markers", OTHER), (kept, "front", "markers+lines", BEST)):
        figure.add_scatter(
            x=[row.values[names[1]] for row in shown],
            y=[row.values[names[0]] for row in shown],
            mode=mode,
            name=name,
            line={"color": colour, "width": 1, "dash": "dot"},
            marker={"color": colour, "size": 6 if shown is rows else 9},
            text=["<br>".join([f"<b>#{row.number}</b>", *_values(row)]) for row in shown],
            hovertemplate="%{text}<extra></extra>",
        )
    unit = data.search.further_objectives[0].unit
    return styled(figure, data, html.escape(f"{names[1]} ({unit})" if unit else names[1]))


def _values(row: FrontRow) -> list[str]:
    return [f"{html.escape(name)} {number(value)}" for name, value in row.values.items()]


def _failures(figure: go.Figure, data: ReportData) -> None:
    """Candidates without a score, on the edge where the worst scores are."""
    known = [c.score for c in data.scored]
    if not data.unscored or not known:
        return
    edge = max(known) if data.minimize else min(known)
    figure.add_scatter(
        x=[c.number for c in data.unscored],
        y=[edge] * len(data.unscored),
        mode="markers",
        name="no score",
        marker={"color": FAILED, "symbol": "x", "size": 6},
        text=[_hover(c) for c in data.unscored],
        hovertemplate="%{text}<extra></extra>",
    )


def _scale(figure: go.Figure, data: ReportData) -> None:
    for value, name, colour in ((data.baseline, "baseline", BASELINE), (data.bound, "provable bound", BOUND)):
        if value is not None:
            figure.add_hline(y=value, line={"color": colour, "dash": "dash", "width": 1.5},
                             annotation={"text": f"{name} {number(value)}", "font": {"color": colour}})  # fmt: skip


def _hover(c: pb.CandidateSummary) -> str:
    lines = [f"<b>#{c.number}</b> {operator_name(c)} {html.escape(c.backend)}"]
    if c.HasField("score"):
        lines.append(f"score {number(c.score)}")
    elif c.state == pb.CANDIDATE_STATE_REJECTED:
        lines.append(enum_name(generator_pb2.Outcome, c.generation_outcome))
    else:
        lines.append(enum_name(verifier_pb2.VerdictStatus, c.verdict_status))
    if c.summary:
        lines.append(html.escape(c.summary[:120]))
    return "<br>".join(lines)


def styled(figure: go.Figure, data: ReportData, x_title: str) -> go.Figure:
    objective = data.search.objective
    normalized = data.search.aggregation == type_pb2.AGGREGATION_MEAN_NORMALIZED
    unit = " (mean normalized)" if normalized else f" ({objective.unit})" if objective.unit else ""
    figure.update_layout(
        template="plotly_white",
        paper_bgcolor="rgba(0,0,0,0)",  # the page's own, light or dark
        plot_bgcolor="rgba(0,0,0,0)",
        height=380,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0},
        hoverlabel={"align": "left"},
    )
    figure.update_traces(cliponaxis=False, selector={"type": "scatter"})  # whole marks, also at the first candidate
    figure.update_xaxes(title_text=x_title, automargin=True)
    if x_title == CANDIDATE and len(data.candidates) <= MOST_TICKS:
        figure.update_xaxes(dtick=1)  # there is no candidate 0.5
    figure.update_yaxes(title_text=f"{objective.name or 'score'}{unit}", automargin=True)
    return figure
