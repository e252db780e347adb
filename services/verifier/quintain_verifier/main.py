"""Starts the verifier: `quintain-verifier --config FILE`."""

from __future__ import annotations

import argparse
import sys

from quintain.service.settings import ConfigError, load_settings
from quintain_verifier.config import VerifierSettings
from quintain_verifier.workers.pool import WorkerPool, spawn_workers

ENVIRONMENT = "QUINTAIN_VERIFIER__"


def main() -> None:
    parser = argparse.ArgumentParser(prog="quintain-verifier", description="Serves the verifier.")
    parser.add_argument("--config", help="TOML file; the environment (QUINTAIN_VERIFIER__...) overrides it")
    try:
        settings = load_settings(VerifierSettings, parser.parse_args().config, ENVIRONMENT)
        pool = spawn_workers(settings)  # before gRPC is imported: its threads do not survive a fork
        serve(settings, pool)
    except (ConfigError, OSError) as error:
        sys.exit(f"quintain-verifier: {error}")


def serve(settings: VerifierSettings, pool: WorkerPool) -> None:
    """Everything that needs gRPC."""
    from quintain.service.logs import configure_logging
    from quintain.service.server import run_service
    from quintain_verifier.adapters.registry import RegistryError
    from quintain_verifier.adapters.store.verdicts import RecordsError
    from quintain_verifier.service import VerifierService

    configure_logging("verifier", json=settings.server.log_json, level=settings.server.log_level)
    try:
        service = VerifierService(settings, pool)
    except RegistryError as error:
        raise ConfigError(str(error)) from error
    except RecordsError as error:
        raise ConfigError(f"records.file: {error}") from error
    run_service(service, settings.server)


if __name__ == "__main__":
    main()
