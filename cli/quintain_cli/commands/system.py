"""``quintain system new|check|run|import``: a system of one's own, as a package of a few files."""

from __future__ import annotations

import gzip
import itertools
import re
from pathlib import Path
from typing import IO, Annotated, cast

import typer
from rich.markup import escape

from quintain.clients.suite_files import FIT, read_suite, suite_message
from quintain.errors import FailedPrecondition, Internal, InvalidArgument
from quintain.plugins.doors import PICTURES, RECORDERS
from quintain.plugins.loading import PluginError
from quintain.plugins.recorder import RecordingReader, RecordingsReport
from quintain.plugins.simulator import Simulator, SuiteReader, narrowed
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli import render
from quintain_cli.commands.simulate import load_simulator
from quintain_cli.commands.verify import POLICY_FAILED, print_result, read_policy, run_verify
from quintain_cli.connect import Connection
from quintain_cli.files import refuse_existing, write_file
from quintain_cli.render import errors, out, say
from quintain_cli.target import TargetCommand
from quintain_cli.traces.files import read_table

SIMULATOR = "system"
MODEL_FILE, SYSTEM_FILE = "model.py", "system.toml"
# What does nothing must not win.
IDLE = "def decide(observation, happened):\n    return []\n"
TIMELINE_SHOWN = 24


def add_commands(app: typer.Typer) -> None:
    group = typer.Typer(help="Systems of your own, as packages.", no_args_is_help=True, rich_markup_mode=None)
    group.command("new")(new)
    group.command("check", cls=TargetCommand)(check)
    group.command("run", cls=TargetCommand)(run)
    group.command("import")(import_log)
    app.add_typer(group, name="system")


