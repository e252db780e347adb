"""The Generator service of the contract over the use case."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import grpc

from quintain.generator.v1 import generator_pb2 as pb
from quintain.generator.v1 import generator_pb2_grpc as stubs
from quintain.plugins.backend import Allowance
from quintain.service.paging import page_of
from quintain_generator.rpc.from_proto import checked_request_id, request_from
from quintain_generator.rpc.to_proto import OPERATORS, generation_to, progress_to, tool_calls_to, waiting_to
from quintain_generator.usecases.batches import Waiting
from quintain_generator.usecases.conversation import ToolsWanted
from quintain_generator.usecases.endpoint import BackendEndpoint
from quintain_generator.usecases.generate import Finished, Generations

# Time kept back from the caller's deadline, to answer with what is known instead of just running out.
_ANSWER_SECONDS = 0.25


class GeneratorServicer(stubs.GeneratorServicer):
    def __init__(self, generations: Generations, endpoints: Mapping[str, BackendEndpoint]) -> None:
        self._generations = generations
        self._endpoints = endpoints

    async def Generate(
        self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateResponse]
    ) -> AsyncIterator[pb.GenerateResponse]:
        wanted = request_from(request)
        async for event in self._generations.generate(wanted, _seconds(context.time_remaining())):
            if isinstance(event, Finished):
                yield pb.GenerateResponse(result=generation_to(event.generation, recorded=event.recorded))
            elif isinstance(event, ToolsWanted):
                yield pb.GenerateResponse(tool_calls=tool_calls_to(event))
            elif isinstance(event, Waiting):
                yield pb.GenerateResponse(waiting=waiting_to(event))
            else:
                yield pb.GenerateResponse(progress=progress_to(event))

    async def GetGeneration(
        self,
        request: pb.GetGenerationRequest,
        context: grpc.aio.ServicerContext[pb.GetGenerationRequest, pb.GetGenerationResponse],
    ) -> pb.GetGenerationResponse:
        generation = await self._generations.find(checked_request_id(request.request_id))
        return pb.GetGenerationResponse(generation=generation_to(generation, recorded=True))

    async def CancelGeneration(
        self,
        request: pb.CancelGenerationRequest,
        context: grpc.aio.ServicerContext[pb.CancelGenerationRequest, pb.CancelGenerationResponse],
    ) -> pb.CancelGenerationResponse:
        name = checked_request_id(request.request_id)
        generation = await self._generations.cancel(name, _seconds(context.time_remaining()))
        return pb.CancelGenerationResponse(generation=generation_to(generation, recorded=True))

    async def ListBackends(
        self,
        request: pb.ListBackendsRequest,
        context: grpc.aio.ServicerContext[pb.ListBackendsRequest, pb.ListBackendsResponse],
    ) -> pb.ListBackendsResponse:
        names, more = page_of(sorted(self._endpoints), request.page_size, request.page_token, "backends")
        return pb.ListBackendsResponse(
            backends=[await self._describe(self._endpoints[name]) for name in names], next_page_token=more
        )

    async def _describe(self, endpoint: BackendEndpoint) -> pb.Backend:
        backend, capabilities = endpoint.backend, endpoint.backend.capabilities
        reason = backend.unavailable_reason
        if not reason and endpoint.breaker.wait_seconds() > 0:
            reason = f"circuit open; the next try is in {endpoint.breaker.wait_seconds():.0f} s"
        habits = await self._generations.habits(endpoint)
        return pb.Backend(
            name=endpoint.name,
            kind=endpoint.settings.kind,
            model=backend.model,
            is_default=endpoint.name == self._generations.default,
            available=not reason,
            unavailable_reason=reason,
            operators=[OPERATORS[o] for o in OPERATORS if o in capabilities.operators],
            deterministic=capabilities.deterministic,
            priced=endpoint.is_priced,
            max_concurrency=endpoint.settings.max_concurrency,
            max_request_cost_usd=endpoint.max_request_cost_usd(self._generations.prompt_tokens, Allowance()),
            measured_requests=habits.requests,
            typical_request_cost_usd=habits.typical_cost_usd,
            high_request_cost_usd=habits.high_cost_usd,
            typical_request_input_tokens=habits.typical_input_tokens,
            high_request_input_tokens=habits.high_input_tokens,
            typical_request_output_tokens=habits.typical_output_tokens,
            high_request_output_tokens=habits.high_output_tokens,
            batch=backend.batches is not None,
        )


def _seconds(left: float | None) -> float | None:
    """Of the caller's time left, what may be used."""
    return None if left is None else max(left - _ANSWER_SECONDS, left / 2)
