"""The controller, wired."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Sequence

import grpc

from quintain.controller.v1 import controller_pb2, controller_pb2_grpc
from quintain.errors import FailedPrecondition, QuintainError
from quintain.service.settings import ConfigError, StartError
from quintain.service.waiting import opening_store
from quintain_controller import metrics
from quintain_controller.adapters.archive import XzArchive
from quintain_controller.adapters.generator import GrpcGenerator
from quintain_controller.adapters.store.sql import SqlStore
from quintain_controller.adapters.verifier import GrpcVerifier
from quintain_controller.config import ControllerSettings
from quintain_controller.domain.records import SearchRecord
from quintain_controller.rpc import to_proto
from quintain_controller.rpc.servicer import ControllerServicer
from quintain_controller.usecases.archives import Archives
from quintain_controller.usecases.async_store import AsyncStore
from quintain_controller.usecases.dependencies import Dependencies
from quintain_controller.usecases.manage import SearchManager
from quintain_controller.usecases.notifications import Notifications
from quintain_controller.usecases.notifier import Notifier
from quintain_controller.usecases.replay import Replays
from quintain_controller.usecases.runner import SearchRunner


class ControllerService:
    """The `quintain.service.server.Service` of the controller."""

    name = "controller"

    def __init__(self, settings: ControllerSettings) -> None:
        self._settings = settings

    async def start(self) -> None:
        settings = self._settings
        try:
            with opening_store(settings.store_url):
                store = await asyncio.to_thread(SqlStore, settings.store_url, observe=metrics.STORE_SECONDS.observe)
        except FailedPrecondition as error:
            raise ConfigError(error.message) from error
        except QuintainError as error:
            raise StartError(error.message) from error
        self._store = AsyncStore(store)
        self._generator = GrpcGenerator(settings.generator, settings.runner.generate_seconds)
        self._verifier = GrpcVerifier(
            settings.verifier,
            settings.runner.verify_seconds,
            self._store.suite_files,
        )
        notifier = Notifier()
        dependencies = Dependencies(
            store=self._store,
            generator=self._generator,
            verifier=self._verifier,
            notifier=notifier,
            settings=settings.runner,
            generations=asyncio.Semaphore(settings.runner.generations_in_flight),
            verifications=asyncio.Semaphore(settings.runner.verifications_in_flight),
        )
        self._runner = SearchRunner(dependencies, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")

        def changed(record: SearchRecord) -> None:
            notifier.notify(record.search_id)
            self._runner.on_search_changed(record)

        manager = SearchManager(self._store, self._generator, self._verifier, changed)
        replays = Replays(self._store, self._verifier, self._generator.encode)
        archives = Archives(self._store, XzArchive(), time.time)
        self._servicer = ControllerServicer(self._store, manager, self._generator, notifier, replays, archives)
        told = settings.notifications
        self._notifications = Notifications(
            self._store, told.ways(), told.poll_seconds, time.time, to_proto.fidelity_words
        )
        self._notifications.start()
        self._runner.start()
        self._following = asyncio.create_task(notifier.follow(self._store, settings.watch_poll_seconds))

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        controller_pb2_grpc.add_ControllerServicer_to_server(self._servicer, server)
        return [controller_pb2.DESCRIPTOR.services_by_name["Controller"].full_name]

    async def unready_reason(self) -> str:
        """Searches can be created and continued while the store answers."""
        return self._runner.store_error

    async def drain(self) -> None:
        await self._runner.drain()
        await self._notifications.drain()

    async def close(self) -> None:
        await self._runner.close()
        await self._notifications.close()
        self._following.cancel()
        await self._generator.close()
        await self._verifier.close()
        await asyncio.to_thread(self._store.close)
