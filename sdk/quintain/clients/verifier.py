"""The Verifier client, sync and asyncio: the contract's messages in and out, typed errors, retries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any

from quintain.clients.channel import AsyncCaller, ClientSettings, SyncCaller
from quintain.errors import Internal
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain.verifier.v1 import verifier_pb2_grpc as stubs


def _settings(address: str | ClientSettings, options: dict[str, Any]) -> ClientSettings:
    if isinstance(address, ClientSettings):
        return address
    return ClientSettings(address=address, **options)


def _policy_request(source: str, simulator: str, suite: str, fields: dict[str, Any]) -> pb.VerifyRequest:
    return pb.VerifyRequest(policy=type_pb2.Policy(source=source), simulator=simulator, suite=suite, **fields)


class Verifier:
    """Thread-safe client. `address` is host:port or full settings; keywords are those of ClientSettings."""

    def __init__(self, address: str | ClientSettings, **options: Any) -> None:
        self._caller = SyncCaller(_settings(address, options))
        self._stub = stubs.VerifierStub(self._caller.channel)

    def get_verdict(self, request: pb.GetVerdictRequest, timeout: float | None = None) -> pb.GetVerdictResponse:
        response: pb.GetVerdictResponse = self._caller.unary(self._stub.GetVerdict, request, timeout)
        return response

    def list_simulators(
        self, request: pb.ListSimulatorsRequest, timeout: float | None = None
    ) -> pb.ListSimulatorsResponse:
        response: pb.ListSimulatorsResponse = self._caller.unary(self._stub.ListSimulators, request, timeout)
        return response

    def get_simulator(self, request: pb.GetSimulatorRequest, timeout: float | None = None) -> pb.GetSimulatorResponse:
        response: pb.GetSimulatorResponse = self._caller.unary(self._stub.GetSimulator, request, timeout)
        return response

    def get_suite(self, request: pb.GetSuiteRequest, timeout: float | None = None) -> pb.GetSuiteResponse:
        response: pb.GetSuiteResponse = self._caller.unary(self._stub.GetSuite, request, timeout)
        return response

    def list_suites(self, request: pb.ListSuitesRequest, timeout: float | None = None) -> pb.ListSuitesResponse:
        response: pb.ListSuitesResponse = self._caller.unary(self._stub.ListSuites, request, timeout)
        return response

    def verify_stream(self, request: pb.VerifyRequest, timeout: float | None = None) -> Iterator[pb.VerifyResponse]:
        return self._caller.stream(self._stub.Verify, lambda: request, timeout)

    def verify(self, request: pb.VerifyRequest, timeout: float | None = None) -> pb.VerifyResult:
        """Run to the end and return the result. A retry after a broken stream joins the run in flight."""
        result: pb.VerifyResult | None = None
        for response in self.verify_stream(request, timeout):
            if response.WhichOneof("event") == "result":
                result = response.result
        if result is None:
            raise Internal("the verifier ended the stream without a result")
        return result

    def verify_policy(self, source: str, *, simulator: str, suite: str, **fields: Any) -> pb.VerifyResult:
        """Verify a policy's source on a suite; `fields` are further fields of VerifyRequest."""
        return self.verify(_policy_request(source, simulator, suite, fields))

    def close(self) -> None:
        self._caller.close()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncVerifier:
    """asyncio client; belongs to one event loop. `address` is host:port or full settings; keywords are those of
    ClientSettings."""

    def __init__(self, address: str | ClientSettings, **options: Any) -> None:
        self._caller = AsyncCaller(_settings(address, options))
        self._stub = stubs.VerifierStub(self._caller.channel)

    async def get_verdict(self, request: pb.GetVerdictRequest, timeout: float | None = None) -> pb.GetVerdictResponse:
        response: pb.GetVerdictResponse = await self._caller.unary(self._stub.GetVerdict, request, timeout)
        return response

    async def list_simulators(
        self, request: pb.ListSimulatorsRequest, timeout: float | None = None
    ) -> pb.ListSimulatorsResponse:
        response: pb.ListSimulatorsResponse = await self._caller.unary(self._stub.ListSimulators, request, timeout)
        return response

    async def get_simulator(
        self, request: pb.GetSimulatorRequest, timeout: float | None = None
    ) -> pb.GetSimulatorResponse:
        response: pb.GetSimulatorResponse = await self._caller.unary(self._stub.GetSimulator, request, timeout)
        return response

    async def get_suite(self, request: pb.GetSuiteRequest, timeout: float | None = None) -> pb.GetSuiteResponse:
        response: pb.GetSuiteResponse = await self._caller.unary(self._stub.GetSuite, request, timeout)
        return response

    async def list_suites(self, request: pb.ListSuitesRequest, timeout: float | None = None) -> pb.ListSuitesResponse:
        response: pb.ListSuitesResponse = await self._caller.unary(self._stub.ListSuites, request, timeout)
        return response

    def verify_stream(
        self, request: pb.VerifyRequest, timeout: float | None = None
    ) -> AsyncIterator[pb.VerifyResponse]:
        return self._caller.stream(self._stub.Verify, lambda: request, timeout)

    async def verify(self, request: pb.VerifyRequest, timeout: float | None = None) -> pb.VerifyResult:
        """Run to the end and return the result. A retry after a broken stream joins the run in flight."""
        result: pb.VerifyResult | None = None
        async for response in self.verify_stream(request, timeout):
            if response.WhichOneof("event") == "result":
                result = response.result
        if result is None:
            raise Internal("the verifier ended the stream without a result")
        return result

    async def verify_policy(self, source: str, *, simulator: str, suite: str, **fields: Any) -> pb.VerifyResult:
        """Verify a policy's source on a suite; `fields` are further fields of VerifyRequest."""
        return await self.verify(_policy_request(source, simulator, suite, fields))

    async def close(self) -> None:
        await self._caller.close()

    async def __aenter__(self) -> AsyncVerifier:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
