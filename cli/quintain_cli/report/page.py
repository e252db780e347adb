"""Puts a report together: one HTML file that needs no network and fetches nothing."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import DiffLexer, PythonLexer
from rich.text import Text

from quintain.controller.v1 import controller_pb2 as pb
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import live, render
from quintain_cli.report import figures
from quintain_cli.report.data import ReportData, costs_by_backend

MOST_EVENTS = 300


@dataclass(frozen=True, slots=True)
class Section:
    """A figure with its heading and one sentence that says how to read it."""

    title: str
    text: str
    figure: Markup


def render_report(data: ReportData) -> str:
    """The whole file as text."""
    environment = Environment(
        loader=PackageLoader("quintain_cli.report", "templates"), autoescape=True, undefined=StrictUndefined
    )
    formatter = HtmlFormatter(style="default", cssclass="code")
    shown, seed = data.shown, data.seed
    return environment.get_template("report.html.j2").render(
        search=data.search,
        title=data.search.spec.title or f"{data.search.spec.simulator} / {data.search.spec.suite}",
        state=render.enum_name(pb.SearchState, data.search.state),
        promoted=data.promoted,
        shown=shown.summary if shown else None,
        facts=_facts(data),
        settings=_settings(data.search),
        sections=_sections(data),
        scenarios=_scenario_rows(data.verdict, data.search.objective.direction) if data.verdict else [],
        gates=data.search.gates,
        costs=costs_by_backend(data),
        spend=data.search.spend,
        timelines=[(t.name, _html(t.figure)) for t in data.timelines],
        timelines_scenario=data.timelines_scenario,
        policy=Markup(highlight(shown.source, PythonLexer(), formatter)) if shown else "",
        diff=_diff(seed, shown, formatter) if seed and shown else "",
        events=_event_rows(data.events, data.search.direction),
        events_left_out=max(0, _worth_a_line(data.events, data.search.direction) - MOST_EVENTS),
        usd=render.usd,
        duration=live.duration,
        plotly_js=Markup(get_plotlyjs()),
        code_css=Markup(formatter.get_style_defs(".code")),  # type: ignore[no-untyped-call]
    )


def _html(figure: Any) -> Markup:
    return Markup(
        figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            default_width="100%",
            config={"responsive": True, "displaylogo": False, "displayModeBar": False},
        )
    )


def _facts(data: ReportData) -> list[tuple[str, str, str]]:
    """The figures at the top: label, value, and what it is compared with."""
    if data.shown is None:
        return []
    c, direction = data.shown.summary, data.search.direction
    base = c.baseline_score if c.HasField("baseline_score") else None
    bound = c.bound_score if c.HasField("bound_score") else None
    facts = [
        ("score", render.number(c.score), f"baseline {render.number(base)}"),
        ("improvement", render.percent(render.improvement(c.score, base, direction), signed=True), "over the baseline"),
    ]
    if bound is not None:
        share = render.percent(render.share_of_bound(c.score, bound, direction))
        facts.append(("of the bound", share, f"provable bound {render.number(bound)}"))
    if c.HasField("held_out_score"):
        held = render.improvement(c.held_out_score, c.held_out_baseline_score, direction)
        facts.append(("held-out", render.percent(held, signed=True), "on scenarios that no backend saw"))
    facts.append(("cost", render.usd(data.search.spend.usd), f"{data.search.spend.candidates} candidates"))
    return facts


def _settings(search: pb.Search) -> list[tuple[str, str]]:
    spec = search.spec
    return [
        ("search", search.search_id),
        ("simulator", spec.simulator),
        ("suite", spec.suite),
        ("objective", f"{search.objective.name}: {search.objective.description}"),
        ("score", render.enum_name(type_pb2.Aggregation, search.aggregation)),
        ("strategy", spec.strategy or "evolve"),
        ("backends", ", ".join(spec.backends) or "the generator's default"),
        ("budget", render.budget_text(spec.budget)),
        ("seed", str(spec.seed)),
        ("began", search.created_at.ToDatetime().strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("took", live.duration(search.spend.wall_seconds)),
    ]


def _sections(data: ReportData) -> list[Section]:
    if not data.scored:
        return []
    sections = [
        Section(
            "Score over candidates",
            "Each point is a verified policy; the line is the best so far.",
            _html(figures.score_over_candidates(data)),
        )
    ]
    dollars = figures.score_over_usd(data)
    if dollars is not None:
        sections.append(Section("Score over dollars", "The best so far against what was paid.", _html(dollars)))
    sections.append(Section("Lineage", "Each line leads from a parent to its child.", _html(figures.lineage(data))))
    gap = figures.held_out(data)
    if gap is not None:
        sections.append(
            Section(
                "Train and held-out",
                "For every new best: lines that part mean that the search fits its training scenarios.",
                _html(gap),
            )
        )
    return sections


def _scenario_rows(verdict: verifier_pb2.Verdict, direction: int) -> list[dict[str, Any]]:
    """`direction` is the metric's own: a scenario shows the metric, not the normalized score."""
    rows = []
    for s in verdict.scenarios:
        note = "did not run" if not s.ran else render.broken_floors(s)
        if s.HasField("failure"):
            note = render.failure_text(s.failure)
        bound = s.bound if s.HasField("bound") else None
        rows.append(
            {
                "name": s.scenario,
                "part": render.enum_name(type_pb2.Part, s.part).replace(" ", "-"),
                "value": render.number(s.value),
                "baseline": render.number(s.baseline),
                "bound": render.number(bound),
                "better": render.percent(render.improvement(s.value, s.baseline, direction), signed=True),
                "normalized": render.percent(s.normalized),
                "width": round(100 * min(1.0, max(0.0, s.normalized)), 1),
                "note": note,
            }
        )
    return rows


def _diff(seed: pb.Candidate, shown: pb.Candidate, formatter: HtmlFormatter[str]) -> Markup:
    lines = difflib.unified_diff(
        seed.source.splitlines(),
        shown.source.splitlines(),
        f"seed (#{seed.summary.number})",
        f"#{shown.summary.number}",
        lineterm="",
    )
    text = "\n".join(lines)
    return Markup(highlight(text, DiffLexer(), formatter)) if text else Markup("<p>the same as the seed</p>")


def _event_rows(events: Sequence[pb.Event], direction: int) -> list[tuple[str, str]]:
    rows = []
    for event in events:
        line = _event_text(event, direction)
        if line:
            rows.append((event.at.ToDatetime().strftime("%H:%M:%S"), line))
    return rows[-MOST_EVENTS:]


def _worth_a_line(events: Sequence[pb.Event], direction: int) -> int:
    return sum(1 for event in events if _event_text(event, direction))


def _event_text(event: pb.Event, direction: int) -> str:
    if event.WhichOneof("event") == "candidate_changed":
        return ""  # the figures show every candidate
    markup = live.event_line(event, direction)
    return Text.from_markup(markup).plain if markup else ""
