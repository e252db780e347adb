"""A call may be silent for as long as it likes, and gRPC knows every option that we set."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc._cython import cygrpc

from quintain.clients import AsyncVerifier, ClientSettings
from quintain.clients.channel import channel_arguments
from quintain.errors import Unavailable
from quintain.service.server import server_options, start_server
from quintain.service.settings import ServerSettings
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain.verifier.v1 import verifier_pb2_grpc
from quintain.wire import keepalive

ROOT = Path(__file__).parents[3]
CODE = ("sdk", "services", "cli", "simulators", "benchmarks", "deploy", "examples")


class Silent:
    """A service whose Verify says nothing for `seconds`."""

    name = "verifier"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def start(self) -> None: ...

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        seconds = self._seconds

        class Servicer(verifier_pb2_grpc.VerifierServicer):
            async def Verify(self, request: pb.VerifyRequest, context: Any) -> AsyncIterator[pb.VerifyResponse]:
                await asyncio.sleep(seconds)
                yield pb.VerifyResponse(result=pb.VerifyResult(verdict=pb.Verdict(digest="d")))

        verifier_pb2_grpc.add_VerifierServicer_to_server(Servicer(), server)
        return ["quintain.verifier.v1.Verifier"]

    async def unready_reason(self) -> str:
        return ""

    async def drain(self) -> None: ...

    async def close(self) -> None: ...


def known_to_grpc(option: str) -> bool:
    """Whether the option's name stands, whole, among the strings of gRPC's library."""
    return option.encode() + b"\0" in Path(cygrpc.__file__).read_bytes()


def options_in_the_code() -> set[str]:
    files = [f for folder in CODE for f in (ROOT / folder).rglob("*.py") if not f.stem.endswith(("_pb2", "_pb2_grpc"))]
    return {name for file in files for name in re.findall(r'\(\s*"(grpc\.[a-z0-9_.]+)"\s*,', file.read_text())}


def test_grpc_knows_every_option_that_is_set_anywhere() -> None:
    _, channel, _ = channel_arguments(ClientSettings(address="x:1"))
    made = {name for name, _ in (*channel, *server_options(ServerSettings()))}
    assert len(made) > 8
    assert made <= options_in_the_code()
    assert [name for name in sorted(options_in_the_code()) if not known_to_grpc(name)] == []


def test_a_misspelt_option_is_not_known() -> None:
    assert not known_to_grpc("grpc.http2.min_recv_ping_interval_without_data_ms")


def test_clients_ping_clearly_less_often_than_servers_allow() -> None:
    assert keepalive.PING_MS >= 2 * keepalive.LEAST_PING_MS


async def silent_call(seconds: float) -> str:
    server = await start_server(Silent(seconds), ServerSettings(max_connection_age_seconds=0.2))
    try:
        async with AsyncVerifier(ClientSettings(address=server.address, retries=False)) as client:
            return (await client.verify_policy("", simulator="s", suite="x")).verdict.digest
    finally:
        await server.stop()


async def test_a_silent_call_outlives_many_pings_and_its_connections_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bad pings are forgiven; here are some thirty, all allowed."""
    monkeypatch.setattr(keepalive, "PING_MS", 100)
    monkeypatch.setattr(keepalive, "LEAST_PING_MS", 20)
    assert await silent_call(3.0) == "d"


async def test_a_silent_call_is_cut_where_the_pings_come_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that the test above guards against, so that it is known to see it."""
    monkeypatch.setattr(keepalive, "PING_MS", 100)
    monkeypatch.setattr(keepalive, "LEAST_PING_MS", 60_000)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="ping"):
        await silent_call(20.0)
    assert time.monotonic() - began < 15
