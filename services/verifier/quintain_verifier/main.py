"""Starts the verifier: `quintain-verifier --config FILE`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pydantic import Field

from quintain.service.config import ConfigError, load_settings
from quintain_verifier.config import VerifierSettings
from quintain_verifier.workers.pool import WorkerPool, spawn_workers

ENVIRONMENT = "QUINTAIN_VERIFIER__"


class _WithoutServer(VerifierSettings):
    """The configuration before gRPC is imported."""

    server: dict[str, Any] = Field({})


def main() -> None:
    parser = argparse.ArgumentParser(prog="quintain-verifier", description="Serves the verifier.")
    parser.add_argument("--config", help="TOML file; the environment (QUINTAIN_VERIFIER__...) overrides it")
    path = parser.parse_args().config
    try:
        settings = load_settings(_WithoutServer, path, ENVIRONMENT)
        pool = spawn_workers(settings)  # before gRPC is imported: its threads do not survive a fork
        serve(path, pool)
    except ConfigError as error:
        sys.exit(f"quintain-verifier: {error}")


def serve(path: str | None, pool: WorkerPool) -> None:
    """Everything that needs gRPC."""
    from quintain.service.logs import configure_logging
    from quintain.service.server import ServerSettings, run_service
    from quintain_verifier.registry import RegistryError
    from quintain_verifier.service import VerifierService

    class Configuration(VerifierSettings):
        server: ServerSettings = ServerSettings()

    configuration = load_settings(Configuration, path, ENVIRONMENT)
    configure_logging("verifier", json=configuration.server.log_json, level=configuration.server.log_level)
    try:
        service = VerifierService(configuration, pool)
    except RegistryError as error:
        raise ConfigError(str(error)) from error
    run_service(service, configuration.server)


if __name__ == "__main__":
    main()
