"""``quintain archive`` and ``restore``: a search as one file for somebody else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain_cli.commands.lookup import SearchId, get_search
from quintain_cli.connect import FOREVER_SECONDS, Connection
from quintain_cli.files import refuse_existing, write_file
from quintain_cli.render import out, size_text
from quintain_cli.target import TargetCommand
from quintain_cli.waiting import WaitingLine


def add_commands(app: typer.Typer) -> None:
    app.command("archive", cls=TargetCommand)(archive)
    app.command("restore", cls=TargetCommand)(restore)


def archive(
    ctx: typer.Context,
    search_id: SearchId,
    out_file: Annotated[Path | None, typer.Option("--out", help="Default: SEARCH.quintain.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
) -> None:
    """Write a search as one file for somebody else: candidates, prompts, answers, verdicts, events, the files of its
    own suite, title, notes, tags. No tokens and nothing of this machine; but what models and policies wrote. The search
    must have ended, or be paused."""
    path = out_file or Path(f"{search_id}.quintain")
    refuse_existing(path, force)
    with Connection(ctx.obj, "controller") as connection, tempfile.TemporaryFile() as whole:
        request = pb.ExportSearchRequest(search_id=get_search(connection, search_id).search_id)
        with WaitingLine(f"archiving {search_id}"):
            connection.controller.export_search(request, whole, FOREVER_SECONDS)
        whole.seek(0)
        data = whole.read()
    write_file(path, data, force)
    out.print(f"wrote search {search_id} to {path} ({size_text(len(data))}); `quintain restore` reads it")


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that `quintain archive` wrote.")],
) -> None:
    """Restore a search from its file, under its old id. It has ended: look at it, replay it, fork it, delete it."""
    if not file.is_file():
        raise InvalidArgument.of("file", f"{file} is no file")
    with Connection(ctx.obj, "controller") as connection, file.open("rb") as opened:
        search = connection.controller.import_search(opened, FOREVER_SECONDS).search
    out.print(
        f"restored search {search.search_id}: {search.spend.candidates} candidates; "
        f"`quintain show {search.search_id}`, `replay`, `fork` and the others know it now"
    )
