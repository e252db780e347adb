"""``quintain replay``: proves that a recorded search gives the same candidates, verdicts and winner again."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote

import typer
from rich.markup import escape

from quintain.errors import InvalidArgument
from quintain_cli import render
from quintain_cli.commands.lookup import SearchId
from quintain_cli.commands.verify import VERIFY_SECONDS
from quintain_cli.connect import Connection
from quintain_cli.render import out, say
from quintain_cli.stack import paths
from quintain_cli.stack.settings import configured, default_settings
from quintain_cli.target import Target, TargetCommand
from quintain_cli.waiting import Waiting

if TYPE_CHECKING:
    from quintain_controller.usecases.replay import ReplayReport

DIFFERENT = 1
MOST_DIFFERENCES = 10


def add_commands(app: typer.Typer) -> None:
    app.command("replay", cls=TargetCommand)(replay)


def replay(
    ctx: typer.Context,
    search_id: SearchId,
    store_url: Annotated[
        str | None, typer.Option(help="The controller's database; default: the local stack's own.", show_default=False)
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Verifications at once; the result does not depend on it.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Run the strategy again on the recorded generations, verify everything again, and compare bit for bit. Asks no
    backend and writes nothing. Exit code 1 if anything differs."""
    url = store_url or local_store_url(ctx.obj)
    scheme, _, file = url.partition("?")[0].partition(":///")
    file = unquote(file)
    if scheme == "sqlite" and not Path(file).is_file():  # opening it would make an empty one
        raise InvalidArgument.of("store_url", f"there is no database {file}")
    with Connection(ctx.obj, "verifier") as connection:
        report = asyncio.run(_replay(connection, search_id, url, parallel))
    if as_json:
        render.print_json({**asdict(report), "equal": report.equal})
    else:
        _print(report)
    if not report.equal:
        raise typer.Exit(DIFFERENT)


def local_store_url(target: Target) -> str:
    """Where the local or embedded controller keeps its searches: environment, configuration file, data folder."""
    data = target.data_dir or paths.data_dir()
    own = default_settings("controller", data, {"generator": "", "verifier": ""})["store_url"]
    return os.environ.get("QUINTAIN_CONTROLLER__STORE_URL") or configured("controller").get("store_url") or own


async def _replay(connection: Connection, search_id: str, url: str, parallel: int) -> ReplayReport:
    # Here and not above: no other command needs the database's libraries, which take a second to import.
    from quintain_controller.adapters.generator import encode_request
    from quintain_controller.adapters.store.sql import SqlStore
    from quintain_controller.adapters.verifier import GrpcVerifier
    from quintain_controller.usecases.async_store import AsyncStore
    from quintain_controller.usecases.replay import replay as run_again

    store = AsyncStore(SqlStore(url))
    verifier = GrpcVerifier(connection.settings("verifier"), VERIFY_SECONDS, store.suite_files, retries=True)
    try:
        with Waiting(f"replaying {search_id}") as waiting:

            def progress(done: int, total: int) -> None:
                waiting.update(f"replaying {search_id}: {done} of {total} verifications")

            return await run_again(search_id, store, verifier, encode_request, parallel=parallel, progress=progress)
    finally:
        await verifier.close()
        store.close()


def _print(report: ReplayReport) -> None:
    out.print(
        f"{report.candidates} candidates: {report.plans_equal} planned alike, {report.requests_equal} of "
        f"{report.requests} requests equal, {report.verdicts_equal} of {report.verdicts} verdicts equal"
    )
    if report.winner_equal:
        out.print(
            f"the winner is #{report.winner_number} again" if report.winner_number is not None else "no winner again"
        )
    for difference in report.differences[:MOST_DIFFERENCES]:
        say(f"[red]{escape(difference)}[/]")
    left_out = len(report.differences) - MOST_DIFFERENCES
    if left_out > 0:
        out.print(f"and {left_out} more (--json lists all)")
    if report.verdicts and report.verdicts_equal == 0:
        out.print("every verdict is another one: was the simulator changed since? Its build is part of every verdict")
    out.print("[green]the replay is equal[/]" if report.equal else "[red]the replay differs[/]")
