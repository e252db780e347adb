"""``quintain replay``: proves that a recorded search gives the same candidates, verdicts and winner again."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from rich.markup import escape

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import Internal
from quintain_cli import render
from quintain_cli.commands.lookup import SearchId
from quintain_cli.connect import FOREVER_SECONDS, Connection
from quintain_cli.render import out, say
from quintain_cli.target import TargetCommand
from quintain_cli.waiting import WaitingLine

DIFFERENT = 1
MOST_DIFFERENCES = 10


def add_commands(app: typer.Typer) -> None:
    app.command("replay", cls=TargetCommand)(replay)


def replay(
    ctx: typer.Context,
    search_id: SearchId,
    parallel: Annotated[int, typer.Option(min=1, help="Verifications at once; the result does not depend on it.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Run the strategy again on the recorded generations, verify everything again, and compare bit for bit. The
    controller does it; no backend is asked and nothing is written. Exit code 1 if anything differs."""
    with Connection(ctx.obj, "controller", "verifier") as connection:
        report, differences = _replay(connection, search_id, parallel)
    if as_json:
        fields = MessageToDict(report, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        render.print_json({**fields, "differences": differences})
    else:
        _print(report, differences)
    if not report.equal:
        raise typer.Exit(DIFFERENT)


def _replay(connection: Connection, search_id: str, parallel: int) -> tuple[pb.ReplayReport, list[str]]:
    differences: list[str] = []
    request = pb.ReplaySearchRequest(search_id=search_id, parallel_verifications=parallel)
    with WaitingLine(f"replaying {search_id}") as waiting:
        for response in connection.controller.replay_search(request, FOREVER_SECONDS):
            match response.WhichOneof("event"):
                case "progress":
                    done, total = response.progress.verifications_done, response.progress.verifications_total
                    waiting.update(f"replaying {search_id}: {done} of {total} verifications")
                case "difference":
                    differences.append(response.difference)
                case "report":
                    return response.report, differences[-response.report.differences :]  # of the last try
    raise Internal("the controller ended the stream without a report")


def _print(report: pb.ReplayReport, differences: list[str]) -> None:
    out.print(
        f"{report.candidates} candidates: {report.plans_equal} planned alike, {report.requests_equal} of "
        f"{report.requests} requests equal, {report.verdicts_equal} of {report.verdicts} verdicts equal"
    )
    if report.winner_equal:
        out.print(
            f"the winner is #{report.winner_number} again" if report.HasField("winner_number") else "no winner again"
        )
    for difference in differences[:MOST_DIFFERENCES]:
        say(f"[red]{escape(difference)}[/]")
    left_out = len(differences) - MOST_DIFFERENCES
    if left_out > 0:
        out.print(f"and {left_out} more (--json lists all)")
    if report.verdicts and report.verdicts_equal == 0:
        out.print("every verdict is another one: was the simulator changed since? Its build is part of every verdict")
    out.print("[green]the replay is equal[/]" if report.equal else "[red]the replay differs[/]")
