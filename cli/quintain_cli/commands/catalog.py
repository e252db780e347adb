"""``quintain simulators``, ``suites``, ``backends``, ``strategies``: what there is to work with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients.pages import entries
from quintain.controller.v1 import controller_pb2
from quintain.errors import QuintainError
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import completion, render
from quintain_cli.commands.installed import Installed, verifier_has_settings
from quintain_cli.connect import Connection, is_running
from quintain_cli.render import errors, out
from quintain_cli.target import Target, TargetCommand

_DESCRIBE_SECONDS = 10.0  # for a simulator that was there a moment ago

AsJson = Annotated[bool, typer.Option("--json", help="One JSON line for each.")]


def add_commands(app: typer.Typer) -> None:
    for name, function in (
        ("simulators", simulators),
        ("suites", suites),
        ("backends", backends),
        ("strategies", strategies),
    ):
        app.command(name, cls=TargetCommand)(function)


def simulators(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the simulators that the verifier has, with their baselines and objectives."""
    with _ask(ctx.obj) as connection:
        either = [_describe(connection, summary) for summary in list_simulators(connection)]
    if as_json:
        for document in either:
            render.print_json(document)
        return
    found = [d for d in either if isinstance(d, type_pb2.SimulatorDescription)]
    unusable = [s for s in either if isinstance(s, verifier_pb2.SimulatorSummary)]
    rows = render.table("simulator", "title", "baselines", "objectives", "suites", "build")
    for d in found:
        rows.add_row(
            d.name,
            escape(d.title),
            ", ".join(b.name for b in d.baselines),
            ", ".join(o.name for o in d.objectives),
            ", ".join(d.suites),
            d.build[:12],
        )
    out.print(rows)
    for summary in unusable:
        out.print(_cannot_be_used(summary), soft_wrap=True)


def _cannot_be_used(summary: verifier_pb2.SimulatorSummary) -> str:
    return f"[yellow]{escape(summary.name)} cannot be used: {escape(summary.unavailable_reason)}[/]"


@dataclass(frozen=True, slots=True)
class Asked:
    """Who says what there is: the installed simulators, in place of a connection to a verifier."""

    verifier: Installed


@contextmanager
def _ask(target: Target) -> Iterator[Connection | Asked]:
    """The verifier that runs; without one, and without settings for one, what is installed."""
    if not verifier_has_settings() and not is_running(target, "verifier"):
        yield Asked(Installed())
        return
    with Connection(target, "verifier", ready=False) as connection:
        yield connection


def list_simulators(connection: Connection | Asked) -> list[verifier_pb2.SimulatorSummary]:
    return list(entries(connection.verifier.list_simulators, verifier_pb2.ListSimulatorsRequest()))


def simulator_names(connection: Connection | Asked) -> list[str]:
    """The simulators that can be used; the others are said on standard error."""
    names = []
    for summary in list_simulators(connection):
        if summary.unavailable_reason:
            errors.print(_cannot_be_used(summary), soft_wrap=True)
        else:
            names.append(summary.name)
    return names


def _describe(
    connection: Connection | Asked, summary: verifier_pb2.SimulatorSummary
) -> type_pb2.SimulatorDescription | verifier_pb2.SimulatorSummary:
    """The description; the summary with the reason if there is none to be had."""
    if summary.unavailable_reason:
        return summary
    request = verifier_pb2.GetSimulatorRequest(name=summary.name)
    try:
        return connection.verifier.get_simulator(request, _DESCRIBE_SECONDS).simulator
    except QuintainError as error:  # it went away since it was listed
        return verifier_pb2.SimulatorSummary(
            name=summary.name, address=summary.address, unavailable_reason=error.message
        )


def suites(
    ctx: typer.Context,
    simulator: Annotated[
        str, typer.Argument(autocompletion=completion.simulators, help="A simulator; none: all.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List suites and their scenarios, and the suites that lack something here."""
    with _ask(ctx.obj) as connection:
        names = [simulator] if simulator else simulator_names(connection)
        found = [(name, suite) for name in names for suite in list_suites(connection, name)]
        missing = [(name, suite) for name in names for suite in _unavailable_suites(connection, name)]
    for name, suite in found:
        if as_json:
            render.print_json(suite)
            continue
        rows = render.table("scenario", "part", "description", title=f"{name} / {suite.name}")
        for entry in suite.entries:
            part = render.enum_name(type_pb2.Part, entry.part).replace(" ", "-")
            rows.add_row(escape(entry.scenario), part, escape(entry.description))
        out.print(rows)
        aggregation = render.enum_name(type_pb2.Aggregation, suite.aggregation)
        out.print(f"{escape(suite.description)}\nobjective {suite.objective}, {aggregation}\n")
    for name, lacking in missing:
        said = f"{name} / {lacking.name} is not available here: {lacking.reason}"
        errors.print(f"[yellow]{escape(said)}[/]", soft_wrap=True)


def _unavailable_suites(connection: Connection | Asked, simulator: str) -> list[type_pb2.UnavailableSuite]:
    request = verifier_pb2.GetSimulatorRequest(name=simulator)
    described = connection.verifier.get_simulator(request, _DESCRIBE_SECONDS).simulator
    return list(described.unavailable_suites)


def list_suites(connection: Connection | Asked, simulator: str) -> list[type_pb2.Suite]:
    return list(entries(connection.verifier.list_suites, verifier_pb2.ListSuitesRequest(simulator=simulator)))


def backends(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the generator's backends, whether they can be used now, and if not, why."""
    with Connection(ctx.obj, "generator", ready=False) as connection:
        found = list(entries(connection.generator.list_backends, generator_pb2.ListBackendsRequest()))
    if as_json:
        for backend in found:
            render.print_json(backend)
        return
    rows = render.table("backend", "kind", "model", "priced", "available")
    for b in found:
        available = "[green]yes[/]" if b.available else f"[yellow]no: {escape(b.unavailable_reason)}[/]"
        name = f"{b.name} (default)" if b.is_default else b.name
        rows.add_row(escape(name), b.kind, escape(b.model or render.NOTHING), "yes" if b.priced else "no", available)
    out.print(rows)


def strategies(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the controller's strategies; --json shows the schema of their options."""
    with Connection(ctx.obj, "controller") as connection:
        found = list(entries(connection.controller.list_strategies, controller_pb2.ListStrategiesRequest()))
    if as_json:
        for strategy in found:
            render.print_json(strategy)
        return
    rows = render.table("strategy", "description")
    for strategy in found:
        if not strategy.unavailable_reason:
            rows.add_row(strategy.name, escape(strategy.description))
    out.print(rows)
    for strategy in found:
        if strategy.unavailable_reason:
            out.print(f"[yellow]{escape(strategy.name)} cannot be used: {escape(strategy.unavailable_reason)}[/]")
