"""``quintain compare-searches``: several searches in one table, and the settings in which they differ."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain.type.v1 import type_pb2
from quintain_cli import completion, render
from quintain_cli.commands.lookup import get_search, list_candidates
from quintain_cli.connect import Connection
from quintain_cli.files import refuse_existing, write_file
from quintain_cli.render import errors, out, say
from quintain_cli.report import check_plotly
from quintain_cli.report.data import ReportData
from quintain_cli.target import TargetCommand

# Scores of searches that differ in one of these are of different problems.
PROBLEM = ("simulator", "suite", "suite_digest", "objective", "aggregation")


def add_commands(app: typer.Typer) -> None:
    app.command("compare-searches", cls=TargetCommand)(compare_searches)


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one search; None where there is no value. The scores are of `number`: the winner, else the best by
    train score."""

    search_id: str
    title: str
    state: str
    number: int | None
    winner: bool
    score: float | None
    better: float | None  # than the baseline, as a share of it
    of_bound: float | None
    held_out_score: float | None
    held_out_better: float | None
    candidates: int
    usd: float
    wall_seconds: float


def compare_searches(
    ctx: typer.Context,
    search_ids: Annotated[
        list[str], typer.Argument(metavar="SEARCH...", autocompletion=completion.searches, help="Two or more ids.")
    ],
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Also write a page: all of them in one plot (HTML, needs no network).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One document: rows, settings that differ.")] = False,
) -> None:
    """Compare searches: what they found and spent, and the settings in which they differ."""
    ids = list(dict.fromkeys(search_ids))
    if len(ids) < 2:
        raise InvalidArgument.of("search", "name two searches or more to compare (see `quintain searches`)")
    if out_file is not None:
        refuse_existing(out_file, force)
        check_plotly()
    with Connection(ctx.obj, "controller") as connection:
        found = [get_search(connection, search_id) for search_id in ids]
        each = [read_curve_data(connection, search) for search in found] if out_file is not None else []
    differing = differing_settings(found)
    problems = [name for name in PROBLEM if name in differing]
    if out_file is not None:
        write_page(out_file, force, each, differing, problems)
    if as_json:
        rows = [asdict(result_row(search)) for search in found]
        render.print_json({"searches": rows, "settings": differing, "same_problem": not problems})
        return
    _print_rows(found)
    _print_settings(ids, differing)
    if problems:
        say(f"[yellow]they differ in {', '.join(problems)}: their scores are not of the same problem[/]")


def result_row(search: pb.Search) -> Row:
    promoted = search.HasField("winner")
    c = search.winner if promoted else search.best
    known = promoted or search.HasField("best")

    def value(name: str) -> float | None:
        return getattr(c, name) if c.HasField(name) else None  # type: ignore[arg-type]

    held_out = value("held_out_score")
    return Row(
        search_id=search.search_id,
        title=search.spec.title,
        state=render.enum_name(pb.SearchState, search.state),
        number=c.number if known else None,
        winner=promoted,
        score=value("score"),
        better=render.improvement(value("score"), value("baseline_score"), search.direction),
        of_bound=render.share_of_bound(value("score"), value("bound_score"), search.direction),
        held_out_score=held_out,
        held_out_better=render.improvement(held_out, value("held_out_baseline_score"), search.direction),
        candidates=search.spend.candidates,
        usd=search.spend.usd,
        wall_seconds=search.spend.wall_seconds,
    )


def settings_of(search: pb.Search) -> dict[str, Any]:
    """A search's settings, one level deep; policies to begin with by digest."""
    settings: dict[str, Any] = {}
    for name, value in render.to_dict(search.spec).items():
        if name == "suite_files":
            settings["suite_digest"] = search.spec.suite_files.digest
        elif name == "seed_policies":
            sources = (policy.source for policy in search.spec.seed_policies)
            settings[name] = [hashlib.sha256(source.encode()).hexdigest()[:12] for source in sources]
        elif isinstance(value, dict):
            settings |= {f"{name}.{key}": inner for key, inner in value.items()}
        elif name != "title":
            settings[name] = value
    settings["objective"] = search.objective.name or search.spec.objective
    settings["aggregation"] = render.enum_name(type_pb2.Aggregation, search.aggregation)
    settings["forked_from"] = search.forked_from_candidate_id
    return settings


