"""``quintain verify``: one policy on a suite, on scenarios, or on the caller's own trace."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients import policy_files
from quintain.clients.suite_files import FIT, read_suite, suite_message
from quintain.errors import Internal, InvalidArgument
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli import completion, render
from quintain_cli.connect import Connection
from quintain_cli.render import out, say
from quintain_cli.target import TargetCommand
from quintain_cli.waiting import WaitingLine

POLICY_FAILED = 1
LARGEST_SEED = 2**64 - 1
WORDS_SHOWN = 10  # of a verdict on a model
VERIFY_SECONDS = 3600.0  # the deadline, queueing included


def add_commands(app: typer.Typer) -> None:
    app.command("verify", cls=TargetCommand)(verify)


def verify(
    ctx: typer.Context,
    policy: Annotated[Path, typer.Argument(help="Python file with the policy; - for standard input.")],
    suite: Annotated[str, typer.Option(autocompletion=completion.suites, help=completion.SUITE_HELP)] = "",
    scenario: Annotated[
        list[str] | None, typer.Option(help="A scenario by name, or a scenario.toml file; may be repeated.")
    ] = None,
    trace: Annotated[
        list[Path] | None,
        typer.Option(help="A trace that lies elsewhere than beside the scenario file that names it; may be repeated."),
    ] = None,
    simulator: Annotated[str, typer.Option(autocompletion=completion.simulators, help="The simulator.")] = "faas",
    objective: Annotated[str, typer.Option(help="Empty: the suite's own.")] = "",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the policy's own random.")] = 0,
    check_determinism: Annotated[
        bool, typer.Option("--check-determinism", help="Run twice with other hash seeds, compare every decision.")
    ] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Run in the simulator's most literal calling mode as well, compare.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The verdict on the first line, how it came about on the second.")
    ] = False,
) -> None:
    """Verify a policy in the sandbox. Exit code 0: the policy is fine; 1: it failed; 2: the request is wrong."""
    suite_name, suite_files = read_suite(suite, simulator=simulator)
    request = pb.VerifyRequest(
        simulator=simulator,
        policy=type_pb2.Policy(source=read_policy(policy)),
        suite=suite_name,
        suite_files=suite_message(suite_files),
        objective=objective,
        seed=seed,
        check_determinism=check_determinism,
        confirm=confirm,
    )
    add_scenarios(request, scenario or [], trace or [])
    named = bool(request.suite or request.scenarios)
    if named == bool(request.inline_scenarios):
        raise InvalidArgument.of("suite", "name --suite (with --scenario NAME: some of it), --scenario NAME or FILE")
    with Connection(ctx.obj, "verifier") as connection:
        result = run_verify(connection, request)
    if as_json:
        render.print_json(result.verdict)
        render.print_json({"execution": render.to_dict(result.execution)})
    else:
        print_result(result)
        if simulator == FIT:
            say_words(result.verdict.scenarios[0])
    if result.verdict.status != pb.VERDICT_STATUS_OK:
        raise typer.Exit(POLICY_FAILED)


def read_policy(path: Path) -> str:
    """The policy's source, of standard input for ``-``. Raises InvalidArgument if it cannot be read as text."""
    if str(path) != "-":
        return policy_files.read_policy(path)
    try:
        return typer.get_text_stream("stdin").read()
    except UnicodeDecodeError as error:
        raise InvalidArgument.of("policy", f"standard input: not UTF-8 text at byte {error.start}") from None


def add_scenarios(request: pb.VerifyRequest, scenarios: list[str], traces: list[Path]) -> None:
    """Names go into the request as they are, files with the traces given and those beside them that they name."""
    files = [pb.File(name=path.name, content=_read(path, "trace")) for path in traces]
    for text in scenarios:
        path = Path(text)
        if path.suffix == ".toml" or path.is_file():
            scenario_file = pb.File(name="scenario.toml", content=_read(path, "scenario"))
            name = path.parent.resolve().name if path.name == "scenario.toml" else path.stem
            beside = _named_beside(path, scenario_file.content, {file.name for file in files})
            request.inline_scenarios.add(name=name, files=[scenario_file, *files, *beside])
        else:
            request.scenarios.append(text)
    if traces and not request.inline_scenarios:
        if scenarios:
            raise InvalidArgument.of("trace", "a trace needs a scenario file (--scenario scenario.toml) beside it")
        request.inline_scenarios.add(name=traces[0].name.partition(".")[0], files=files)


def _named_beside(path: Path, content: bytes, given: set[str]) -> list[pb.File]:
    """The files in the scenario file's folder whose names it holds as a text, but those that were `given`."""
    try:
        values: list[object] = [tomllib.loads(content.decode())]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return []  # the simulator says what is wrong with it
    named = set()
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif isinstance(value, str) and value == Path(value).name and value not in given:
            named.add(value)
    beside = [path.parent / name for name in sorted(named)]
    return [pb.File(name=file.name, content=_read(file, "scenario")) for file in beside if file.is_file()]


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument.of(field, f"{path}: {error.strerror}") from None


