"""``quintain record``: what a real system would have logged, of runs in a simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients.suite_files import read_suite, suite_message
from quintain.errors import FailedPrecondition, InvalidArgument
from quintain.plugins.doors import RECORDERS
from quintain.plugins.loading import PluginError
from quintain.plugins.recorder import RecordedRun, Recorder
from quintain.plugins.simulator import Part, Simulator, narrowed
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli import completion, render
from quintain_cli.commands.simulate import load_simulator
from quintain_cli.commands.verify import POLICY_FAILED, read_policy, run_verify
from quintain_cli.connect import Connection
from quintain_cli.files import write_file
from quintain_cli.render import errors, say
from quintain_cli.target import TargetCommand

SYSTEM_FILE = "system.toml"
TRUTH_FILE = "truth.toml"  # where what was recorded can be run again


def add_commands(app: typer.Typer) -> None:
    app.command("record", cls=TargetCommand)(record)


def record(
    ctx: typer.Context,
    suite: Annotated[str, typer.Option(autocompletion=completion.suites, help=completion.SUITE_HELP)],
    out: Annotated[Path, typer.Option(help="The package's folder: made if it is not there, else added to.")],
    policy: Annotated[
        list[str] | None, typer.Option(help="A policy file, or a baseline's name; may be repeated.")
    ] = None,
    simulator: Annotated[str, typer.Option(autocompletion=completion.simulators, help="The simulator.")] = "system",
    scenario: Annotated[
        list[str] | None, typer.Option(help="Only this scenario of the suite; may be repeated.")
    ] = None,
    hide: Annotated[
        list[str] | None,
        typer.Option(help="What a new package does not show beside what is hidden: config.KEY, inputs.KIND.FIELD."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write recordings that are there already again.")] = False,
) -> None:
    """Record runs of policies in a simulator as a real system would have logged them, jailed as for `verify`.

    The folder becomes a system package without a model: `system.toml` with what is not hidden, the baselines, the
    scenarios' inputs, and a recording of each scenario under each policy.
    """
    recorder = load_recorder(simulator)
    suite_name, suite_files = read_suite(suite)
    plugin = narrowed(load_simulator(simulator), suite_name, files=suite_files)
    policies = {name: recorder.policy(source) for name, source in named_policies(plugin, policy or []).items()}
    scenarios = _scenarios(plugin, suite_name, scenario or [])
    package = _files(out)
    known = SYSTEM_FILE in package
    if known and hide:
        raise InvalidArgument.of("hide", f"{out} is a package already: its {SYSTEM_FILE} says what is shown")
    with Connection(ctx.obj, "verifier") as connection:
        for name, source in policies.items():
            request = pb.VerifyRequest(
                simulator=simulator, suite=suite_name, suite_files=suite_message(suite_files), include_detail=True
            )
            runs = [
                RecordedRun(suite_name, suite_files, full, part, name, _detail(connection, request, name, source, full))
                for full, part in scenarios
            ]
            if not known:
                files, lost = recorder.package(runs, hide or [])
                package = {**files, TRUTH_FILE: _truth(simulator, suite)}
                _write(out, package)
                for line in lost:
                    errors.print(f"[yellow]left out:[/] {escape(line)}", soft_wrap=True)
                known = True
            for run in runs:
                file, content = recorder.recording(package, run)
                if (out / file).exists() and not force:
                    raise FailedPrecondition(f"{out / file} is there already; --force writes it again")
                _write(out, {file: content})
    say(f"next: quintain system check {out}")


def load_recorder(simulator: str) -> Recorder:
    """Raises InvalidArgument for a simulator whose runs are no recordings."""
    try:
        return RECORDERS.load(simulator)
    except PluginError as error:
        known = ", ".join(RECORDERS.names())
        message = f"runs of {simulator!r} cannot be recorded; those of {known} can ({error})"
        raise InvalidArgument.of("simulator", message) from error


def named_policies(plugin: Simulator, policies: list[str]) -> dict[str, str]:
    """Sources by name, of files or of baselines; the default baseline if none is given. Raises InvalidArgument."""
    baselines = {baseline.name: baseline.source for baseline in plugin.describe().baselines}
    found: dict[str, str] = {}
    for text in policies or [next(iter(baselines))]:
        path = Path(text)
        if text in baselines and not path.is_file():
            name, source = text, baselines[text]
        elif path.is_file():
            name, source = path.stem, read_policy(path)
        else:
            raise InvalidArgument.of("policy", f"{text!r} is neither a file nor a baseline ({', '.join(baselines)})")
        if name in found:
            raise InvalidArgument.of("policy", f"two policies are called {name!r}; recordings are told apart by it")
        found[name] = source
    return found


def _truth(simulator: str, suite: str) -> bytes:
    """For `fidelity` and `loop`. A suite of one's own is named as a whole path."""
    path = Path(suite)
    named = str(path.resolve()) if path.exists() else suite
    return f"simulator = {json.dumps(simulator)}\nsuite = {json.dumps(named)}\n".encode()


def _scenarios(plugin: Simulator, suite: str, wanted: list[str]) -> list[tuple[str, Part]]:
    entries = [(entry.scenario, entry.part) for entry in plugin.suite(suite).entries]
    if not wanted:
        return entries
    short = {full.rpartition("/")[2]: (full, part) for full, part in entries} | {f: (f, p) for f, p in entries}
    if unknown := [name for name in wanted if name not in short]:
        known = ", ".join(full for full, _ in entries)
        raise InvalidArgument.of("scenario", f"{unknown[0]!r} is not in {suite}; there are: {known}")
    return [short[name] for name in wanted]


def _detail(connection: Connection, request: pb.VerifyRequest, policy: str, source: str, scenario: str) -> str:
    """Of one scenario in one request: a recording may fill a message."""
    one = pb.VerifyRequest()
    one.CopyFrom(request)
    one.policy.CopyFrom(type_pb2.Policy(source=source))
    one.scenarios.append(scenario)
    verdict = run_verify(connection, one, f"recording {policy} on {scenario}").verdict
    if verdict.status != pb.VERDICT_STATUS_OK:
        say(f"[red]{escape(policy)} failed on {escape(scenario)}:[/] {escape(render.failure_text(verdict.failure))}")
        raise typer.Exit(POLICY_FAILED)
    return str(verdict.scenarios[0].detail)


def _files(folder: Path) -> dict[str, bytes]:
    """What declares the package that is there already, if one is."""
    if folder.exists() and not folder.is_dir():
        raise InvalidArgument.of("out", f"{folder} is no folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return {}
    if not (folder / SYSTEM_FILE).is_file():
        raise InvalidArgument.of("out", f"{folder} holds other things and no {SYSTEM_FILE}; name a new folder")
    return {SYSTEM_FILE: (folder / SYSTEM_FILE).read_bytes()}


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in sorted(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
        errors.print(f"wrote {path}")
