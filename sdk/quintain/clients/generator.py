"""The Generator client, sync and asyncio: the contract's messages in and out, typed errors, retries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any

from quintain.clients.channel import AsyncCaller, ClientSettings, SyncCaller
from quintain.errors import Internal, Unavailable
from quintain.generator.v1 import generator_pb2 as pb
from quintain.generator.v1 import generator_pb2_grpc as stubs


def _settings(address: str | ClientSettings, options: dict[str, Any]) -> ClientSettings:
    if isinstance(address, ClientSettings):
        return address
    return ClientSettings(address=address, **options)


def _answer_later(waiting: pb.Waiting) -> Unavailable:
    return Unavailable(
        f"the answer is made in batch {waiting.batch_id or '(not known yet)'} of the provider; ask again later",
        reason="ANSWER_LATER",
        retry_after_seconds=waiting.after_seconds,
    )


class Generator:
    """Thread-safe client. `address` is host:port or full settings; keywords are those of ClientSettings."""

    def __init__(self, address: str | ClientSettings, **options: Any) -> None:
        self._caller = SyncCaller(_settings(address, options))
        self._stub = stubs.GeneratorStub(self._caller.channel)

    def get_generation(
        self, request: pb.GetGenerationRequest, timeout: float | None = None
    ) -> pb.GetGenerationResponse:
        response: pb.GetGenerationResponse = self._caller.unary(self._stub.GetGeneration, request, timeout)
        return response

    def cancel_generation(
        self, request: pb.CancelGenerationRequest, timeout: float | None = None
    ) -> pb.CancelGenerationResponse:
        response: pb.CancelGenerationResponse = self._caller.unary(self._stub.CancelGeneration, request, timeout)
        return response

    def list_backends(self, request: pb.ListBackendsRequest, timeout: float | None = None) -> pb.ListBackendsResponse:
        response: pb.ListBackendsResponse = self._caller.unary(self._stub.ListBackends, request, timeout)
        return response

    def generate_stream(
        self, request: pb.GenerateRequest, timeout: float | None = None
    ) -> Iterator[pb.GenerateResponse]:
        return self._caller.stream(self._stub.Generate, lambda: request, timeout)

    def generate(self, request: pb.GenerateRequest, timeout: float | None = None) -> pb.Generation:
        """Run to the end and return the result. Repeating a request id never pays twice, so broken streams are
        retried. Raises Unavailable with reason ANSWER_LATER while the answer is made in a batch."""
        result: pb.Generation | None = None
        for response in self.generate_stream(request, timeout):
            if response.WhichOneof("event") == "result":
                result = response.result
            elif response.WhichOneof("event") == "waiting":
                raise _answer_later(response.waiting)
        if result is None:
            raise Internal("the generator ended the stream without a result")
        return result

    def close(self) -> None:
        self._caller.close()

    def __enter__(self) -> Generator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncGenerator:
    """asyncio client; belongs to one event loop. `address` is host:port or full settings; keywords are those of
    ClientSettings."""

    def __init__(self, address: str | ClientSettings, **options: Any) -> None:
        self._caller = AsyncCaller(_settings(address, options))
        self._stub = stubs.GeneratorStub(self._caller.channel)

    async def get_generation(
        self, request: pb.GetGenerationRequest, timeout: float | None = None
    ) -> pb.GetGenerationResponse:
        response: pb.GetGenerationResponse = await self._caller.unary(self._stub.GetGeneration, request, timeout)
        return response

    async def cancel_generation(
        self, request: pb.CancelGenerationRequest, timeout: float | None = None
    ) -> pb.CancelGenerationResponse:
        response: pb.CancelGenerationResponse = await self._caller.unary(self._stub.CancelGeneration, request, timeout)
        return response

    async def list_backends(
        self, request: pb.ListBackendsRequest, timeout: float | None = None
    ) -> pb.ListBackendsResponse:
        response: pb.ListBackendsResponse = await self._caller.unary(self._stub.ListBackends, request, timeout)
        return response

    def generate_stream(
        self, request: pb.GenerateRequest, timeout: float | None = None
    ) -> AsyncIterator[pb.GenerateResponse]:
        return self._caller.stream(self._stub.Generate, lambda: request, timeout)

    async def generate(self, request: pb.GenerateRequest, timeout: float | None = None) -> pb.Generation:
        """Run to the end and return the result. Repeating a request id never pays twice, so broken streams are
        retried. Raises Unavailable with reason ANSWER_LATER while the answer is made in a batch."""
        result: pb.Generation | None = None
        async for response in self.generate_stream(request, timeout):
            if response.WhichOneof("event") == "result":
                result = response.result
            elif response.WhichOneof("event") == "waiting":
                raise _answer_later(response.waiting)
        if result is None:
            raise Internal("the generator ended the stream without a result")
        return result

    async def close(self) -> None:
        await self._caller.close()

    async def __aenter__(self) -> AsyncGenerator:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
