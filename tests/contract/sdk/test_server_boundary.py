"""A real server over real gRPC: typed errors unary and in mid-stream, tokens, TLS, health, metrics, drain."""

import asyncio
import gc
import socket
import threading
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY
from pydantic import ValidationError
from tests.support.certificates import certificates

from quintain.clients import AsyncController, AsyncVerifier, ClientSettings, channel
from quintain.clients.channel import ClientTls
from quintain.controller.v1 import controller_pb2, controller_pb2_grpc
from quintain.errors import Internal, InvalidArgument, QuintainError, ResourceExhausted, Unauthenticated, Unavailable
from quintain.service import metrics_server
from quintain.service import server as service_server
from quintain.service.interceptors import caller_of
from quintain.service.server import LIVENESS, start_server
from quintain.service.settings import ConfigError, ServerSettings, TlsSettings
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain.verifier.v1 import verifier_pb2_grpc
from quintain.wire.tracing import outgoing_metadata


class Servicer(verifier_pb2_grpc.VerifierServicer):
    """Misbehaves on request: the suite's name says how."""

    def __init__(self) -> None:
        self.calls = 0
        self.finish = asyncio.Event()
        self.begun = asyncio.Event()
        self.left = asyncio.Event()

    async def Verify(self, request: pb.VerifyRequest, context: Any) -> AsyncIterator[pb.VerifyResponse]:
        self.calls += 1
        yield pb.VerifyResponse(progress=pb.VerifyProgress(scenarios_total=1))
        if request.suite == "invalid":
            raise InvalidArgument.of("suite", "unknown; known: smoke")
        if request.suite == "crash":
            raise ZeroDivisionError("a secret detail")
        if request.suite == "busy" and self.calls < 3:
            raise ResourceExhausted("full", retry_after_seconds=0.01)
        if request.suite == "endless":
            self.begun.set()
            try:
                while True:
                    yield pb.VerifyResponse(result=pb.VerifyResult(verdict=pb.Verdict(digest="d" * 1_000_000)))
            finally:
                self.left.set()
        if request.suite == "slow":
            await self.finish.wait()
        yield pb.VerifyResponse(result=pb.VerifyResult(verdict=pb.Verdict(digest="d")))

    async def GetVerdict(self, request: pb.GetVerdictRequest, context: Any) -> pb.GetVerdictResponse:
        raise InvalidArgument.of("digest", "64 hex digits are wanted")


class Events(controller_pb2_grpc.ControllerServicer):
    """Breaks the watch after two events, every time."""

    async def WatchSearch(
        self, request: controller_pb2.WatchSearchRequest, context: Any
    ) -> AsyncIterator[controller_pb2.WatchSearchResponse]:
        for sequence in range(request.after_sequence + 1, 8):
            if sequence > request.after_sequence + 2:
                raise Unavailable("going away")
            yield controller_pb2.WatchSearchResponse(event=controller_pb2.Event(sequence=sequence))


class Service:
    name = "verifier"

    def __init__(self) -> None:
        self.servicer = Servicer()
        self.is_ready = True
        self.trouble: Exception | None = None
        self.checks = 0
        self.closed = False

    async def start(self) -> None: ...

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        verifier_pb2_grpc.add_VerifierServicer_to_server(self.servicer, server)
        controller_pb2_grpc.add_ControllerServicer_to_server(Events(), server)
        return ["quintain.verifier.v1.Verifier", "quintain.controller.v1.Controller"]

    async def unready_reason(self) -> str:
        self.checks += 1
        if self.trouble is not None:
            raise self.trouble
        return "" if self.is_ready else "it was told not to be"

    async def drain(self) -> None: ...

    async def close(self) -> None:
        self.closed = True


async def test_an_error_is_typed_unary_and_in_the_middle_of_a_stream() -> None:
    server = await start_server(Service(), ServerSettings())
    async with AsyncVerifier(server.address) as client:
        with pytest.raises(InvalidArgument) as unary:
            await client.get_verdict(pb.GetVerdictRequest())
        assert unary.value.violations[0].field == "digest"
        with pytest.raises(InvalidArgument) as streamed:
            await client.verify_policy("", simulator="s", suite="invalid")
        assert streamed.value.violations[0].message == "unknown; known: smoke"
    await server.stop()


