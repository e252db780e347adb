"""Where the command line keeps things on this machine (XDG base directories)."""

from __future__ import annotations

import os
from pathlib import Path

from quintain.errors import InvalidArgument


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "quintain"


def data_dir() -> Path:
    """Databases of the local and embedded services, unless --data-dir or QUINTAIN_DATA says otherwise."""
    return _xdg("XDG_DATA_HOME", ".local/share")


def config_dir() -> Path:
    """Optional ``generator.toml``, ``verifier.toml``, ``controller.toml`` for the local and embedded services."""
    given = os.environ.get("QUINTAIN_CONFIG")
    if given and not Path(given).is_dir():  # a typing error must not mean: no configuration
        raise InvalidArgument.of("QUINTAIN_CONFIG", f"{given} is no folder")
    return Path(given) if given else _xdg("XDG_CONFIG_HOME", ".config")


def run_dir() -> Path:
    """State file and logs of the local stack (`quintain up`)."""
    given = os.environ.get("QUINTAIN_RUN")
    return Path(given) if given else _xdg("XDG_STATE_HOME", ".local/state")
