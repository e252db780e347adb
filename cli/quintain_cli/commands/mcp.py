"""``quintain mcp``: tools for a coding agent, over the Model Context Protocol on standard input and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quintain.errors import FailedPrecondition
from quintain.extras import install_hint
from quintain_cli.connect import Connection, Embedded
from quintain_cli.target import TargetCommand, token


def add_commands(app: typer.Typer) -> None:
    app.command("mcp", cls=TargetCommand)(mcp)


def mcp(
    ctx: typer.Context,
    config: Annotated[Path, typer.Option(help="TOML file: what the agent may use, and what it may spend.")],
) -> None:
    """Serve tools to a coding agent on standard input and output: verify policies; start, watch, read, compare and
    stop searches; all within the budget of the configuration."""
    from quintain_cli.agents.config import read_config
    from quintain_cli.agents.ledger import Ledger

    settings = read_config(config)
    try:
        from quintain_cli.agents.server import make_server
    except ModuleNotFoundError as error:
        hint = install_hint(error.name)
        if not hint:
            raise
        raise FailedPrecondition(f"nothing can be served to an agent: {hint}") from None
    from quintain.service.logs import register_secret
    from quintain.session import Session
    from quintain_cli.agents.tools import Tools

    register_secret(token(ctx.obj) or "")
    ledger = Ledger(settings.ledger, settings.budget)
    with Connection(ctx.obj, "controller", "verifier", embedded=Embedded.RUNS) as connection:
        tools = Tools(Session(connection.controller, connection.verifier), ledger, settings)
        make_server(tools).run("stdio")
