"""How the services of one machine are configured: a TOML file of the user's (``<config dir>/<service>.toml``, optional)
and environment variables that are added here."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from quintain.errors import FailedPrecondition
from quintain_cli.stack import paths

DRAIN_SECONDS = 10
NOWHERE = "127.0.0.1:9"  # the discard port: for a controller that only reads, and asks nobody


def service_command(service: str) -> list[str]:
    """The command that runs a service, with the user's configuration file if there is one."""
    config = config_file(service)
    command = [sys.executable, "-m", f"quintain_{service}.main"]
    return [*command, "--config", str(config)] if config.is_file() else command


def config_file(service: str) -> Path:
    return paths.config_dir() / f"{service}.toml"


def configured(service: str) -> dict[str, Any]:
    """What the user's configuration file says, empty without one. Raises FailedPrecondition for one that is no TOML."""
    config = config_file(service)
    try:
        return tomllib.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    except tomllib.TOMLDecodeError as error:
        raise FailedPrecondition(f"{config}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise FailedPrecondition(f"{config}: not UTF-8 text at byte {error.start}") from None


def service_environment(service: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Environment that sets `settings` (``server.listen`` -> value) unless the user set them in the environment or in
    the service's configuration file."""
    users = configured(service)
    environment = dict(os.environ)
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        table = users.get(section, {}) if section else users
        if isinstance(table, dict) and name in table:
            continue
        environment.setdefault(f"QUINTAIN_{service.upper()}__{key.upper().replace('.', '__')}", value)
    return environment


def default_settings(service: str, data: Path, addresses: Mapping[str, str]) -> dict[str, str]:
    """Settings of a service on one machine: its database under `data`, and for the controller where the others are."""
    settings = {"server.log_json": "false", "server.drain_seconds": str(DRAIN_SECONDS)}
    database = data.resolve() / f"{service}.db"
    if service == "verifier":
        settings["records.file"] = str(database)
    else:
        settings["store_url"] = f"sqlite:///{quote(str(database))}"  # a URL: '?' and '%' in a path would mean something
    if service == "controller":
        for other in ("generator", "verifier"):
            settings[f"{other}.address"] = addresses.get(other, NOWHERE)
    return settings
