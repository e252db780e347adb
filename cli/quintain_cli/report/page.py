"""Puts a report together: one HTML file that needs no network and fetches nothing."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import DiffLexer, PythonLexer
from rich.text import Text

import quintain
from quintain.controller.v1 import controller_pb2 as pb
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import live, render
from quintain_cli.report import figures
from quintain_cli.report.bundle import pack
from quintain_cli.report.data import ReportData, Timeline, costs_by_backend

MOST_EVENTS = 300


@dataclass(frozen=True, slots=True)
class Section:
    """A figure with its heading and one sentence that says how to read it."""

    title: str
    text: str
    figure: Markup


class Figures:
    """The figures of a page: each is a place in it, and what is drawn there once the page has unpacked it."""

    def __init__(self) -> None:
        self._drawn: dict[str, Any] = {}

    def add(self, figure: Any, themed: bool = True) -> Markup:
        """The place of a figure. `themed`: its colours follow the page's, light or dark; others keep a white ground."""
        name = f"figure-{len(self._drawn) + 1}"
        self._drawn[name] = json.loads(figure.to_json())
        height = figure.layout.height or 450
        return Markup('<div id="{}" class="plotly-graph-div" {} style="height:{}px"></div>').format(
            name, Markup('data-themed="yes"') if themed else "", height
        )

    def packed(self, sources: Mapping[str, Sequence[tuple[str, str]]]) -> Markup:
        return Markup(pack(json.dumps({"figures": self._drawn, "sources": sources})))


def environment() -> Environment:
    return Environment(
        loader=PackageLoader("quintain_cli.report", "templates"), autoescape=True, undefined=StrictUndefined
    )


def _code_css() -> Markup:
    light, dark = (HtmlFormatter(style=style, cssclass="code") for style in ("default", "github-dark"))
    return Markup(
        f"{light.get_style_defs('.code')}\n@media screen and (prefers-color-scheme: dark) {{\n"  # type: ignore[no-untyped-call]
        f"{dark.get_style_defs('.code')}\n}}"  # type: ignore[no-untyped-call]
    )


def render_picture(title: str, note: str, rows: Sequence[tuple[str, ...]], figure: Any) -> str:
    """The page of one run: its figure, and below it what was measured (`rows`, the first one a head)."""
    figures = Figures()
    return environment().get_template("picture.html.j2").render(
        title=title,
        note=note,
        rows=rows,
        figure=figures.add(figure, themed=False),
        version=quintain.__version__,
        code_css="",
        packed_plotly=Markup(pack(get_plotlyjs())),
        packed_data=figures.packed({}),
    )  # fmt: skip


def render_report(data: ReportData) -> str:
    """The whole file as text."""
    formatter = HtmlFormatter(style="default", cssclass="code")
    shown, seed = data.shown, data.seed
    figures_of_page = Figures()
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            search=data.search,
            title=data.search.spec.title or f"{data.search.spec.simulator} / {data.search.spec.suite}",
            state=render.enum_name(pb.SearchState, data.search.state),
            promoted=data.promoted,
            shown=shown.summary if shown else None,
            facts=_facts(data),
            better=_better_on_held_out(data),
            fidelity=render.fidelity_text(data.search.fidelity, data.search.fidelity_reason),
            settings=_settings(data),
            sections=_sections(data, figures_of_page),
            candidates=_candidate_rows(data),
            conversations=data.conversations,
            notebook=data.notebook.entries,
            scenarios=_scenario_rows(data.verdict, data.search.objective.direction) if data.verdict else [],
            gates=data.search.gates,
            numbers={c.candidate_id: c.number for c in data.candidates},
            costs=costs_by_backend(data),
            spend=data.search.spend,
            timelines=[(t.name, figures_of_page.add(t.figure, themed=False)) for t in same_scales(data.timelines)],
            timelines_scenario=data.timelines_scenario,
            policy=Markup(highlight(shown.source, PythonLexer(), formatter)) if shown else "",
            diff=_diff(seed, shown, formatter) if seed and shown else "",
            events=_event_rows(data.events, data.search.direction),
            events_left_out=max(0, _worth_a_line(data.events, data.search.direction) - MOST_EVENTS),
            usd=render.usd,
            duration=live.duration,
            packed_plotly=Markup(pack(get_plotlyjs())),
            packed_data=figures_of_page.packed(_sources(data)),
            code_css=_code_css(),
        )
    )


def same_scales(timelines: Sequence[Timeline]) -> Sequence[Timeline]:
    """The timelines with every axis that has a range in all of them over the same range: they are compared by eye."""
    layouts = [timeline.figure.layout for timeline in timelines]
    for name in {key for layout in layouts for key in layout if key.startswith(("xaxis", "yaxis"))}:
        ranges = [layout[name].range for layout in layouts if name in layout and layout[name].range]
        if len(ranges) == len(layouts):
            low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
            for layout in layouts:
                layout[name].range = (low, high)
    return timelines


