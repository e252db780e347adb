"""``quintain check-simulator``, ``check-backend``, ``check-strategy``: the conformance suites on what is installed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape

from quintain.clients.simulator import RemoteSimulator
from quintain.conformance.backend import check_backend
from quintain.conformance.simulator import CheckResult, check_simulator
from quintain.conformance.strategy import check_strategy
from quintain.errors import InvalidArgument
from quintain.plugins.backend import Example, Operator, Task
from quintain.plugins.doors import BACKENDS, STRATEGIES
from quintain.plugins.loading import Door, PluginError
from quintain.plugins.simulator import Simulator
from quintain_cli import completion, render
from quintain_cli.commands.simulate import load_simulator
from quintain_cli.connect import client_settings
from quintain_cli.render import errors, out, say
from quintain_cli.target import Target, TargetCommand
from quintain_cli.waiting import WaitingLine

NOT_CONFORMING = 1

T = TypeVar("T")


def add_commands(app: typer.Typer) -> None:
    app.command("check-simulator", cls=TargetCommand)(check_a_simulator)
    app.command("check-backend")(check_a_backend)
    app.command("check-strategy")(check_a_strategy)


AsJson = Annotated[bool, typer.Option("--json", help="One JSON line for each check.")]


def check_a_simulator(
    ctx: typer.Context,
    simulator: Annotated[str, typer.Argument(metavar="NAME|HOST:PORT", help="Installed, or served by its contract.")],
    as_json: AsJson = False,
) -> None:
    """Check that a simulator keeps its contract. Policies run in this process: check only what you trust."""
    with WaitingLine(f"checking {simulator}"):
        results = run_checks(ctx.obj, simulator)
    _say(results, as_json)


def check_a_strategy(
    strategy: Annotated[str, typer.Argument(help="An installed strategy.")],
    as_json: AsJson = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")] = False,  # see app.main
) -> None:
    """Check that a strategy keeps its contract. Needs no service."""
    _say(check_strategy(_installed(STRATEGIES, "strategy", strategy), strategy), as_json)


def check_a_backend(
    kind: Annotated[str, typer.Argument(help="An installed kind of backend.")],
    model: Annotated[str, typer.Option(help="The model's name.")] = "",
    options: Annotated[str, typer.Option(help="The backend's options as a JSON object.")] = "{}",
    dead_options: Annotated[
        str, typer.Option(help="Options with which no provider can be reached, to check how it fails.")
    ] = "",
    simulator: Annotated[
        str,
        typer.Option(
            autocompletion=completion.simulators, help="The simulator that the backend is asked to write for."
        ),
    ] = "faas",
    as_json: AsJson = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")] = False,  # see app.main
) -> None:
    """Check that a backend keeps its contract. It is called about thirty times: a real provider costs money."""
    plugin = _installed(BACKENDS, "kind", kind)
    task = _task(load_simulator(simulator))
    dead = _options("dead_options", dead_options) if dead_options else None
    with errors.status(f"checking {kind}"):
        results = asyncio.run(check_backend(plugin, model, _options("options", options), task, dead))
    _say(results, as_json)


def _installed(door: Door[T], field: str, name: str) -> T:
    try:
        return door.load(name)
    except PluginError as error:
        raise InvalidArgument.of(field, str(error)) from error


def _options(field: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidArgument.of(field, f"is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidArgument.of(field, f"must be a JSON object, found {text}")
    return found


def _task(simulator: Simulator) -> Task:
    """One that any backend can answer: with two parents, as a crossover needs."""
    description = simulator.describe()
    suite = simulator.suite(description.suites[0])
    sources = [baseline.source for baseline in description.baselines] * 2
    parents = tuple(Example(f"c{n}", source, score=1.0, normalized=0.5) for n, source in enumerate(sources[:2]))
    return Task(description, description.objectives[0], suite.description, Operator.FULL, seed=1, parents=parents)


def _say(results: Sequence[CheckResult], as_json: bool) -> None:
    for result in results:
        if as_json:
            render.print_json(asdict(result))
        else:
            mark = "[green]ok[/]    " if result.passed else "[red]FAILED[/]"
            say(f"{mark} {result.name.replace('_', ' ')} {escape(result.message)}".rstrip())
    failed = sum(not result.passed for result in results)
    if not as_json:
        out.print(f"{len(results)} checks, {failed} failed")
    if failed:
        raise typer.Exit(NOT_CONFORMING)


def run_checks(target: Target, simulator: str) -> list[CheckResult]:
    if ":" not in simulator:
        return check_simulator(load_simulator(simulator))
    remote = RemoteSimulator(client_settings(target, simulator))
    try:
        return check_simulator(remote)
    finally:
        remote.close()
