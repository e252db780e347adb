"""``quintain export``: the candidates of a search as a table for notebooks and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from quintain.clients.candidates import candidate_row
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, InvalidArgument
from quintain_cli.commands.lookup import SearchId, list_candidates
from quintain_cli.connect import Connection
from quintain_cli.files import refuse_existing, write_file
from quintain_cli.render import errors
from quintain_cli.target import TargetCommand

Row: TypeAlias = dict[str, Any]

# What a spreadsheet takes for a formula: a model wrote the text.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


def add_commands(app: typer.Typer) -> None:
    app.command("export", cls=TargetCommand)(export)


def export(
    ctx: typer.Context,
    search_id: SearchId,
    file_format: Annotated[Format, typer.Option("--format", help="parquet needs pyarrow and --out.")] = Format.CSV,
    out_file: Annotated[Path | None, typer.Option("--out", help="Default: standard output.")] = None,
    sources: Annotated[bool, typer.Option("--sources", help="With each candidate's source.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
) -> None:
    """Write the candidates of a search as a table, a row each; docs/json.md says what the columns are."""
    if out_file is not None:
        refuse_existing(out_file, force)
    elif file_format is Format.PARQUET:
        raise InvalidArgument.of("out", "parquet is not for a terminal; name a file with --out")
    if file_format is Format.PARQUET:
        check_pyarrow()
    with Connection(ctx.obj, "controller") as connection:
        rows = list(read_rows(connection, search_id, sources))
    data = encode(rows, file_format)
    if out_file is None:
        print(data.decode(), end="")
        return
    write_file(out_file, data, force)
    errors.print(f"wrote {len(rows)} candidates of search {search_id} to {out_file}")


def read_rows(connection: Connection, search_id: str, sources: bool) -> Iterable[Row]:
    numbers: dict[str, int] = {}
    for summary in list_candidates(connection, search_id):
        numbers[summary.candidate_id] = summary.number
        row = asdict(candidate_row(summary, numbers))
        if sources:
            request = pb.GetCandidateRequest(candidate_id=summary.candidate_id)
            row["source"] = connection.controller.get_candidate(request).candidate.source
        yield row


def encode(rows: list[Row], file_format: Format) -> bytes:
    if file_format is Format.JSONL:
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if file_format is Format.PARQUET:
        return _parquet(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["search_id", "number"])
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def check_pyarrow() -> None:
    """Raise FailedPrecondition where pyarrow is not installed: it is as large as all the rest together."""
    try:
        import pyarrow.parquet  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError:
        raise FailedPrecondition("--format parquet needs pyarrow (pip install pyarrow); csv and jsonl do not") from None


def _parquet(rows: list[Row]) -> bytes:
    import pyarrow  # type: ignore[import-not-found,unused-ignore]
    import pyarrow.parquet  # type: ignore[import-not-found,unused-ignore]

    written = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), written)
    return written.getvalue()
