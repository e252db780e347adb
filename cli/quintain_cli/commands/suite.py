"""``quintain suite new|check|split``: a workload of one's own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients.suite_files import read_suite, suite_message
from quintain.errors import InvalidArgument
from quintain.plugins.doors import SIMULATORS
from quintain.plugins.simulator import Part, SuiteReader, narrowed
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli.commands.simulate import load_simulator
from quintain_cli.commands.verify import POLICY_FAILED, run_verify
from quintain_cli.connect import Connection, client_settings
from quintain_cli.files import write_file
from quintain_cli.render import out, say
from quintain_cli.target import Target, TargetCommand
from quintain_cli.traces.files import open_text

TIME_COLUMNS = ("arrival_seconds", "time")

Simulator = Annotated[str, typer.Option(help="Whose suite it is.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")]  # see app.main


def add_commands(app: typer.Typer) -> None:
    group = typer.Typer(help="Suites of your own.", no_args_is_help=True, rich_markup_mode=None)
    group.command("new", cls=TargetCommand)(new)
    group.command("check", cls=TargetCommand)(check)
    group.command("split")(split)
    app.add_typer(group, name="suite")


def new(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    simulator: Annotated[
        str, typer.Option(metavar="NAME|HOST:PORT", help="Whose suite it is: installed, or served by its contract.")
    ] = "faas",
) -> None:
    """Make a commented suite that runs and can be searched at once."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidArgument.of("folder", f"{folder} is there already; name a new one")
    for name, content in sorted(_template(ctx.obj, simulator, folder.resolve().name).items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content, force=False)
        out.print(escape(str(path)))
    known = "NAME" if ":" in simulator else simulator  # in the verifier's configuration
    say(f"next: quintain suite check {escape(str(folder))} --simulator {known}")
    say(f"      quintain search --suite {escape(str(folder))} --simulator {known} --candidates 40")


def _template(target: Target, simulator: str, name: str) -> Mapping[str, bytes]:
    if ":" not in simulator:
        if simulator not in SIMULATORS.names():
            known = ", ".join(SIMULATORS.names())
            raise InvalidArgument.of("simulator", f"{simulator!r} is not among {known}; of a served one give HOST:PORT")
        return _reader(simulator).suite_template(name)
    from quintain.clients.simulator import RemoteSimulator  # gRPC takes a while to load

    remote = RemoteSimulator(client_settings(target, simulator))
    try:
        return remote.suite_template(name)
    finally:
        remote.close()


def check(
    ctx: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The suite: a folder, or DIR/suites/NAME.toml.")],
    simulator: Simulator = "faas",
) -> None:
    """Check a suite: every file, row and column; then each baseline on it, in the sandbox. Exit code 1 if one fails."""
    name, files = read_suite(folder if folder.endswith(".toml") or folder.startswith((".", "/")) else f"./{folder}")
    assert files is not None
    if installed := simulator in SIMULATORS.names():
        parts = [e.part for e in narrowed(load_simulator(simulator), name, files=files).suite(name).entries]
        _say_parts(parts.count(Part.TRAIN), parts.count(Part.HELD_OUT))
        for note in _reader(simulator).suite_notes(name, files):
            say(f"[yellow]note[/] {escape(note)}")
    failed = False
    with Connection(ctx.obj, "verifier") as connection:
        asked = pb.GetSuiteRequest(simulator=simulator, suite=name, suite_files=suite_message(files))
        found = connection.verifier.get_suite(asked)
        if not installed:
            served = [entry.part for entry in found.suite.entries]
            _say_parts(served.count(type_pb2.PART_TRAIN), served.count(type_pb2.PART_HELD_OUT))
        for baseline in found.simulator.baselines:
            request = pb.VerifyRequest(simulator=simulator, suite=name, suite_files=suite_message(files))
            request.policy.source = baseline.source
            verdict = run_verify(connection, request, f"running {baseline.name}").verdict
            if verdict.status == pb.VERDICT_STATUS_OK:
                say(f"[green]ok[/]   baseline {baseline.name}: train {verdict.train.normalized:.3f}")
            else:
                failed = True
                say(f"[red]wrong[/] baseline {baseline.name}: {escape(verdict.failure.message)}")
    if failed:
        raise typer.Exit(POLICY_FAILED)


def _say_parts(train: int, held_out: int) -> None:
    say(f"[green]ok[/]   files: {train} train and {held_out} held-out scenarios")