async def test_a_crash_is_internal_with_a_correlation_id_and_without_the_cause() -> None:
    server = await start_server(Service(), ServerSettings())
    async with AsyncVerifier(server.address) as client:
        with pytest.raises(Internal, match=r"correlation id [0-9a-f]{32}") as caught:
            await client.verify_policy("", simulator="s", suite="crash")
    assert "secret" not in str(caught.value)
    await server.stop()


async def test_a_client_waits_as_told_when_the_server_is_full() -> None:
    service = Service()
    server = await start_server(service, ServerSettings())
    async with AsyncVerifier(server.address) as client:
        result = await client.verify_policy("", simulator="s", suite="busy")
    assert (result.verdict.digest, service.servicer.calls) == ("d", 3)
    await server.stop()


async def test_a_caller_that_goes_away_while_an_answer_is_written_is_nobodys_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service()
    server = await start_server(service, ServerSettings())
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = verifier_pb2_grpc.VerifierStub(channel).Verify(pb.VerifyRequest(suite="endless"))
        await service.servicer.begun.wait()  # nobody reads: the server waits in the middle of a write
        call.cancel()
        while not service.servicer.left.is_set():
            gc.collect()  # what closes a generator that its server has dropped
            await asyncio.sleep(0)
    await server.stop()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_watch_goes_on_over_broken_streams_without_gap_or_repeat() -> None:
    server = await start_server(Service(), ServerSettings())
    async with AsyncController(server.address) as client:
        sequences = [event.sequence async for event in client.watch_search("s", timeout=20)]
    assert sequences == [1, 2, 3, 4, 5, 6, 7]
    await server.stop()