def run_verify(connection: Connection, request: pb.VerifyRequest, label: str = "verifying") -> pb.VerifyResult:
    """Verify with progress on standard error. Reads the stream to its end, so that the verifier sees it completed."""
    result: pb.VerifyResult | None = None
    doing = label
    stream = connection.verifier.verify_stream(request, VERIFY_SECONDS)
    with WaitingLine(label) as waiting:
        for response in connection.follow(stream, "verifier"):
            if response is None:
                waiting.update(connection.trouble or doing)
                continue
            if response.WhichOneof("event") == "result":
                result = response.result
                continue
            progress = response.progress
            queued = f", {progress.queue_position} before it in the queue" if progress.queue_position else ""
            doing = f"{label}: {progress.scenarios_done} of {progress.scenarios_total} scenarios{queued}"
            waiting.update(doing)
    if result is None:
        raise Internal("the verifier ended the stream without a result")
    return result


def print_result(result: pb.VerifyResult) -> None:
    """The verdict, and how it came about."""
    execution = result.execution
    how = "from the cache" if execution.cached else f"in {execution.wall_seconds:.1f} s"
    print_verdict(result.verdict, f"{how}, {execution.isolation.profile or 'no'} isolation")


def print_verdict(verdict: pb.Verdict, how: str = "") -> None:
    """The table for people: each scenario, the scores, what went wrong."""
    rows = render.table(
        "scenario", "part", "value", "baseline", "bound", "normalized", "",
        numeric=("value", "baseline", "bound", "normalized"),
    )  # fmt: skip
    for scenario in verdict.scenarios:
        rows.add_row(*scenario_row(scenario))
    out.print(rows)
    for name in ("train", "held_out"):
        if verdict.HasField(name):
            out.print(part_line(name.replace("_", "-"), getattr(verdict, name), verdict.direction))
            if models := models_text(getattr(verdict, name)):
                say(escape(f"  {models}"))
    checks = [text for on, text in ((verdict.determinism_checked, "deterministic"), (verdict.confirmed, "confirmed"))
              if on and verdict.status == pb.VERDICT_STATUS_OK]  # fmt: skip
    status = render.enum_name(pb.VerdictStatus, verdict.status)
    color = "green" if verdict.status == pb.VERDICT_STATUS_OK else "red"
    notes = ", ".join(note for note in (*checks, how) if note)
    say(f"[{color}]{status}[/]{f' ({notes})' if notes else ''}, verdict {verdict.digest[:16]}")
    render.say_fidelity(verdict)
    if verdict.HasField("failure"):
        say(f"[red]{escape(render.failure_text(verdict.failure))}[/]")
        if verdict.failure.traceback:
            out.print(escape(verdict.failure.traceback.rstrip()))


def say_words(scenario: pb.ScenarioVerdict) -> None:
    """What a verdict on a model says of one scenario: what is wrong, most important first, and of its parameters."""
    for event in scenario.timeline[:WORDS_SHOWN]:
        say(f"  {escape(event.text)}")


def scenario_row(scenario: pb.ScenarioVerdict) -> tuple[str, ...]:
    if not scenario.ran:
        note = "did not run"
    elif scenario.HasField("failure"):
        note = f"[red]{escape(render.failure_text(scenario.failure))}[/]"
    else:
        floors = render.broken_floors(scenario)
        note = f"[yellow]floor broken: {escape(floors)}[/]" if floors else ""
    return (
        escape(scenario.scenario),
        render.enum_name(type_pb2.Part, scenario.part).replace(" ", "-"),
        render.number(scenario.value),
        render.number(scenario.baseline),
        render.number(scenario.bound if scenario.HasField("bound") else None),
        render.percent(scenario.normalized),
        note,
    )


def part_line(name: str, part: pb.PartScore, direction: int) -> str:
    better = render.improvement(part.score, part.baseline_score, direction)
    bound = part.bound_score if part.HasField("bound_score") else None
    failed = f", [red]{part.scenarios_failed} of {part.scenarios} scenarios failed[/]" if part.scenarios_failed else ""
    return (
        f"[bold]{name}[/] {render.number(part.score)}: {render.percent(better, signed=True)} against the baseline's "
        f"{render.number(part.baseline_score)}, {render.percent(render.share_of_bound(part.score, bound, direction))} "
        f"of the bound{failed}"
    )


def models_text(part: pb.PartScore) -> str:
    """The score in each model alone, and how far they are apart; empty where there are not several."""
    if not part.models:
        return ""
    values = [model.value for model in part.models]
    each = ", ".join(f"{model.name} {render.number(model.value)}" for model in part.models)
    spread = render.number(max(values) - min(values))
    return f"worst of {len(values)} models in each situation; alone: {each} (spread {spread})"
