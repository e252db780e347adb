"""Wires the controller and serves it: ``quintain-controller --config controller.toml``."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import uuid
from collections.abc import Sequence

import grpc

from quintain.controller.v1 import controller_pb2, controller_pb2_grpc
from quintain.errors import QuintainError
from quintain.service.logs import configure_logging
from quintain.service.server import run_service
from quintain.service.settings import ConfigError, load_settings
from quintain_controller import metrics
from quintain_controller.adapters.generator import GrpcGenerator
from quintain_controller.adapters.store.sql import SqlStore
from quintain_controller.adapters.verifier import GrpcVerifier
from quintain_controller.config import ControllerSettings
from quintain_controller.domain.records import SearchRecord
from quintain_controller.rpc.servicer import ControllerServicer
from quintain_controller.usecases.access import Access, Notifier
from quintain_controller.usecases.manage import Manager
from quintain_controller.usecases.runner import Runner
from quintain_controller.usecases.surroundings import Surroundings

ENV_PREFIX = "QUINTAIN_CONTROLLER__"


class ControllerService:
    """The `quintain.service.server.Service` of the controller."""

    name = "controller"

    def __init__(self, settings: ControllerSettings) -> None:
        self._settings = settings

    async def start(self) -> None:
        settings = self._settings
        store = await asyncio.to_thread(SqlStore, settings.store_url, observe=metrics.STORE_SECONDS.observe)
        self._access = Access(store)
        self._generator = GrpcGenerator(settings.generator, settings.runner.generate_seconds)
        self._verifier = GrpcVerifier(settings.verifier, settings.runner.verify_seconds)
        notifier = Notifier()
        around = Surroundings(
            access=self._access,
            generator=self._generator,
            verifier=self._verifier,
            notifier=notifier,
            settings=settings.runner,
            generations=asyncio.Semaphore(settings.runner.generations_in_flight),
            verifications=asyncio.Semaphore(settings.runner.verifications_in_flight),
        )
        self._runner = Runner(around, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")

        def changed(record: SearchRecord) -> None:
            notifier.notify(record.search_id)
            self._runner.heard(record)

        manager = Manager(self._access, self._generator, self._verifier, changed)
        self._servicer = ControllerServicer(self._access, manager, self._generator, notifier)
        self._runner.start()
        self._following = asyncio.create_task(notifier.follow(self._access, settings.watch_poll_seconds))

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        controller_pb2_grpc.add_ControllerServicer_to_server(self._servicer, server)
        return [controller_pb2.DESCRIPTOR.services_by_name["Controller"].full_name]

    async def ready(self) -> bool:
        """Searches can be created and continued: the store answers."""
        return not self._runner.store_error

    async def drain(self) -> None:
        await self._runner.drain()

    async def close(self) -> None:
        await self._runner.close()
        self._following.cancel()
        await self._generator.close()
        await self._verifier.close()
        await asyncio.to_thread(self._access.close)
        self._access.store.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="quintain-controller", description=__doc__)
    parser.add_argument("--config", help="TOML file; the environment (QUINTAIN_CONTROLLER__...) overrides it")
    arguments = parser.parse_args()
    try:
        settings = load_settings(ControllerSettings, arguments.config, ENV_PREFIX)
        configure_logging("controller", json=settings.server.log_json, level=settings.server.log_level)
        run_service(ControllerService(settings), settings.server)
    except (ConfigError, QuintainError, OSError) as error:
        sys.exit(f"quintain-controller: {error}")


if __name__ == "__main__":
    main()
