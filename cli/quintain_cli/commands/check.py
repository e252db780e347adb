"""``quintain check-simulator``: the conformance suite on an installed simulator or on one that is served."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients.simulator import RemoteSimulator
from quintain.conformance.simulator import CheckResult, check_simulator
from quintain_cli import render
from quintain_cli.commands.simulate import load_simulator
from quintain_cli.connect import client_settings
from quintain_cli.render import errors, out
from quintain_cli.target import Target, TargetCommand

NOT_CONFORMING = 1


def add_commands(app: typer.Typer) -> None:
    app.command("check-simulator", cls=TargetCommand)(check)


def check(
    ctx: typer.Context,
    simulator: Annotated[str, typer.Argument(metavar="NAME|HOST:PORT", help="Installed, or served by its contract.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line for each check.")] = False,
) -> None:
    """Check that a simulator keeps its contract. Policies run in this process: check only what you trust."""
    with errors.status(f"checking {simulator}"):
        results = run_checks(ctx.obj, simulator)
    for result in results:
        if as_json:
            render.print_json(asdict(result))
        else:
            mark = "[green]ok[/]    " if result.passed else "[red]FAILED[/]"
            out.print(f"{mark} {result.name.replace('_', ' ')} {escape(result.message)}".rstrip(), soft_wrap=True)
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
