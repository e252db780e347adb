"""What the shell offers for names: read from what is installed, configured or running; nothing is started for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from quintain.errors import QuintainError
from quintain.plugins.doors import SIMULATORS, STRATEGIES
from quintain.plugins.loading import PluginError
from quintain_cli.target import Target

MOST_SEARCHES = 50
SUITE_HELP = "A suite of the simulator, or the folder of your own (or DIR/suites/NAME.toml)."


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def simulators(incomplete: str) -> list[str]:
    return _beginning(incomplete, SIMULATORS.names())


def suites(ctx: typer.Context, incomplete: str) -> list[str]:
    """Of the simulator that the line names already."""
    try:
        described = SIMULATORS.load(ctx.params.get("simulator") or "faas").describe()
    except PluginError:
        return []
    return _beginning(incomplete, described.suites)


def strategies(incomplete: str) -> list[str]:
    return _beginning(incomplete, STRATEGIES.names())


def backends(incomplete: str) -> list[str]:
    from quintain_cli.stack.settings import configured

    try:
        named = configured("generator").get("backends", {})
    except QuintainError:
        named = {}
    return _beginning(incomplete, sorted({"offline", *named}))


def searches(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids and titles, newest first, of the controller that the command would ask; none where none runs."""
    from quintain.controller.v1 import controller_pb2 as pb
    from quintain_cli.connect import Connection

    given: dict[str, Any] = {name: ctx.params.get(name) for name in ("address", "data_dir", "token_file", "ca_file")}
    try:
        with Connection(Target(**given), "controller", start=False) as connection:
            request = pb.ListSearchesRequest(page_size=MOST_SEARCHES)
            found = connection.controller.list_searches(request).searches
    except (QuintainError, OSError):
        return []
    described = ((s.search_id, s.spec.title or f"{s.spec.simulator} / {s.spec.suite}") for s in found)
    return [(name, title) for name, title in described if name.startswith(incomplete)]
