"""Starts the generator: ``quintain-generator --config FILE``."""

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
    return run(
        "generator", "Turns tasks into candidate policies; without --config the offline backend does.", _wire, arguments
    )


def _wire(options: Namespace) -> tuple[Service, ServerSettings]:
    from quintain.service.logs import configure_logging
    from quintain.service.settings import load_settings
    from quintain_generator.config import ENV_PREFIX, GeneratorSettings

    settings = load_settings(GeneratorSettings, options.config, ENV_PREFIX)
    configure_logging("generator", json=settings.server.log_json, level=settings.server.log_level)

    from quintain_generator.service import GeneratorService

    return GeneratorService(settings), settings.server


if __name__ == "__main__":
    sys.exit(main())
