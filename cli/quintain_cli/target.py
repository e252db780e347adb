"""Options that every command shares: which services to talk to, and how."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

PANEL = "Where to talk"

Address = Annotated[
    str | None,
    typer.Option(
        help="host:port of the service this command talks to; else QUINTAIN_CONTROLLER, QUINTAIN_VERIFIER or "
        "QUINTAIN_GENERATOR, else the running local stack, else an embedded stack for this command alone.",
        rich_help_panel=PANEL,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Databases of an embedded stack.", envvar="QUINTAIN_DATA", rich_help_panel=PANEL),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        help="File with the bearer token (or QUINTAIN_TOKEN).", envvar="QUINTAIN_TOKEN_FILE", rich_help_panel=PANEL
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        help="Use TLS and trust this CA; 'system' for the system's.", envvar="QUINTAIN_CA_FILE", rich_help_panel=PANEL
    ),
]
CertificateFile = Annotated[
    Path | None,
    typer.Option(help="Client certificate (mTLS).", envvar="QUINTAIN_CERTIFICATE_FILE", rich_help_panel=PANEL),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(help="Key of the client certificate.", envvar="QUINTAIN_KEY_FILE", rich_help_panel=PANEL),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.", rich_help_panel=PANEL)]


@dataclass(frozen=True, slots=True)
class Target:
    """The shared options as given. `verbose` is acted upon by `app.main`."""

    address: str | None = None
    data_dir: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    verbose: bool = False


class TargetCommand(TyperCommand):
    """A command that talks to services: it has the shared options as well, and their `Target` is its context's `obj`.

    Register with ``app.command("name", cls=TargetCommand)``.
    """

    def __init__(self, name: str | None, *, params: list[Any] | None = None, **attributes: Any) -> None:
        super().__init__(name, params=[*(params or []), *_shared_options()], **attributes)

    def invoke(self, ctx: Any) -> Any:
        ctx.obj = Target(**{field.name: ctx.params.pop(field.name) for field in fields(Target)})
        return super().invoke(ctx)


@cache
def _shared_options() -> list[Any]:
    """The options as typer makes them of a function's signature."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def shared(
        address: Address = None,
        data_dir: DataDir = None,
        token_file: TokenFile = None,
        ca_file: CaFile = None,
        certificate_file: CertificateFile = None,
        key_file: KeyFile = None,
        verbose: Verbose = False,
    ) -> None: ...

    return list(typer.main.get_command(app).params)


def token(target: Target) -> str | None:
    """The bearer token from the file or the environment; never from the command line, where others could read it."""
    if target.token_file is not None:
        return target.token_file.read_text().strip()
    return os.environ.get("QUINTAIN_TOKEN") or None