async def test_breaks_of_a_watch_that_goes_on_are_no_failures_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection brings events: the pause never grows, however often the connection breaks."""
    counted: list[int] = []

    def delay(error: QuintainError, failures: int, deadline: float) -> float:
        counted.append(failures)
        return 0.0

    monkeypatch.setattr(channel, "retry_delay", delay)
    server = await start_server(Service(), ServerSettings())
    async with AsyncController(server.address) as client:
        assert [event.sequence async for event in client.watch_search("s", timeout=20)] == [1, 2, 3, 4, 5, 6, 7]
    assert set(counted) == {1}
    await server.stop()


async def test_a_bearer_token_is_required_but_not_for_health() -> None:
    server = await start_server(Service(), ServerSettings.model_validate({"token": "right-token"}))
    async with AsyncVerifier(server.address, token="right-token") as client:
        assert (await client.verify_policy("", simulator="s", suite="ok")).verdict.digest == "d"
    for wrong in ({}, {"token": "wrong-token"}):
        async with AsyncVerifier(server.address, **wrong) as client:
            with pytest.raises(Unauthenticated):
                await client.verify_policy("", simulator="s", suite="ok")
    async with grpc.aio.insecure_channel(server.address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await server.stop()


@pytest.mark.parametrize("token", ["", "wrong-token", "right-token"])
@pytest.mark.parametrize("method", ["Verify", "GetVerdict"])
async def test_an_undecodable_request_is_counted_and_typed_after_the_token(
    token: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    code = "INVALID_ARGUMENT" if token == "right-token" else "UNAUTHENTICATED"
    labels = {"service": "verifier", "method": method, "code": code}
    before = REGISTRY.get_sample_value("quintain_rpc_handled_total", labels) or 0
    server = await start_server(Service(), ServerSettings.model_validate({"token": "right-token"}))
    async with grpc.aio.insecure_channel(server.address) as channel:
        path, metadata = f"/quintain.verifier.v1.Verifier/{method}", (("authorization", f"Bearer {token}"),)
        if method == "Verify":
            answer: Any = channel.unary_stream(path)(b"\xff\xff\xff", metadata=metadata).read()
        else:
            answer = channel.unary_unary(path)(b"\xff\xff\xff", metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await answer
    assert failed.value.code().name == code
    assert REGISTRY.get_sample_value("quintain_rpc_handled_total", labels) == before + 1
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    await server.stop()


async def test_with_tokens_the_token_is_the_caller_whatever_name_it_gives_itself() -> None:
    seen: list[str] = []

    class Asking(Service):
        def register(self, server: grpc.aio.Server) -> Sequence[str]:
            class Looking(verifier_pb2_grpc.VerifierServicer):
                async def GetVerdict(self, request: pb.GetVerdictRequest, context: Any) -> pb.GetVerdictResponse:
                    seen.append(caller_of(context))
                    return pb.GetVerdictResponse()

            verifier_pb2_grpc.add_VerifierServicer_to_server(Looking(), server)
            return ["quintain.verifier.v1.Verifier"]

    tokens = {"token": "shared-token", "caller_tokens": {"search": "search-token"}}
    for settings in (tokens, {}):
        server = await start_server(Asking(), ServerSettings.model_validate(settings))
        for token in ("shared-token", "search-token"):
            async with AsyncVerifier(server.address, token=token, caller=f"I am {len(seen)}") as client:
                await client.get_verdict(pb.GetVerdictRequest(digest="d"))
        await server.stop()
    assert seen == ["token:token", "token:search", "name:I am 2", "name:I am 3"]


async def test_half_open_connections_to_the_metrics_port_cost_no_threads_and_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_server, "_IDLE_SECONDS", 1)
    server = await start_server(Service(), ServerSettings())
    host, _, port = server.metrics_address.rpartition(":")
    before, silent = threading.active_count(), []
    for _ in range(2 * metrics_server._CONNECTIONS):
        silent.append(socket.create_connection((host, int(port))))
        silent[-1].sendall(b"GET /metr")
    assert threading.active_count() <= before
    url = f"http://{server.metrics_address}/metrics"
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=30).read().decode())
    assert "quintain_ready" in text
    for connection in silent:
        connection.close()
    await server.stop()
    assert threading.active_count() < before


async def test_what_makes_a_service_unready_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(service_server, "_say_readiness", said.append)
    monkeypatch.setattr(service_server, "_READINESS_SECONDS", 0.02)
    service = Service()
    service.is_ready = False
    server = await start_server(service, ServerSettings())
    async with asyncio.timeout(20):
        while service.checks < 5:  # all with the same result
            await asyncio.sleep(0.01)
        service.is_ready = True
        while "" not in said:
            await asyncio.sleep(0.01)
    await server.stop()
    assert said == ["it was told not to be", ""]


async def test_mutual_tls_lets_in_who_has_a_certificate_and_nobody_else(tmp_path: Path) -> None:
    certificates(tmp_path)
    tls = TlsSettings(
        certificate_file=tmp_path / "server.crt", key_file=tmp_path / "server.key", client_ca_file=tmp_path / "ca.crt"
    )
    server = await start_server(Service(), ServerSettings.model_validate({"tls": tls}))

    def client(**files: Path) -> AsyncVerifier:
        trust = ClientTls(ca_file=tmp_path / "ca.crt", **files)
        return AsyncVerifier(ClientSettings(address=server.address, tls=trust, timeout_seconds=2))

    own = {"certificate_file": tmp_path / "client.crt", "key_file": tmp_path / "client.key"}
    async with client(**own) as known:
        assert (await known.verify_policy("", simulator="s", suite="ok")).verdict.digest == "d"
    async with client() as unknown:
        with pytest.raises(Unavailable):
            await unknown.verify_policy("", simulator="s", suite="ok")
    await server.stop()


async def test_readiness_follows_the_service_and_liveness_does_not() -> None:
    service = Service()
    service.is_ready = False
    server = await start_server(service, ServerSettings())
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="quintain.verifier.v1.Verifier"))
        first = await watch.read()
        alive = await stub.Check(health_pb2.HealthCheckRequest(service=LIVENESS))
        service.is_ready = True
        second = await watch.read()
    serving = health_pb2.HealthCheckResponse
    assert [first.status, alive.status, second.status] == [serving.NOT_SERVING, serving.SERVING, serving.SERVING]
    await server.stop()


async def test_reflection_lists_the_services() -> None:
    server = await start_server(Service(), ServerSettings())
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answer = await call.read()
    assert "quintain.verifier.v1.Verifier" in {s.name for s in answer.list_services_response.service}
    await server.stop()


async def test_every_rpc_is_counted_by_method_and_code() -> None:
    server = await start_server(Service(), ServerSettings())
    async with AsyncVerifier(server.address) as client:
        with pytest.raises(InvalidArgument):
            await client.get_verdict(pb.GetVerdictRequest())
    url = f"http://{server.metrics_address}/metrics"
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())
    assert 'quintain_rpc_handled_total{code="INVALID_ARGUMENT",method="GetVerdict",service="verifier"}' in text
    await server.stop()


@pytest.mark.parametrize("key", ["listen", "metrics_listen"])
async def test_a_taken_port_is_a_clear_error_and_nothing_is_left_running(key: str) -> None:
    service = Service()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {address}"):
            await start_server(service, ServerSettings.model_validate({key: address}))
    assert service.closed


async def test_a_readiness_check_that_fails_is_not_ready_and_the_next_one_counts() -> None:
    """Health must never stay at what it was because the check of a plugin raised."""
    service = Service()
    service.trouble = ZeroDivisionError("a plugin's")
    server = await start_server(service, ServerSettings())
    async with grpc.aio.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        first = await watch.read()
        service.trouble = None
        second = await watch.read()
        gauge = REGISTRY.get_sample_value("quintain_ready", {"service": "verifier"})
    assert gauge == 1
    assert (first.status, second.status) == (
        health_pb2.HealthCheckResponse.NOT_SERVING,
        health_pb2.HealthCheckResponse.SERVING,
    )
    await server.stop()


@pytest.mark.parametrize("key", ["token_file", "tls.key_file"])
async def test_a_file_that_is_not_there_is_named_before_anything_starts(key: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    files: dict[str, Any] = {"tls": {"certificate_file": tmp_path / "there", "key_file": tmp_path / "none"}}
    settings = ServerSettings.model_validate({"token_file": tmp_path / "none"} if key == "token_file" else files)
    with pytest.raises(ConfigError, match=f"server.{key}: {tmp_path}/none: No such file"):
        await start_server(Service(), settings)


async def test_an_empty_token_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        await start_server(Service(), ServerSettings(token_file=tmp_path / "token"))
    with pytest.raises(ValidationError):
        ServerSettings.model_validate({"token": ""})
    with pytest.raises(ValidationError, match="keep one"):
        ServerSettings.model_validate({"token": "abc", "token_file": tmp_path / "token"})


async def test_a_correlation_id_and_a_trace_cross_from_caller_to_service() -> None:
    """The servicer calls on: what it sends carries the id it was called with."""
    seen: dict[str, str] = {}

    class Relay(Service):
        def register(self, server: grpc.aio.Server) -> Sequence[str]:
            class Looking(verifier_pb2_grpc.VerifierServicer):
                async def GetVerdict(self, request: pb.GetVerdictRequest, context: Any) -> pb.GetVerdictResponse:
                    seen.update(outgoing_metadata())
                    return pb.GetVerdictResponse()

            verifier_pb2_grpc.add_VerifierServicer_to_server(Looking(), server)
            return ["quintain.verifier.v1.Verifier"]

    server = await start_server(Relay(), ServerSettings())
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = verifier_pb2_grpc.VerifierStub(channel)
        metadata = (("x-correlation-id", "abc"), ("traceparent", parent))
        await stub.GetVerdict(pb.GetVerdictRequest(), metadata=metadata)
    assert seen["x-correlation-id"] == "abc"
    assert seen["traceparent"].split("-")[1] == parent.split("-")[1]
    await server.stop()
