"""The generator, wired."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from quintain.errors import FailedPrecondition, Unavailable
from quintain.generator.v1 import generator_pb2, generator_pb2_grpc
from quintain.service.settings import ConfigError, StartError
from quintain.service.waiting import opening_store
from quintain_generator import metrics
from quintain_generator.adapters.price_file import PriceFileError, load_prices
from quintain_generator.adapters.registry import default_name, make_endpoints
from quintain_generator.adapters.store.async_store import AsyncGenerationStore
from quintain_generator.adapters.store.sql import SqlGenerationStore
from quintain_generator.config import GeneratorSettings
from quintain_generator.rpc.servicer import GeneratorServicer
from quintain_generator.usecases.generate import Generations


class GeneratorService:
    """The generator as `quintain.service.server.Service`. Make it on the event loop that will serve it."""

    name = "generator"

    def __init__(self, settings: GeneratorSettings) -> None:
        """Raises ConfigError."""
        try:
            prices = load_prices(settings.price_file)
            store = SqlGenerationStore(settings.store_url)
        except (PriceFileError, FailedPrecondition) as error:
            raise ConfigError(str(error)) from error
        self._endpoints = make_endpoints(settings, prices)
        for name in self._endpoints:
            metrics.announce(name)
        self._store_url = settings.store_url
        self._generations = Generations(
            AsyncGenerationStore(store),
            self._endpoints,
            default_name(settings, self._endpoints),
            max_policy_bytes=settings.max_policy_bytes,
            prompt_tokens=settings.prompt_tokens,
            max_seconds=settings.max_generation_seconds,
            abandoned_call_seconds=settings.abandoned_call_seconds,
        )

    async def start(self) -> None:
        try:
            with opening_store(self._store_url):
                await self._generations.start()
        except FailedPrecondition as error:
            raise ConfigError(error.message) from error
        except Unavailable as error:
            raise StartError(error.message) from error

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        servicer = GeneratorServicer(self._generations, self._endpoints)
        generator_pb2_grpc.add_GeneratorServicer_to_server(servicer, server)
        return [generator_pb2.DESCRIPTOR.services_by_name["Generator"].full_name]

    async def unready_reason(self) -> str:
        return await self._generations.unready_reason()

    async def drain(self) -> None:
        await self._generations.drain()

    async def close(self) -> None:
        await self._generations.close()
        for endpoint in self._endpoints.values():
            await endpoint.backend.close()
