"""Starts the controller: ``quintain-controller --config FILE``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quintain.service.main import run

if TYPE_CHECKING:
    from argparse import Namespace

    from quintain.service.server import Service
    from quintain.service.settings import ServerSettings


def main(arguments: Sequence[str] | None = None) -> int:
    return run("controller", "Runs searches: strategies, budgets, the store and its events.", _wire, arguments)


def _wire(options: Namespace) -> tuple[Service, ServerSettings]:
    from quintain.service.logs import configure_logging
    from quintain.service.settings import load_settings
    from quintain_controller.config import ENV_PREFIX, ControllerSettings

    settings = load_settings(ControllerSettings, options.config, ENV_PREFIX)
    configure_logging("controller", json=settings.server.log_json, level=settings.server.log_level)

    from quintain_controller.service import ControllerService

    return ControllerService(settings), settings.server


if __name__ == "__main__":
    sys.exit(main())
