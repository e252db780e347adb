"""``quintain report``: gathers what a search recorded, has the runs' pictures drawn, and writes the HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import QuintainError
from quintain.plugins.doors import PICTURES
from quintain.plugins.loading import PluginError, UnknownPlugin
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import render
from quintain_cli.commands.lookup import (
    SearchId,
    get_candidate,
    get_notebook,
    get_search,
    list_candidates,
    suite_files,
)
from quintain_cli.commands.verify import run_verify
from quintain_cli.connect import Connection
from quintain_cli.files import refuse_existing, write_file
from quintain_cli.render import errors, say
from quintain_cli.report import check_plotly
from quintain_cli.report.data import Conversation, ReportData, Timeline, conversation_of
from quintain_cli.target import TargetCommand

MOST_SOURCES = 500


def add_commands(app: typer.Typer) -> None:
    app.command("report", cls=TargetCommand)(report)


def report(
    ctx: typer.Context,
    search_id: SearchId,
    out_file: Annotated[Path | None, typer.Option("--out", help="Default: quintain-SEARCH.html.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file that --out names.")] = False,
    timelines: Annotated[
        bool, typer.Option("--timelines/--no-timelines", help="Run baseline and best once more to draw them.")
    ] = True,
) -> None:
    """Write a search's report: one HTML file that opens anywhere, also offline."""
    if out_file is not None:
        refuse_existing(out_file, force)
    check_plotly()
    from quintain_cli.report.page import render_report  # plotly takes a second to import

    needs = ("controller", "verifier") if timelines else ("controller",)
    with Connection(ctx.obj, *needs) as connection:
        data = gather(connection, search_id, timelines)
    path = out_file or Path(f"quintain-{search_id}.html")
    write_file(path, render_report(data))
    say(f"wrote {path}")


def gather(connection: Connection, search_id: str, timelines: bool) -> ReportData:
    search = get_search(connection, search_id)
    candidates = list(list_candidates(connection, search_id))
    shown = get_candidate(connection, search_id, "best") if search.HasField("best") else None
    seed = connection.controller.get_candidate(
        pb.GetCandidateRequest(candidate_id=candidates[0].candidate_id)
    ).candidate
    verdict = shown.verdict if shown is not None else None
    scenario, pictures = "", list[Timeline]()
    if timelines and shown is not None:
        try:
            verdict = verify_whole_suite(connection, search, shown)
            scenario, pictures = draw_timelines(connection, search, verdict, seed, shown)
        except QuintainError as error:
            errors.print("[yellow]without timelines and held-out scenarios:[/] ", end="")
            render.print_error(error)
    events = events_so_far(connection, search)
    sources, conversations = read_candidates(connection, candidates)
    notebook = get_notebook(connection, search_id)
    return ReportData(
        search, candidates, events, shown, verdict, seed, pictures, scenario, sources, notebook, conversations
    )


def read_candidates(
    connection: Connection, candidates: Sequence[pb.CandidateSummary]
) -> tuple[dict[str, str], list[Conversation]]:
    """Sources by candidate's id, and conversations. Of a long search, of the last ones: the page stays a file for a
    mail."""
    sources, conversations = {}, []
    for c in candidates[-MOST_SOURCES:]:
        whole = connection.controller.get_candidate(pb.GetCandidateRequest(candidate_id=c.candidate_id)).candidate
        if whole.source:
            sources[c.candidate_id] = whole.source
        if (conversation := conversation_of(whole)) is not None:
            conversations.append(conversation)
    return sources, conversations


def events_so_far(connection: Connection, search: pb.Search) -> list[pb.Event]:
    """The events up to now; the stream of a running search would go on."""
    events: list[pb.Event] = []
    if search.last_sequence == 0:
        return events
    for event in connection.controller.watch_search(search.search_id):
        events.append(event)
        if event.sequence >= search.last_sequence:
            break
    return events


def _request(search: pb.Search, candidate: pb.Candidate, **fields: Any) -> verifier_pb2.VerifyRequest:
    return verifier_pb2.VerifyRequest(
        simulator=search.spec.simulator,
        suite=search.spec.suite,
        policy=type_pb2.Policy(source=candidate.source),
        objective=search.objective.name,
        limits=search.spec.limits,
        seed=candidate.verdict.seed,
        **fields,
    )


def verify_whole_suite(connection: Connection, search: pb.Search, shown: pb.Candidate) -> verifier_pb2.Verdict:
    """The verdict on train and held-out scenarios; the recorded one is on train alone."""
    request = _request(search, shown, suite_files=suite_files(connection, search))
    return run_verify(connection, request, f"verifying #{shown.summary.number} on the whole suite").verdict


def draw_timelines(
    connection: Connection, search: pb.Search, verdict: verifier_pb2.Verdict, seed: pb.Candidate, shown: pb.Candidate
) -> tuple[str, list[Timeline]]:
    """Pictures of the seed and the shown policy on the scenario that changed most; none if the simulator draws none."""
    try:
        draw = PICTURES.load(search.spec.simulator)
    except UnknownPlugin:
        return "", []
    except PluginError as error:
        errors.print(f"[yellow]the report has no timelines: {escape(str(error))}[/]")
        return "", []
    ran = [s for s in verdict.scenarios if s.ran and not s.HasField("failure")]
    if not ran:
        return "", []
    most = max(ran, key=lambda s: abs(s.value - s.baseline) / (abs(s.baseline) or 1.0))
    pictures = []
    for name, candidate in (("baseline (seed)", seed), (f"best found (#{shown.summary.number})", shown)):
        files = suite_files(connection, search)
        request = _request(search, candidate, scenarios=[most.scenario], suite_files=files, include_detail=True)
        detail = run_verify(connection, request, f"drawing {name}").verdict.scenarios[0].detail
        if detail:
            figure = draw(detail, "")
            figure.update_layout(width=None, autosize=True, margin={"t": 20})  # the page gives the width
            pictures.append(Timeline(name, figure))
    gain = render.percent(render.improvement(most.value, most.baseline, search.objective.direction), signed=True)
    return f"{most.scenario}, the scenario with the greatest change ({gain} against the baseline).", pictures
