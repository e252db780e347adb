"""``quintain export``: the candidates of a search as a table for notebooks and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, InvalidArgument
from quintain.generator.v1 import generator_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import render
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
        row = make_row(summary, numbers)
        if sources:
            request = pb.GetCandidateRequest(candidate_id=summary.candidate_id)
            row["source"] = connection.controller.get_candidate(request).candidate.source
        yield row


def make_row(c: pb.CandidateSummary, numbers: dict[str, int]) -> Row:
    """The columns of a candidate; None where there is no value. `numbers`: of the candidates before it, by id."""

    def optional(name: str) -> float | None:
        return getattr(c, name) if c.HasField(name) else None  # type: ignore[arg-type]

    verified = c.state == pb.CANDIDATE_STATE_VERIFIED
    return {
        "search_id": c.search_id,
        "number": c.number,
        "candidate_id": c.candidate_id,
        "state": render.enum_name(pb.CandidateState, c.state),
        "operator": render.enum_name(generator_pb2.Operator, c.operator) if c.operator else "seed",
        "backend": c.backend or None,
        "parents": [numbers[parent] for parent in c.parent_ids if parent in numbers],
        "outcome": render.enum_name(generator_pb2.Outcome, c.generation_outcome) if c.generation_outcome else None,
        "verdict": render.enum_name(verifier_pb2.VerdictStatus, c.verdict_status) if verified else None,
        "score": optional("score"),
        "baseline_score": optional("baseline_score"),
        "bound_score": optional("bound_score"),
        "normalized": optional("normalized"),
        "held_out_score": optional("held_out_score"),
        "held_out_baseline_score": optional("held_out_baseline_score"),
        "usd": None if c.cost.unpriced else c.cost.usd,
        "at_risk_usd": c.cost.at_risk_usd,
        "input_tokens": c.usage.input_tokens,
        "cached_input_tokens": c.usage.cached_input_tokens,
        "cache_write_tokens": c.usage.cache_write_tokens,
        "output_tokens": c.usage.output_tokens,
        "reasoning_tokens": c.usage.reasoning_tokens,
        "island": c.island,
        "verdict_digest": c.verdict_digest or None,
        "summary": c.summary,
    }


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