def _candidate_rows(data: ReportData) -> list[dict[str, Any]]:
    numbers = {c.candidate_id: c.number for c in data.candidates}
    rows = []
    for c in data.candidates:
        rows.append(
            {
                "number": c.number,
                "how": render.operator_name(c),
                "backend": c.backend,
                "parents": ", ".join(f"#{numbers[p]}" for p in c.parent_ids if p in numbers),
                "score": render.number(c.score if c.HasField("score") else None),
                "held_out": render.number(c.held_out_score if c.HasField("held_out_score") else None),
                "cost": "unpriced" if c.cost.unpriced else render.usd(c.cost.usd),
                "outcome": render.outcome_name(c),
                "summary": c.summary,
                "has_source": c.candidate_id in data.sources,
            }
        )
    return rows


def _sources(data: ReportData) -> dict[str, list[tuple[str, str]]]:
    """What opens under a candidate in the table, by its number: titles and texts."""
    numbers = {c.candidate_id: c.number for c in data.candidates}
    found = {}
    for c in data.candidates:
        if c.candidate_id not in data.sources:
            continue
        source = data.sources[c.candidate_id]
        texts = [(f"source of #{c.number}", source)]
        parent = next((p for p in c.parent_ids if p in data.sources), None)
        if parent is not None:
            diff = _unified(data.sources[parent], source, f"#{numbers[parent]}", f"#{c.number}")
            texts.insert(0, (f"against its parent #{numbers[parent]}", diff or "the same"))
        found[str(c.number)] = texts
    return found


def _better_on_held_out(data: ReportData) -> str:
    """That an earlier best is better than the winner where nothing chose; empty if none is."""
    said = [e.better_on_held_out for e in data.events if e.WhichOneof("event") == "better_on_held_out"]
    if not data.promoted or not said or said[-1].winner_candidate_id != data.search.winner.candidate_id:
        return ""
    theirs, own = (render.percent(v) for v in (said[-1].held_out_normalized, said[-1].winner_held_out_normalized))
    number = said[-1].candidate_id.rpartition(".")[2]
    return (
        f"Candidate #{number} is better on the held-out scenarios than the winner ({theirs} of the bound, {own}). "
        "They have no say in the choice."
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


def _settings(data: ReportData) -> list[tuple[str, str]]:
    search, spec = data.search, data.search.spec
    build = data.shown.verdict.simulator_build if data.shown else ""
    return [
        ("quintain", quintain.__version__),
        ("search", search.search_id),
        ("simulator", f"{spec.simulator}, build {build[:12]}" if build else spec.simulator),
        ("suite", spec.suite),
        ("objective", f"{search.objective.name}: {search.objective.description}"),
        ("score", render.enum_name(type_pb2.Aggregation, search.aggregation)),
        ("strategy", spec.strategy or "evolve"),
        ("backends", ", ".join(spec.backends) or "the generator's default"),
        ("budget", render.budget_text(spec.budget)),
        *([("until", stop)] if (stop := render.stop_text(spec.stop)) else []),
        ("seed", str(spec.seed)),
        ("began", search.created_at.ToDatetime().strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("took", live.duration(search.spend.wall_seconds)),
    ]


def _sections(data: ReportData, page: Figures) -> list[Section]:
    if not data.scored:
        return []
    sections = [
        Section(
            "Score over candidates",
            "Each point is a verified policy; the line is the best so far.",
            page.add(figures.score_over_candidates(data)),
        )
    ]
    dollars = figures.score_over_usd(data)
    if dollars is not None:
        sections.append(Section("Score over dollars", "The best so far against what was paid.", page.add(dollars)))
    sections.append(Section("Lineage", "Each line leads from a parent to its child.", page.add(figures.lineage(data))))
    front = figures.objectives_front(data)
    if front is not None:
        sections.append(
            Section(
                "Several objectives",
                "The front holds the candidates that no other is at least as good as in all objectives (with more than "
                "two, the others are told when you point at them). Only the winner has passed the gates.",
                page.add(front),
            )
        )
    gap = figures.held_out(data)
    if gap is not None:
        sections.append(
            Section(
                "Train and held-out",
                "For every new best: lines that part mean that the search fits its training scenarios.",
                page.add(gap),
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
    text = _unified(seed.source, shown.source, f"seed (#{seed.summary.number})", f"#{shown.summary.number}")
    return Markup(highlight(text, DiffLexer(), formatter)) if text else Markup("<p>the same as the seed</p>")


def _unified(before: str, after: str, name_before: str, name_after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name_before, name_after, lineterm="")
    return "\n".join(lines)


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
