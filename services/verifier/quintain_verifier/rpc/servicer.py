"""The Verifier service of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import grpc

from quintain.errors import FailedPrecondition, InvalidArgument, NotFound, QuintainError
from quintain.plugins.naming import unknown
from quintain.plugins.simulator import InvalidInput, Simulator, narrowed, scenario_notes
from quintain.service.interceptors import caller_of
from quintain.service.paging import page_of
from quintain.service.suite_files import SuiteFileCache
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain.verifier.v1 import verifier_pb2_grpc
from quintain.wire.balancing import if_busy
from quintain.wire.simulator_messages import description_message, suite_message
from quintain_verifier.ports import SimulatorRegistry
from quintain_verifier.rpc.from_proto import suite_files_of, verify_request_of
from quintain_verifier.rpc.to_proto import progress_message, result_message
from quintain_verifier.sandbox.limits import Limits
from quintain_verifier.usecases.run_plan import VerificationProgress
from quintain_verifier.usecases.simulator_threads import SimulatorThreads
from quintain_verifier.usecases.verify import VerifyPolicy

_DESCRIBE_SECONDS = 3.0  # a listing does not wait longer for one simulator

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


class VerifierServicer(verifier_pb2_grpc.VerifierServicer):
    """`addresses`: of the remote ones among the simulators, by name."""

    def __init__(
        self,
        verification: VerifyPolicy,
        registry: SimulatorRegistry,
        threads: SimulatorThreads,
        addresses: Mapping[str, str],
        default_limits: Limits,
        suites: SuiteFileCache,
    ) -> None:
        self._verification = verification
        self._simulators, self._unusable = registry.usable, registry.unusable
        self._threads = threads
        self._addresses = addresses
        self._default_limits = default_limits
        self._suites = suites

    async def Verify(self, request: pb.VerifyRequest, context: Context) -> AsyncGenerator[pb.VerifyResponse, None]:
        wanted = verify_request_of(request, self._default_limits, self._suite_files(request))
        busy = if_busy(context.invocation_metadata() or ())
        async with aclosing(self._verification.verify(wanted, caller_of(context), if_busy=busy)) as events:
            async for event in events:
                if isinstance(event, VerificationProgress):
                    yield pb.VerifyResponse(progress=progress_message(event))
                else:
                    yield pb.VerifyResponse(result=result_message(event))

    async def GetVerdict(self, request: pb.GetVerdictRequest, context: Context) -> pb.GetVerdictResponse:
        if not request.digest:
            raise InvalidArgument.of("digest", "is empty; must be a verdict's digest")
        answer = await self._verification.find(request.digest, request.parent_digest)
        return pb.GetVerdictResponse(result=result_message(answer))

    async def ListSimulators(self, request: pb.ListSimulatorsRequest, context: Context) -> pb.ListSimulatorsResponse:
        known = sorted([*self._simulators, *self._unusable])
        names, next_page = page_of(known, request.page_size, request.page_token, "simulators")
        summaries = await asyncio.gather(*(self._summary(name) for name in names))
        return pb.ListSimulatorsResponse(simulators=summaries, next_page_token=next_page)

    async def GetSimulator(self, request: pb.GetSimulatorRequest, context: Context) -> pb.GetSimulatorResponse:
        simulator = self._simulator(request.name)
        description = await self._threads.run(
            request.name,
            lambda: narrowed(simulator, request.suite).describe() if request.suite else simulator.describe(),
        )
        return pb.GetSimulatorResponse(simulator=description_message(replace(description, name=request.name)))

    async def GetSuite(self, request: pb.GetSuiteRequest, context: Context) -> pb.GetSuiteResponse:
        simulator = self._simulator(request.simulator)
        files = self._suite_files(request)

        def load() -> pb.GetSuiteResponse:
            of_suite = narrowed(simulator, request.suite, files=files)
            return pb.GetSuiteResponse(
                suite=suite_message(
                    of_suite.suite(request.suite), of_suite.scenario, partial(scenario_notes, of_suite)
                ),
                simulator=description_message(replace(of_suite.describe(), name=request.simulator)),
            )

        return await self._threads.run(request.simulator, load)

    def _suite_files(self, request: pb.VerifyRequest | pb.GetSuiteRequest) -> Mapping[str, bytes] | None:
        if not request.HasField("suite_files"):
            return None
        return self._suites.resolve(*suite_files_of(request.suite_files))

    async def ListSuites(self, request: pb.ListSuitesRequest, context: Context) -> pb.ListSuitesResponse:
        simulator = self._simulator(request.simulator)

        def load() -> pb.ListSuitesResponse:
            names, next_page = page_of(
                simulator.describe().suites, request.page_size, request.page_token, f"suites of {request.simulator}"
            )
            return pb.ListSuitesResponse(
                suites=[suite_message(simulator.suite(name), simulator.scenario) for name in names],
                next_page_token=next_page,
            )

        return await self._threads.run(request.simulator, load)

    async def _summary(self, name: str) -> pb.SimulatorSummary:
        """One that cannot be used, or does not say soon what it is, is listed with the reason."""
        address = self._addresses.get(name, "")
        if name in self._unusable:
            return pb.SimulatorSummary(name=name, unavailable_reason=self._unusable[name])
        describe = self._threads.run(name, self._simulators[name].describe)
        try:
            description = await asyncio.wait_for(describe, _DESCRIBE_SECONDS)
        except (QuintainError, InvalidInput) as error:
            return pb.SimulatorSummary(name=name, address=address, unavailable_reason=str(error))
        except TimeoutError:
            reason = f"it did not describe itself within {_DESCRIBE_SECONDS:g} s"
            return pb.SimulatorSummary(name=name, address=address, unavailable_reason=reason)
        return pb.SimulatorSummary(name=name, title=description.title, build=description.build, address=address)

    def _simulator(self, name: str) -> Simulator:
        if name in self._unusable:
            raise FailedPrecondition(self._unusable[name], reason="SIMULATOR_UNUSABLE")
        if name not in self._simulators:
            raise NotFound(f"simulator {unknown(name, self._simulators)}")
        return self._simulators[name]
