"""Options that every command shares: which services to talk to, and how."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

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


_SHARED: dict[str, Any] = {
    "address": Address,
    "data_dir": DataDir,
    "token_file": TokenFile,
    "ca_file": CaFile,
    "certificate_file": CertificateFile,
    "key_file": KeyFile,
    "verbose": Verbose,
}


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command. Its first parameter is a `Target`, filled from the shared options, which the
    command gets in place of it."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared = [
            inspect.Parameter(
                key, inspect.Parameter.KEYWORD_ONLY, default=False if key == "verbose" else None, annotation=annotation
            )
            for key, annotation in _SHARED.items()
        ]

        @functools.wraps(function)
        def run(**given: Any) -> None:
            function(Target(**{key: given.pop(key) for key in _SHARED}), **given)

        keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        run.__signature__ = inspect.Signature([*keyword_only, *shared])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *shared]}
        del run.__wrapped__  # typer reads the signature above, not the function's
        app.command(name)(run)
        return function

    return register


def token(target: Target) -> str | None:
    """The bearer token from the file or the environment; never from the command line, where others could read it."""
    if target.token_file is not None:
        return target.token_file.read_text().strip()
    return os.environ.get("QUINTAIN_TOKEN") or None
