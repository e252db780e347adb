"""``quintain notebook``: what a search has learnt, to read, to keep, and to give to another search."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients.notebooks import notebook_document
from quintain.controller.v1 import controller_pb2 as pb
from quintain_cli import render
from quintain_cli.commands.lookup import SearchId, get_notebook
from quintain_cli.connect import Connection
from quintain_cli.files import refuse_existing, write_file
from quintain_cli.render import errors, out, say
from quintain_cli.target import TargetCommand


def add_commands(app: typer.Typer) -> None:
    app.command("notebook", cls=TargetCommand)(notebook)


def notebook(
    ctx: typer.Context,
    search_id: SearchId,
    lessons: Annotated[bool, typer.Option("--lessons", help="Only what the next request would carry.")] = False,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write it as JSON; `quintain search --notebook FILE` carries it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show what answers claimed, what came of it, and the lessons that later prompts carry."""
    if out_file is not None:
        refuse_existing(out_file, force)
    with Connection(ctx.obj, "controller") as connection:
        found = get_notebook(connection, search_id)
    document = notebook_document(search_id, found)
    if out_file is not None:
        write_file(out_file, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode(), force)
        errors.print(f"wrote {len(found.entries)} entries and {len(found.lessons)} lessons to {out_file}")
    elif as_json:
        render.print_json(document)
    elif lessons:
        for lesson in found.lessons:
            out.print(escape(lesson), soft_wrap=True)
    else:
        for entry in found.entries:
            out.print(escape(entry.text), soft_wrap=True)
        say(summary(found))


def summary(found: pb.GetNotebookResponse) -> str:
    """How many claims were made and how they ended, in one line."""
    if not found.entries:
        return "no answer has stated a hypothesis"
    words = Counter(prediction.outcome for entry in found.entries for prediction in entry.predictions)
    said = ", ".join(f"{words[word]} {word}" for word in ("true", "partly", "false") if words[word])
    return f"{len(found.entries)} hypotheses" + (f"; predictions: {said}" if said else "")
