"""A client whose server is not there says so in seconds, once, with the address; one that was there is waited for."""

import logging
import socket
import time

import pytest
from tests.contract.sdk.test_keepalive import Silent

from quintain.clients import AsyncVerifier, ClientSettings, channel
from quintain.clients.verifier import Verifier
from quintain.errors import Unavailable
from quintain.service.server import start_server
from quintain.service.settings import ServerSettings
from quintain.verifier.v1 import verifier_pb2 as pb


def nobody() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "CONNECT_SECONDS", 1.5)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_wrong_address_is_named_within_seconds_and_once(caplog: pytest.LogCaptureFixture, streaming: bool) -> None:
    address, began = nobody(), time.monotonic()
    with Verifier(address) as client:
        call = client.verify if streaming else client.get_verdict
        request = pb.VerifyRequest() if streaming else pb.GetVerdictRequest(digest="d")
        with pytest.raises(Unavailable, match=f"cannot reach {address}: ") as failed:
            call(request)  # type: ignore[arg-type]
    assert time.monotonic() - began < 10
    assert failed.value.reason == "CANNOT_CONNECT"
    assert len(lines(caplog)) == 1


async def test_the_asyncio_client_does_the_same(caplog: pytest.LogCaptureFixture) -> None:
    address, began = nobody(), time.monotonic()
    async with AsyncVerifier(address) as client:
        with pytest.raises(Unavailable, match=f"cannot reach {address}: "):
            await client.verify_policy("", simulator="s", suite="x")
    assert time.monotonic() - began < 10
    assert len(lines(caplog)) == 1


async def test_a_server_that_was_there_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """It restarts, perhaps: the call's own deadline holds."""
    server = await start_server(Silent(0.0), ServerSettings())
    async with AsyncVerifier(ClientSettings(address=server.address)) as client:
        await client.verify_policy("", simulator="s", suite="x")
        await server.stop()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await client.verify(pb.VerifyRequest(simulator="s", suite="x"), timeout=5.0)
    assert time.monotonic() - began > 2.0
