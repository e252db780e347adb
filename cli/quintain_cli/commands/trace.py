"""``quintain trace import``: a recorded log as a trace of a simulator."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quintain.errors import InvalidArgument
from quintain.plugins.doors import TRACES
from quintain.plugins.loading import PluginError
from quintain.plugins.trace import Row, TraceFormat
from quintain_cli.render import errors, out
from quintain_cli.traces.mapped import load_map, read
from quintain_cli.traces.public import PUBLIC, Log, Selection

TABLE = "table"


def add_commands(app: typer.Typer) -> None:
    group = typer.Typer(help="Traces from recorded logs.", no_args_is_help=True, rich_markup_mode=None)
    group.command("import")(import_trace)
    group.command("columns")(columns)
    app.add_typer(group, name="trace")


Simulator = Annotated[str, typer.Option(help="Whose trace it becomes.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")]  # see app.main


def import_trace(
    files: Annotated[list[Path], typer.Argument(help="The log's files, as fetched; .gz is read as it is.")],
    source: Annotated[
        str, typer.Option("--from", help=f"{', '.join(PUBLIC)}; or {TABLE}, with --map, for a log of your own.")
    ] = TABLE,
    out_file: Annotated[Path | None, typer.Option("--out", help="Default: the simulator's own name.")] = None,
    column_map: Annotated[Path | None, typer.Option("--map", help="TOML file that maps the log's columns.")] = None,
    simulator: Simulator = "faas",
    start: Annotated[float, typer.Option(min=0, help="Skip so many seconds of the log.")] = 0.0,
    seconds: Annotated[float | None, typer.Option(min=0, help="Take so many seconds.", show_default=False)] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Take a share of the functions, by their ids.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Draws what the log does not say.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    verbose: Verbose = False,
) -> None:
    """Write a trace from a log: a public data set that you have fetched, or a table with a map of its columns."""
    target = _format(simulator)
    path = out_file or Path(target.file_name)
    if path.exists() and not force:
        raise InvalidArgument.of("out", f"{path} is there already; name another file, or say --force")
    selection = Selection(start, float("inf") if seconds is None else seconds, share, seed)
    log = _log(source, files, column_map, target, selection)
    counted = itertools.count()
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            notes = target.write(_counting(log.rows, counted), file)
        written = next(counted)
        if not written:
            raise InvalidArgument.of("file", "no row of the log lies in the part that was asked for")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    errors.print(f"wrote {written} rows to {escape(str(path))}")
    for note in [*log.notes, *notes]:
        errors.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)


def columns(simulator: Simulator = "faas", verbose: Verbose = False) -> None:
    """List the columns that a map may give, with their units."""
    for column in _format(simulator).columns:
        needed = ", needed" if column.required else ""
        unit = f" ({column.unit}{needed})" if column.unit or needed else ""
        out.print(f"{column.name}{escape(unit)}: {escape(column.description)}", soft_wrap=True)


def _format(simulator: str) -> TraceFormat:
    try:
        return TRACES.load(simulator)
    except PluginError as error:
        raise InvalidArgument.of("simulator", str(error)) from error


def _log(source: str, files: list[Path], column_map: Path | None, target: TraceFormat, selection: Selection) -> Log:
    if source == TABLE:
        if column_map is None:
            raise InvalidArgument.of("map", "a log of your own needs --map FILE; see quintain trace columns")
        return Log(_selected(read(files, load_map(column_map, [*target.columns])), selection))
    if source not in PUBLIC:
        raise InvalidArgument.of("from", f"{source!r} is unknown; known are {', '.join([TABLE, *PUBLIC])}")
    if column_map is not None:
        raise InvalidArgument.of("map", f"{source} has columns of its own; --map is for --from {TABLE}")
    return PUBLIC[source](files, selection)


def _selected(rows: Iterator[Row], selection: Selection) -> Iterator[Row]:
    """The part that is wanted; arrivals count from the log's first one."""
    origin: float | None = None
    left_out: object = None  # the pipeline whose first row is not in the part: its other rows are not either
    for row in rows:
        arrival, pipeline = row.values.get("arrival_seconds"), row.values.get("pipeline_id")
        if not isinstance(arrival, float):  # a later row of its pipeline; if it is not, the format says so
            if pipeline is None or pipeline != left_out:
                yield row
            continue
        origin = arrival if origin is None else origin
        after = selection.place(arrival - origin)
        if after is not None and selection.has(str(row.values.get("function", ""))):
            yield Row(row.place, {**row.values, "arrival_seconds": after})
        else:
            left_out = pipeline


def _counting(rows: Iterator[Row], counted: Iterator[int]) -> Iterator[Row]:
    for row in rows:
        next(counted)
        yield row
