"""Starts the verifier: ``quintain-verifier --config FILE``."""

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
    return run("verifier", "Verifies policies: runs them in a jail against simulators, and judges.", _wire, arguments)


def _wire(options: Namespace) -> tuple[Service, ServerSettings]:
    from quintain.service.settings import load_settings
    from quintain_verifier.config import ENV_PREFIX, VerifierSettings
    from quintain_verifier.workers.pool import WorkerPool

    settings = load_settings(VerifierSettings, options.config, ENV_PREFIX)
    pool = WorkerPool(settings.worker_count)
    pool.spawn()  # before gRPC is imported: its threads do not survive a fork

    from quintain.service.logs import configure_logging
    from quintain_verifier.service import VerifierService

    configure_logging("verifier", json=settings.server.log_json, level=settings.server.log_level)
    return VerifierService(settings, pool), settings.server


if __name__ == "__main__":
    sys.exit(main())
