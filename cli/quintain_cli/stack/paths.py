"""Where the command line keeps things on this machine: in the project's ``.quintain`` folder, else in the user's
folders (XDG base directories)."""

from __future__ import annotations

import os
from pathlib import Path

from quintain.errors import InvalidArgument

PROJECT_FOLDER = ".quintain"


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "quintain"


def project_folder() -> Path | None:
    """The nearest ``.quintain`` in the working directory or above it."""
    here = Path.cwd()
    return next(
        (folder / PROJECT_FOLDER for folder in (here, *here.parents) if (folder / PROJECT_FOLDER).is_dir()), None
    )


def data_dir() -> Path:
    """Databases of the local and embedded services, unless --data-dir or QUINTAIN_DATA says otherwise."""
    project = project_folder()
    return project / "data" if project else _xdg("XDG_DATA_HOME", ".local/share")


def config_dir() -> Path:
    """Optional ``generator.toml``, ``verifier.toml``, ``controller.toml`` for the local and embedded services. Never
    the project's: a checkout of somebody else's must not say where the keys in the environment are sent."""
    given = os.environ.get("QUINTAIN_CONFIG")
    if given and not Path(given).is_dir():  # a typing error must not mean: no configuration
        raise InvalidArgument.of("QUINTAIN_CONFIG", f"{given} is no folder")
    return Path(given) if given else _xdg("XDG_CONFIG_HOME", ".config")


def run_dir() -> Path:
    """State file and logs of the local stack (`quintain up`)."""
    given = os.environ.get("QUINTAIN_RUN")
    project = project_folder()
    return Path(given) if given else project / "run" if project else _xdg("XDG_STATE_HOME", ".local/state")
