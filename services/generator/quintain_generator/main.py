"""Starts the generator: ``quintain-generator --config FILE``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from quintain.service.logs import configure_logging
from quintain.service.server import run_service
from quintain.service.settings import ConfigError, load_settings
from quintain_generator.adapters.price_file import PriceFileError
from quintain_generator.adapters.store.sql import StoreError
from quintain_generator.config import ENV_PREFIX, GeneratorSettings
from quintain_generator.service import GeneratorService


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="quintain-generator", description="Turns tasks into candidate policies.")
    parser.add_argument("--config", metavar="FILE", help="TOML configuration; without it the offline backend serves")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(GeneratorSettings, options.config, ENV_PREFIX)
        configure_logging("generator", json=settings.server.log_json, level=settings.server.log_level)
        service = GeneratorService(settings)
        run_service(service, settings.server)
    except (ConfigError, PriceFileError, StoreError, OSError) as error:
        print(f"quintain-generator: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