def new(
    folder: Annotated[Path, typer.Argument(help="The folder to make; its name becomes the system's.")],
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")] = False,  # see app.main
) -> None:
    """Make a commented system that runs and can be searched at once."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidArgument.of("folder", f"{folder} is there already; name a new one")
    files = _reader().suite_template(folder.resolve().name)
    for name, content in sorted(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content, force=False)
        out.print(f"{path}")
    out.print(f"\nnext: quintain system check {folder}")
    say(f"      quintain search --simulator system --suite {folder} --backend offline --candidates 40")


Folder = Annotated[str, typer.Argument(metavar="DIR", help="The package: a folder, or DIR/suites/NAME.toml.")]


def check(ctx: typer.Context, folder: Folder) -> None:
    """Check a system: its files, its invariants on runs of every baseline in the sandbox, whether model and policies
    are deterministic, how fast it is, what policies do not see, and whether doing nothing already wins. Exit code 1 if
    something is wrong."""
    name, files = read_package(folder)
    contradicts = _say_recordings(read_package(folder, recordings=True)[1])
    if MODEL_FILE not in files:
        say(f"[yellow]note[/] there is no {MODEL_FILE} yet: quintain fit {folder}")
        raise typer.Exit(POLICY_FAILED if contradicts else 0)
    reader = _reader()
    simulator = narrowed(load_simulator(SIMULATOR), name, files=files)
    suite = simulator.suite(name)
    parts = [str(entry.part.value) for entry in suite.entries]
    say(f"[green]ok[/]   files: {parts.count('train')} train and {parts.count('held_out')} held-out scenarios")
    for note in reader.suite_notes(name, files):
        say(f"[yellow]note[/] {escape(note)}")
    with Connection(ctx.obj, "verifier") as connection:
        wrong = _run_baselines(connection, simulator, name, files)
        if not wrong:
            _say_idle(connection, name, files)
    if wrong or contradicts:
        raise typer.Exit(POLICY_FAILED)


def import_log(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(help="The log's files (.csv, .jsonl, .parquet; .gz) in order.")],
    column_map: Annotated[Path, typer.Option("--map", help="TOML file: what its rows and columns are.")],
    name: Annotated[str, typer.Option(help="Of the recording; default: the first file's.")] = "",
    start: Annotated[float, typer.Option(min=0, help="Skip so many seconds of the log.")] = 0.0,
    seconds: Annotated[float, typer.Option(min=0, help="Take so many seconds.", show_default=False)] = float("inf"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a recording of this name.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")] = False,  # see app.main
) -> None:
    """Make a recording of a log. What is not carried over is said, and what contradicts itself in it, with the log's
    lines; nothing is mended."""
    _, package = read_package(folder)
    chosen = name or files[0].name.partition(".")[0]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", chosen):
        raise InvalidArgument.of("name", f"{chosen!r} must be letters, digits, and - _ . between them; give --name")
    path = Path(folder) / "recordings" / f"{chosen}.jsonl.gz"
    refuse_existing(path, force)
    path.parent.mkdir(exist_ok=True)
    rows = itertools.chain.from_iterable(read_table(file) for file in files)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as out_file:
            report = recording_reader().import_log(
                package, chosen, _bytes(column_map), rows, cast(IO[bytes], out_file), start, seconds
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _say_report(report)
    errors.print(f"wrote {escape(str(path))}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument.of("map", f"{path}: {error.strerror}") from None


def recording_reader() -> RecordingReader:
    found = RECORDERS.load(SIMULATOR)
    assert isinstance(found, RecordingReader)
    return found


def _say_recordings(files: dict[str, bytes]) -> bool:
    """Whether some contradict themselves."""
    report = recording_reader().check(files)
    _say_report(report)
    return bool(report.contradictions)


def _say_report(report: RecordingsReport) -> None:
    for line in report.said:
        say(f"[green]ok[/]   {escape(line)}")
    for line in report.contradictions:
        say(f"[red]contradicts itself[/] {escape(line)}")
    for line in report.notes:
        say(f"[yellow]note[/] {escape(line)}")
    for line in report.unverified:
        say(f"[yellow]unverified[/] {escape(line)}")


def run(
    ctx: typer.Context,
    folder: Folder,
    policy: Annotated[str, typer.Option(help="A policy file, or the name of a baseline; default: the first.")] = "",
    scenario: Annotated[str, typer.Option(help="A scenario of the suite; default: the first.")] = "",
    picture: Annotated[Path | None, typer.Option(help="Write a picture of the run to this HTML file.")] = None,
) -> None:
    """Run one policy in one scenario in the sandbox: what it scored, its metrics, and its worst moment."""
    name, files = read_package(folder)
    simulator = narrowed(load_simulator(SIMULATOR), name, files=files)
    names = [entry.scenario for entry in simulator.suite(name).entries]
    short = {full.rpartition("/")[2]: full for full in names}
    chosen = short.get(scenario, scenario) if scenario else names[0]
    request = _request(name, files, _source(simulator, policy))
    request.scenarios.append(chosen)
    request.include_detail = picture is not None
    with Connection(ctx.obj, "verifier") as connection:
        result = run_verify(connection, request, f"running {chosen}")
    print_result(result)
    verdict = result.verdict.scenarios[0]
    head, *rows = _metric_rows(verdict)
    table = render.table(*head, numeric=head[1:])
    for row in rows:
        table.add_row(*row)
    out.print(table)
    if verdict.timeline:
        out.print("\naround the worst moment:")
        for event in verdict.timeline[:TIMELINE_SHOWN]:
            say(f"  {event.time_seconds:10.3f} s  {escape(event.text)}")
    if picture is not None:
        _write_picture(verdict, f"{policy or 'the baseline'} on {chosen}", [head, *rows], picture)
    if result.verdict.status != pb.VERDICT_STATUS_OK:
        raise typer.Exit(POLICY_FAILED)


def _reader() -> SuiteReader:
    simulator = load_simulator(SIMULATOR)
    if not isinstance(simulator, SuiteReader):
        raise InvalidArgument.of("simulator", f"{SIMULATOR} takes no suites of one's own")
    return simulator


def read_package(folder: str, *, recordings: bool = False) -> tuple[str, dict[str, bytes]]:
    """The suite's name, and the files of a system package. Raises InvalidArgument."""
    path = Path(folder)
    if not path.exists():
        raise InvalidArgument.of("folder", f"{path} is not there; `quintain system new {path}` makes one")
    named = folder if path.suffix == ".toml" or folder.startswith((".", "/")) else f"./{folder}"
    name, files = read_suite(named, simulator=FIT if recordings else "")
    assert files is not None
    return name, files


def package_folder(folder: str) -> Path:
    """Of ``DIR`` or ``DIR/suites/NAME.toml``."""
    path = Path(folder)
    return path if path.is_dir() else path.parent if path.name == "suite.toml" else path.parent.parent


