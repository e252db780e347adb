from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import update
from tests.integration.controller.fakes import Backend, FakeGenerator, FakeVerifier, serving
from tests.support.postgres import postgres_server, postgres_url

from quintain.clients.channel import ClientSettings
from quintain.clients.controller import AsyncController
from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2_grpc
from quintain.service.server import RunningServer, start_server
from quintain.service.settings import ServerSettings
from quintain.verifier.v1 import verifier_pb2_grpc
from quintain_controller.adapters.store.schema import searches
from quintain_controller.config import ControllerSettings, NotificationSettings, RunnerSettings
from quintain_controller.service import ControllerService

__all__ = ["postgres_server", "postgres_url"]


@dataclass
class Stack:
    """A controller in this process, with the fakes behind it, all over real gRPC."""

    folder: Path
    generator: FakeGenerator = field(default_factory=FakeGenerator)
    verifier: FakeVerifier = field(default_factory=FakeVerifier)
    store_url: str = ""
    runner: dict[str, Any] = field(default_factory=dict)
    notifications: dict[str, Any] = field(default_factory=dict)
    _exit: AsyncExitStack = field(default_factory=AsyncExitStack)
    _addresses: dict[str, str] = field(default_factory=dict)

    async def start(self) -> AsyncController:
        """Start another controller on the same store; the fakes are started once."""
        if not self._addresses:
            self._addresses = {
                "generator": await self._exit.enter_async_context(
                    serving(generator_pb2_grpc.add_GeneratorServicer_to_server, self.generator)
                ),
                "verifier": await self._exit.enter_async_context(
                    serving(verifier_pb2_grpc.add_VerifierServicer_to_server, self.verifier)
                ),
            }
        self.server = await self.start_controller()
        self._exit.push_async_callback(self.server.stop)
        client = AsyncController(self.server.address)
        self._exit.push_async_callback(client.close)
        return client

    async def start_controller(self) -> RunningServer:
        settings = ControllerSettings(
            server=ServerSettings(drain_seconds=5.0),
            store_url=self.store_url or f"sqlite:///{self.folder}/controller.db",
            generator=ClientSettings(address=self._addresses["generator"]),
            verifier=ClientSettings(address=self._addresses["verifier"]),
            runner=RunnerSettings(
                **({"lease_seconds": 3.0, "poll_seconds": 0.05, "first_retry_seconds": 0.01} | self.runner)
            ),
            notifications=NotificationSettings(**({"poll_seconds": 0.05} | self.notifications)),
            watch_poll_seconds=0.05,
        )
        return await start_server(ControllerService(settings), settings.server)

    def runs(self) -> Mapping[str, Any]:
        """The searches that the controller started last works on."""
        found: Mapping[str, Any] = self.server._service._runner._runs  # type: ignore[attr-defined]
        return found

    def expire_leases(self) -> None:
        """As if every owner had been silent for long."""
        store = self.server._service._store.blocking  # type: ignore[attr-defined]
        with store._engine.begin() as connection:
            connection.execute(update(searches).values(lease_until=0.0))

    async def close(self) -> None:
        """Stop everything, whatever a test left waiting."""
        for waiting in (self.generator.gate, self.verifier.gates, *self.verifier.delays.values()):
            waiting.set()
        await self._exit.aclose()


NewStack = Callable[..., Stack]


@pytest_asyncio.fixture
async def new_stack(tmp_path: Path) -> AsyncIterator[NewStack]:
    """Makes stacks that are closed when the test ends, however it ends."""
    async with AsyncExitStack() as made:

        def make(*backends: Backend, folder: Path = tmp_path, **fields: Any) -> Stack:
            stack = Stack(folder, FakeGenerator(*backends), **fields)
            made.push_async_callback(stack.close)
            return stack

        yield make


@pytest.fixture
def stack(new_stack: NewStack) -> Stack:
    return new_stack()


def spec(**fields: Any) -> pb.SearchSpec:
    fields.setdefault("budget", pb.Budget(candidates=20))
    fields.setdefault("seed", 7)
    return pb.SearchSpec(simulator="toy", suite="toy", **fields)


async def create(client: AsyncController, **fields: Any) -> str:
    made = await client.create_search(pb.CreateSearchRequest(spec=spec(**fields)))
    return made.search.search_id


async def watch(client: AsyncController, search_id: str, after: int = 0) -> list[pb.Event]:
    """All events to the end of the search."""
    return [event async for event in client.watch_search(search_id, after, timeout=30.0)]


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not (await now if inspect.isawaitable(now := condition()) else now):
            await asyncio.sleep(0.01)


async def get(client: AsyncController, search_id: str) -> pb.Search:
    return (await client.get_search(pb.GetSearchRequest(search_id=search_id))).search


async def replay(client: AsyncController, search_id: str) -> tuple[pb.ReplayReport, list[str]]:
    """The report of a replay, and its differences."""
    differences: list[str] = []
    request = pb.ReplaySearchRequest(search_id=search_id)
    async for response in client.replay_search(request, timeout=60.0):
        if response.HasField("report"):
            return response.report, differences
        if response.WhichOneof("event") == "difference":
            differences.append(response.difference)
    raise AssertionError("a replay without a report")


async def candidates(client: AsyncController, search_id: str) -> list[pb.CandidateSummary]:
    found: list[pb.CandidateSummary] = []
    token = ""
    while True:
        page = await client.list_candidates(
            pb.ListCandidatesRequest(search_id=search_id, page_size=7, page_token=token)
        )
        found.extend(page.candidates)
        token = page.next_page_token
        if not token:
            return found
