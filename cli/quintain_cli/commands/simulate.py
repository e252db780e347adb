"""``quintain simulate``: a simulator as a library, in this process, for policies that you trust."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from quintain.clients.suite_files import read_suite
from quintain.errors import FailedPrecondition, InvalidArgument
from quintain.plugins.doors import PICTURES, SIMULATORS
from quintain.plugins.inprocess import in_process
from quintain.plugins.inprocess import simulate as run_here
from quintain.plugins.loading import PluginError
from quintain.plugins.simulator import Outcome, RunOptions, Scenario, ScenarioScore, Simulator, narrowed
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import completion, render
from quintain_cli.commands.verify import POLICY_FAILED, read_policy
from quintain_cli.files import refuse_existing, write_file
from quintain_cli.render import errors, out, say
from quintain_cli.report import check_plotly
from quintain_cli.waiting import WaitingLine


def add_commands(app: typer.Typer) -> None:
    app.command("simulate")(simulate)


def simulate(
    policy: Annotated[Path, typer.Argument(help="Python file with the policy. It runs WITHOUT a sandbox.")],
    scenario: Annotated[str, typer.Option(help="A scenario by name, or a scenario.toml file.")],
    trace: Annotated[list[Path] | None, typer.Option(help="A trace that the scenario file names.")] = None,
    simulator: Annotated[
        str, typer.Option(autocompletion=completion.simulators, help="An installed simulator.")
    ] = "faas",
    suite: Annotated[
        str,
        typer.Option(
            autocompletion=completion.suites, help=f"{completion.SUITE_HELP} Only where the scenario is one of it."
        ),
    ] = "",
    objective: Annotated[str, typer.Option(help="Empty: the simulator's first.")] = "",
    calling_mode: Annotated[str, typer.Option(help="One of the simulator's; empty: it chooses.")] = "",
    picture: Annotated[Path | None, typer.Option(help="Write a picture of the run to this HTML file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of the picture.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")] = False,  # see app.main
) -> None:
    """Run a policy that you trust on one scenario, in this process, without any service or sandbox."""
    if picture is not None:
        refuse_existing(picture, force)
        check_plotly()
    source = read_policy(policy)
    suite_name, suite_files = read_suite(suite, simulator=simulator)
    by_name = [] if scenario.endswith(".toml") else [scenario]
    plugin = narrowed(load_simulator(simulator), suite_name, by_name, suite_files)
    chosen = find_scenario(plugin, scenario, trace or [])
    options = RunOptions(calling_mode=calling_mode, timeline=picture is not None)
    with WaitingLine(f"simulating {chosen.name}"):
        outcome = run_here(plugin, chosen, in_process(plugin, source), options)
        description = plugin.describe()
        baseline = run_here(plugin, chosen, in_process(plugin, description.baselines[0].source), RunOptions())
        score = plugin.score(objective or description.objectives[0].name, chosen, outcome, baseline)
    if as_json:
        render.print_json(_document(outcome, score))
    else:
        _print(outcome, score)
    if picture is not None:
        write_picture(simulator, outcome, score, f"{policy.name} on {chosen.name}", picture)
    if outcome.failure is not None:
        raise typer.Exit(POLICY_FAILED)


def load_simulator(name: str) -> Simulator:
    """An installed simulator by name. Raises InvalidArgument."""
    try:
        return SIMULATORS.load(name)
    except PluginError as error:
        raise InvalidArgument.of("simulator", str(error)) from error


def find_scenario(plugin: Simulator, scenario: str, traces: list[Path]) -> Scenario:
    path = Path(scenario)
    if path.suffix != ".toml":
        return plugin.scenario(scenario)
    try:
        files = {"scenario.toml": path.read_bytes(), **{trace.name: trace.read_bytes() for trace in traces}}
    except OSError as error:
        raise InvalidArgument.of("scenario", f"{error.filename}: {error.strerror}") from None
    return plugin.inline_scenario(path.stem, files)


def write_picture(simulator: str, outcome: Outcome, score: ScenarioScore, title: str, path: Path) -> None:
    from quintain_cli.report.page import render_picture  # plotly takes a second to import

    try:
        draw = PICTURES.load(simulator)
    except PluginError as error:
        raise FailedPrecondition(str(error)) from error
    figure = draw(outcome.detail, "")
    figure.update_layout(width=None, autosize=True, margin={"t": 20})  # the page gives the width
    write_file(path, render_picture(title, score_line(outcome, score), metric_rows(outcome), figure))
    errors.print(f"wrote {path}")


def _document(outcome: Outcome, score: ScenarioScore) -> dict[str, Any]:
    failure = outcome.failure
    return {
        "scenario": outcome.scenario,
        "calling_mode": outcome.calling_mode,
        "decisions_digest": outcome.decisions_digest,
        "metrics": dict(outcome.metrics),
        "groups": {group.name: dict(group.metrics) for group in outcome.groups},
        "value": score.value,
        "normalized": score.normalized,
        "baseline": score.baseline,
        "bound": score.bound,
        "floors_broken": [floor.name for floor in score.broken_floors],
        "failure": None
        if failure is None
        else {"kind": failure.kind.value, "message": failure.message, "rule": failure.rule, "step": failure.step,
              "time_seconds": failure.time_seconds, "line": failure.line},
    }  # fmt: skip


def metric_rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """A head, and a row for each metric: its name, its value over all, and in each group."""
    metrics = list(dict.fromkeys(name for group in outcome.groups for name in group.metrics))
    rows: list[tuple[str, ...]] = [("metric", "all", *(group.name for group in outcome.groups))]
    for name in dict.fromkeys([*outcome.metrics, *metrics]):
        groups = (render.number(group.metrics.get(name)) for group in outcome.groups)
        rows.append((name, render.number(outcome.metrics.get(name)), *groups))
    return rows


def score_line(outcome: Outcome, score: ScenarioScore) -> str:
    return (
        f"value {render.number(score.value)}, baseline {render.number(score.baseline)}, bound "
        f"{render.number(score.bound)}, normalized {render.percent(score.normalized)} "
        f"({outcome.calling_mode or 'default'} mode)"
    )


def _print(outcome: Outcome, score: ScenarioScore) -> None:
    head, *body = metric_rows(outcome)
    rows = render.table(*head, numeric=head[1:])
    for row in body:
        rows.add_row(*row)
    out.print(rows)
    say(score_line(outcome, score))
    for floor in score.broken_floors:
        out.print(
            f"[yellow]floor broken: {floor.name} {render.number(floor.reached)} < {render.number(floor.required)}[/]"
        )
    if outcome.failure is not None:
        f = outcome.failure
        failure = verifier_pb2.Failure(
            kind=verifier_pb2.FailureKind.Value(f"FAILURE_KIND_{f.kind.name}"),
            message=f.message,
            rule=f.rule,
            step=f.step,
            time_seconds=f.time_seconds,
            line=f.line,
        )
        say(f"[red]{escape(render.failure_text(failure))}[/]")
