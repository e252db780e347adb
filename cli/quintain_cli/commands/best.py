"""``quintain best``: the policy that a search found, as a file that says where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from quintain.clients.front import front_rows, preferred
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain.plugins.doors import EXPORTS
from quintain.plugins.loading import PluginError, UnknownPlugin
from quintain_cli import render
from quintain_cli.commands.lookup import SearchId, get_candidate, get_search, list_candidates
from quintain_cli.commands.verify import models_text
from quintain_cli.connect import Connection
from quintain_cli.files import refuse_existing, write_file
from quintain_cli.render import errors
from quintain_cli.target import TargetCommand

OWN_FORMAT = "quintain"

# From a policy's source and the lines of its provenance to the text of a file.
Export: TypeAlias = Callable[[str, list[str]], str]


def add_commands(app: typer.Typer) -> None:
    app.command("best", cls=TargetCommand)(best)


def best(
    ctx: typer.Context,
    search_id: SearchId,
    candidate: Annotated[str, typer.Option(help="Another candidate, by id or number.")] = "best",
    prefer: Annotated[
        str,
        typer.Option(
            metavar="OBJECTIVE", help="Of a search of several objectives: of those on the front the best in this one."
        ),
    ] = "",
    out_file: Annotated[Path | None, typer.Option("--out", help="File to write; default: standard output.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
    file_format: Annotated[
        str, typer.Option("--format", help="quintain, or a format that an installed simulator exports (eudoxia).")
    ] = OWN_FORMAT,
) -> None:
    """Write the promoted winner, or the best candidate so far, with its provenance."""
    convert = exporter(file_format)
    if out_file is not None:
        refuse_existing(out_file, force)
    with Connection(ctx.obj, "controller") as connection:
        search = get_search(connection, search_id)
        if prefer:
            if candidate != "best":
                raise InvalidArgument.of("prefer", "give --prefer or --candidate, not both")
            rows = front_rows(search, list_candidates(connection, search_id))
            candidate = preferred(search, rows, prefer).candidate_id
        found = get_candidate(connection, search_id, candidate)
    header = provenance(search, found)
    text = convert(found.source, header)
    if out_file is None:
        print(text, end="")
        return
    write_file(out_file, text, force)
    errors.print(f"wrote candidate #{found.summary.number} of search {search_id} to {out_file}")
    if not search.HasField("winner") or search.winner.candidate_id != found.summary.candidate_id:
        errors.print("[yellow]it was not promoted: see the gates in `quintain show`[/]")


def exporter(file_format: str) -> Export:
    """The function that writes a format. Raises InvalidArgument for an unknown one."""
    if file_format == OWN_FORMAT:
        return with_header
    try:
        return EXPORTS.load(file_format)
    except UnknownPlugin:
        known = ", ".join([OWN_FORMAT, *EXPORTS.names()])
        raise InvalidArgument.of("format", f"{file_format!r} is unknown; known are: {known}") from None
    except PluginError as error:
        raise InvalidArgument.of("format", str(error)) from error


def provenance(search: pb.Search, candidate: pb.Candidate) -> list[str]:
    """Where a policy comes from, in lines for a comment: all of it can be looked up again."""
    summary, spec = candidate.summary, search.spec
    promoted = search.HasField("winner") and search.winner.candidate_id == summary.candidate_id
    lines = [
        f"Found by quintain, search {search.search_id}, candidate {summary.number} ({summary.candidate_id})",
        f"simulator {spec.simulator}, build {candidate.verdict.simulator_build}",
        f"suite {spec.suite}, objective {search.objective.name or candidate.verdict.objective}",
        f"verdict {summary.verdict_digest}",
    ]
    for name, present in (("train", "score"), ("held_out", "held_out_score")):
        prefix = "" if name == "train" else "held_out_"
        if not summary.HasField(present):  # type: ignore[arg-type]
            continue
        score, base = getattr(summary, present), getattr(summary, f"{prefix}baseline_score")
        better = render.percent(render.improvement(score, base, search.direction), signed=True)
        lines.append(f"{name.replace('_', '-')} {score!r} (baseline {base!r}, {better})")
    lines.append(f"gates: {gates_text(search, promoted)}")
    if fidelity := render.fidelity_text(search.fidelity, search.fidelity_reason):
        lines.append(f"found in a model, fidelity {fidelity}")
    if models := models_text(candidate.verdict.train):
        lines.append(f"train: {models}")
    return lines


def gates_text(search: pb.Search, promoted: bool) -> str:
    if promoted:
        return "all passed (" + ", ".join(g.name for g in search.gates if g.passed) + ")"
    return "not promoted"


def with_header(source: str, header: list[str]) -> str:
    """The source as it was verified, under a comment: comments do not change what it does."""
    return "".join(f"# {line}\n" for line in header) + "\n" + source.rstrip("\n") + "\n"
