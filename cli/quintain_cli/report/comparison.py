"""Several searches on one page: the best so far of each in one plot, and tables."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

import quintain
from quintain_cli.render import number
from quintain_cli.report.bundle import pack
from quintain_cli.report.data import BestSoFar, ReportData, best_so_far
from quintain_cli.report.figures import BASELINE, BOUND, CANDIDATE, styled
from quintain_cli.report.page import Figures, Section, environment

# Okabe and Ito's palette: told apart by the colour-blind. Further lines differ in their dashes.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A8590", "#B8A800")
LONGEST_NAME = 40  # in the legend: a phone shows no more
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True, slots=True)
class Curve:
    """One search. Those of one group have one colour and one entry in the legend."""

    name: str
    group: str
    data: ReportData


@dataclass(frozen=True, slots=True)
class PageTable:
    """`numeric`: indices of the columns with numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()


def render_comparison(
    eyebrow: str, title: str, notes: Sequence[str], curves: Sequence[Curve], tables: Sequence[PageTable], same: bool
) -> str:
    """The whole file as text. `same`: the searches are of one problem, so that their scores compare; if not, what is
    drawn is the normalized score."""
    figures = Figures()
    scale = "" if same else " The searches are of different problems: each is drawn relative to its own bound."
    sections = [
        Section(
            "Best so far over candidates",
            f"The best score that each search had after so many candidates.{scale}",
            figures.add(best_over(curves, same, dollars=False)),
        )
    ]
    if any(curve.data.search.spend.usd > 0 for curve in curves):
        text = f"The best so far against what was paid.{scale}"
        figure = figures.add(best_over(curves, same, dollars=True))
        sections.append(Section("Best so far over dollars", text, figure))
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            eyebrow=eyebrow,
            title=title,
            notes=notes,
            sections=sections,
            tables=tables,
            version=quintain.__version__,
            packed_plotly=Markup(pack(get_plotlyjs())),
            packed_data=figures.packed({}),
        )
    )


def best_over(curves: Sequence[Curve], same: bool, *, dollars: bool) -> go.Figure:
    """A line for each search; baseline and bound where they are the same for all."""
    figure = go.Figure()
    groups = list(dict.fromkeys(curve.group for curve in curves))
    for curve in curves:
        place = groups.index(curve.group)
        best = best_so_far(curve.data) if same else _normalized(curve.data)
        first = next(c for c in curves if c.group == curve.group) is curve
        figure.add_scatter(
            x=best.usd if dollars else best.numbers,
            y=best.scores,
            mode="lines",
            name=html.escape(textwrap.shorten(curve.group, LONGEST_NAME, placeholder="…")),
            legendgroup=curve.group,
            showlegend=first,
            line={
                "color": COLOURS[place % len(COLOURS)],
                "dash": DASHES[place // len(COLOURS) % len(DASHES)],
                "width": 2,
                "shape": "hv",
            },
            hovertemplate=f"{html.escape(curve.name)}<br>%{{x}}: %{{y:.5g}}<extra></extra>",
        )
    if same:
        _scale(figure, [curve.data for curve in curves])
    shown = styled(figure, curves[0].data, "US dollars" if dollars else CANDIDATE)
    shown.update_layout(height=440)
    if dollars:
        shown.update_xaxes(tickprefix="$")
    if not same:
        shown.update_yaxes(title_text="normalized (1 = bound)", tickformat=".0%")
    return shown


def _normalized(data: ReportData) -> BestSoFar:
    """The best so far by the normalized score, which runs up in every search."""
    best = best_so_far(data)
    by_number = {c.number: c.normalized for c in data.scored}
    high, values = 0.0, []
    for one in best.numbers:
        high = max(high, by_number[one])
        values.append(high)
    return BestSoFar(best.numbers, values, best.usd)


def _scale(figure: go.Figure, each: Sequence[ReportData]) -> None:
    for name, colour, values in (
        ("baseline", BASELINE, {data.baseline for data in each}),
        ("provable bound", BOUND, {data.bound for data in each}),
    ):
        value = values.pop() if len(values) == 1 else None
        if value is not None:
            figure.add_hline(y=value, line={"color": colour, "dash": "dash", "width": 1.5},
                             annotation={"text": f"{name} {number(value)}", "font": {"color": colour}})  # fmt: skip