@dataclass(frozen=True, slots=True)
class TraceWindow:
    """A stretch of a trace: its rows, with times counted from its beginning."""

    name: str
    part: str
    rows: Sequence[Sequence[str]]


def split(
    trace: Annotated[Path, typer.Argument(help="A trace (CSV) with a column arrival_seconds or time.")],
    folder: Annotated[Path, typer.Option("--out", help="The folder to make, with the traces and a table to paste.")],
    windows: Annotated[int, typer.Option(min=2, max=100, help="Stretches of equal length.")] = 8,
    held_out: Annotated[int, typer.Option(min=1, help="How many of the last are held out.")] = 2,
    verbose: Verbose = False,
) -> None:
    """Split a trace by time into scenarios; the last are held out: what is searched today runs tomorrow."""
    if held_out >= windows:
        raise InvalidArgument.of("held_out", f"{held_out} of {windows} windows: at least one must be left to train on")
    if folder.exists() and any(folder.iterdir()):
        raise InvalidArgument.of("out", f"{folder} is there already; name a new one")
    header, groups, column = _groups(trace)
    seconds = max(time for time, _ in groups) / windows or 1.0
    found = list(_windows(groups, column, seconds, windows, held_out))
    folder.mkdir(parents=True, exist_ok=True)
    for window in found:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([header, *window.rows])
        write_file(folder / f"{window.name}.csv", text.getvalue(), force=False)
        say(f"{window.name} ({window.part.replace('_', '-')}): {len(window.rows)} rows")
    empty = windows - len(found)
    if empty:
        say(f"[yellow]note[/] {empty} of {windows} windows hold nothing and were left out")
    scenarios = "".join(
        f'\n[[scenarios]]\nname = "{w.name}"\npart = "{w.part}"\nworkload.trace = "{w.name}.csv"\n' for w in found
    )
    write_file(folder / "scenarios.toml", f"# {seconds:g} s each; paste into suite.toml\n{scenarios}", force=False)
    say(f"each is {seconds:g} s long; the entries for suite.toml are in {escape(str(folder / 'scenarios.toml'))}")


def _groups(trace: Path) -> tuple[list[str], list[tuple[float, list[list[str]]]], int]:
    """The header, the rows by arrival (rows without one belong to the row before), and the time's column."""
    groups: list[tuple[float, list[list[str]]]] = []
    with open_text(trace) as text:
        rows = csv.reader(text)
        header = next(rows, [])
        column = next((header.index(name) for name in TIME_COLUMNS if name in header), None)
        if column is None:
            raise InvalidArgument.of("trace", f"{trace.name}:1: has none of the columns {', '.join(TIME_COLUMNS)}")
        for row in rows:
            if len(row) != len(header):
                raise InvalidArgument.of(
                    "trace", f"{trace.name}:{rows.line_num}: has {len(row)} of {len(header)} fields"
                )
            if row[column].strip():
                groups.append((_time(trace, rows.line_num, row[column]), [row]))
            elif groups:
                groups[-1][1].append(row)
            else:
                raise InvalidArgument.of("trace", f"{trace.name}:{rows.line_num}: the first row needs a time")
    if not groups:
        raise InvalidArgument.of("trace", f"{trace.name}: holds no row")
    return header, groups, column


def _time(trace: Path, line: int, text: str) -> float:
    try:
        time = float(text)
    except ValueError:
        time = -1.0
    if not 0 <= time < float("inf"):
        raise InvalidArgument.of("trace", f"{trace.name}:{line}: {text!r} is no time in seconds from 0 up")
    return time


def _windows(
    groups: Sequence[tuple[float, list[list[str]]]], column: int, seconds: float, count: int, held_out: int
) -> Iterator[TraceWindow]:
    for number in range(count):
        begin, last = number * seconds, number == count - 1
        inside = [(t, rows) for t, rows in groups if begin <= t and (last or t < begin + seconds)]
        if inside:
            moved = [
                _moved(row, column, t - begin) if n == 0 else row for t, rows in inside for n, row in enumerate(rows)
            ]
            yield TraceWindow(f"window{number + 1:02}", "train" if number < count - held_out else "held_out", moved)


def _moved(row: Sequence[str], column: int, time: float) -> list[str]:
    return [*row[:column], repr(time), *row[column + 1 :]]


def _reader(simulator: str) -> SuiteReader:
    found = load_simulator(simulator)
    if not isinstance(found, SuiteReader):
        raise InvalidArgument.of("simulator", f"{simulator} takes no suites of one's own")
    return found