def _source(simulator: Simulator, policy: str) -> str:
    sources = {baseline.name: baseline.source for baseline in simulator.describe().baselines}
    if not policy:
        return next(iter(sources.values()))
    if policy in sources and not Path(policy).exists():
        return sources[policy]
    if not Path(policy).exists():
        raise InvalidArgument.of("policy", f"{policy!r} is neither a file nor a baseline ({', '.join(sources)})")
    return read_policy(Path(policy))


def _request(name: str, files: dict[str, bytes], source: str, **fields: bool) -> pb.VerifyRequest:
    return pb.VerifyRequest(
        simulator=SIMULATOR,
        suite=name,
        suite_files=suite_message(files),
        policy=type_pb2.Policy(source=source),
        check_determinism=fields.get("check_determinism", False),
    )


def _run_baselines(connection: Connection, simulator: Simulator, name: str, files: dict[str, bytes]) -> bool:
    """Whether something is wrong."""
    wrong = False
    silent: set[str] | None = None
    for baseline in simulator.describe().baselines:
        request = _request(name, files, baseline.source, check_determinism=True)
        try:
            result = run_verify(connection, request, f"running {baseline.name}")
        except (Internal, InvalidArgument) as error:
            say(f"[red]wrong[/] {escape(error.message)}")
            return True
        verdict = result.verdict
        if verdict.status != pb.VERDICT_STATUS_OK:
            say(f"[red]wrong[/] baseline {baseline.name}: {escape(render.failure_text(verdict.failure))}")
            wrong = True
            continue
        calls = sum(m.value for s in verdict.scenarios for m in s.metrics if m.name == "policy_calls")
        seconds = max(result.execution.wall_seconds, 1e-6)
        speed = (
            "from the cache" if result.execution.cached else f"{2 * calls / seconds:.0f} calls of the policy a second"
        )
        say(f"[green]ok[/]   baseline {baseline.name}: train {verdict.train.normalized:.3f}, two runs equal, {speed}")
        zero = {m.name for s in verdict.scenarios for m in s.metrics if not m.value}
        nonzero = {m.name for s in verdict.scenarios for m in s.metrics if m.value}
        silent = (zero - nonzero) & (zero - nonzero if silent is None else silent)
    for metric in sorted(silent or ()):
        say(f"[yellow]note[/] metric {metric} is 0 in every run: does what it counts never happen?")
    return wrong


def _say_idle(connection: Connection, name: str, files: dict[str, bytes]) -> None:
    """A policy that decides nothing should not win."""
    verdict = run_verify(connection, _request(name, files, IDLE), "running a policy that does nothing").verdict
    if verdict.status != pb.VERDICT_STATUS_OK:
        say("[green]ok[/]   a policy that does nothing fails")
    elif verdict.train.score >= verdict.train.baseline_score and verdict.train.normalized > 0:
        say(
            "[yellow]note[/] a policy that does nothing scores as well as the baseline: the objective rewards doing "
            "nothing, or the baseline does nothing"
        )
    else:
        say(f"[green]ok[/]   a policy that does nothing scores {verdict.train.normalized:.3f}, below the baseline")


def _metric_rows(verdict: pb.ScenarioVerdict) -> list[tuple[str, ...]]:
    """A head, and a row for each metric: its name, its value over all, and in each class."""
    by_group = [{m.name: m.value for m in group.metrics} for group in verdict.groups]
    rows: list[tuple[str, ...]] = [("metric", "all", *(group.name for group in verdict.groups))]
    for metric in verdict.metrics:
        groups = (render.number(values.get(metric.name)) for values in by_group)
        rows.append((metric.name, render.number(metric.value), *groups))
    return rows


def _write_picture(verdict: pb.ScenarioVerdict, title: str, rows: list[tuple[str, ...]], path: Path) -> None:
    from quintain_cli.report.page import render_picture  # plotly takes a second to import

    try:
        figure = PICTURES.load(SIMULATOR)(verdict.detail, "")
    except PluginError as error:
        raise FailedPrecondition(str(error)) from error
    figure.update_layout(width=None, autosize=True, margin={"t": 20})  # the page gives the width
    line = f"value {render.number(verdict.value)}, baseline {render.number(verdict.baseline)}"
    write_file(path, render_picture(title, line, rows, figure))
    errors.print(f"wrote {path}")