def differing_settings(searches: list[pb.Search]) -> dict[str, dict[str, Any]]:
    """By name of the setting: each search's value by the search's id; None where it is not set."""
    each = {search.search_id: settings_of(search) for search in searches}
    names = sorted({name for settings in each.values() for name in settings})
    values = {name: {search_id: settings.get(name) for search_id, settings in each.items()} for name in names}
    return {name: of for name, of in values.items() if any(one != of[searches[0].search_id] for one in of.values())}


HEAD = ("search", "title", "state", "policy")
NUMERIC = ("score", "better by", "of the bound", "held-out", "held-out better by", "tried", "spent")


def row_cells(search: pb.Search) -> tuple[str, ...]:
    """Of the columns HEAD and NUMERIC."""
    row = result_row(search)
    return (
        row.search_id,
        row.title,
        row.state,
        "" if row.number is None else f"#{row.number} {'winner' if row.winner else 'best'}",
        render.number(row.score),
        render.percent(row.better, signed=True),
        render.percent(row.of_bound),
        render.number(row.held_out_score),
        render.percent(row.held_out_better, signed=True),
        str(row.candidates),
        render.usd(row.usd),
    )


def _print_rows(searches: list[pb.Search]) -> None:
    rows = render.table(*HEAD, *NUMERIC, numeric=NUMERIC)
    for search in searches:
        rows.add_row(*map(escape, row_cells(search)))
    out.print(rows)


def read_curve_data(connection: Connection, search: pb.Search) -> ReportData:
    """What a line of the plot is made of."""
    return ReportData(search, list(list_candidates(connection, search.search_id)), ())


def write_page(
    path: Path, force: bool, each: list[ReportData], differing: dict[str, dict[str, Any]], problems: list[str]
) -> None:
    from quintain_cli.report.comparison import Curve, PageTable, render_comparison  # plotly takes a second to import

    searches = [data.search for data in each]
    titles = [search.spec.title for search in searches]
    told_apart = all(titles) and len(set(titles)) == len(titles)
    names = titles if told_apart else [f"{s.search_id} {s.spec.title}".rstrip() for s in searches]
    rows = [row_cells(search) for search in searches]
    tables = [PageTable("What they found", (*HEAD, *NUMERIC), rows, frozenset(range(len(HEAD), len(rows[0]))))]
    if differing:
        ids = [search.search_id for search in searches]
        settings = [(name, *(_said(values[one]) for one in ids)) for name, values in differing.items()]
        tables.append(PageTable("Settings that differ", ("setting", *ids), settings))
    notes = [f"they differ in {', '.join(problems)}: their scores are not of the same problem"] if problems else []
    curves = [Curve(name, name, data) for name, data in zip(names, each, strict=True)]
    title = f"{len(each)} searches: " + ", ".join(
        dict.fromkeys(f"{s.spec.simulator} / {s.spec.suite}" for s in searches)
    )
    write_file(path, render_comparison("searches compared", title, notes, curves, tables, not problems), force)
    errors.print(f"wrote {path}")


def _print_settings(ids: list[str], differing: dict[str, dict[str, Any]]) -> None:
    if not differing:
        out.print("their settings are the same")
        return
    rows = render.table("setting", *ids)
    for name, values in differing.items():
        rows.add_row(name, *(escape(_said(values[search_id])) for search_id in ids))
    out.print(rows)


def _said(value: Any) -> str:
    if value in (None, "", [], {}):
        return render.NOTHING
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
