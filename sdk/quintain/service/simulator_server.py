"""The Simulator service of the contract over an installed simulator: what `quintain-simulator` serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import grpc

from quintain.errors import Internal, InvalidArgument, NotFound
from quintain.plugins.simulator import (
    InvalidInput,
    ManySystems,
    ModelFault,
    ProgramSimulator,
    RunOptions,
    Scenario,
    Simulator,
    SimulatorFault,
    SuiteReader,
    files_digest,
    narrowed,
    scenario_notes,
)
from quintain.service.guest_bundle import bundle_guest
from quintain.service.simulator_caller import Caller
from quintain.service.suite_files import SuiteFileCache
from quintain.simulator.v1 import simulator_pb2 as pb
from quintain.simulator.v1 import simulator_pb2_grpc
from quintain.verifier.v1 import verifier_pb2
from quintain.wire.simulator_messages import (
    description_message,
    failure_message,
    outcome_from,
    outcome_message,
    score_message,
    suite_message,
)

CONCURRENT_RUNS = 32
_SUITE_BYTES = 256 << 20  # of callers' suites that are kept
_SUITES_READ = 8  # of those, how many are kept as read

T = TypeVar("T")
_TO_PROGRAMS = ("open_program", "program_message")
Context = grpc.aio.ServicerContext[Any, Any]


class SimulatorService:
    """What `quintain.service.server` serves. The engine runs in threads of this process, one for each run."""

    name = "simulator"

    def __init__(self, simulator: Simulator) -> None:
        self._servicer = SimulatorServicer(simulator)

    async def start(self) -> None:
        await self._servicer.prepare()

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        simulator_pb2_grpc.add_SimulatorServicer_to_server(self._servicer, server)
        return [pb.DESCRIPTOR.services_by_name["Simulator"].full_name]

    async def unready_reason(self) -> str:
        return ""

    async def drain(self) -> None:
        await self._servicer.idle()

    async def close(self) -> None:
        self._servicer.close()


class SimulatorServicer(simulator_pb2_grpc.SimulatorServicer):
    """The Simulator service of the contract over a plugin."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._threads = ThreadPoolExecutor(CONCURRENT_RUNS, thread_name_prefix="engine")
        self._guest_source = ""
        self._program_sources: dict[str, str] = {}  # by guest module
        self._suite_files = SuiteFileCache(_SUITE_BYTES)
        self._read_suite = lru_cache(_SUITES_READ)(self._narrowed)
        self._runs: set[asyncio.Future[Any]] = set()

    async def prepare(self) -> None:
        simulator = self._simulator
        self._guest_source = simulator.guest_source or await asyncio.to_thread(bundle_guest, simulator.guest_module)
        for guest in simulator.program_guests if isinstance(simulator, ProgramSimulator) else ():
            self._program_sources[guest] = await asyncio.to_thread(bundle_guest, guest)

    async def idle(self) -> None:
        while self._runs:
            await asyncio.wait(set(self._runs))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def Describe(self, request: pb.DescribeRequest, context: Context) -> pb.DescribeResponse:
        def describe() -> pb.DescribeResponse:
            simulator = (
                narrowed(self._simulator, request.suite, request.scenarios) if _asks(request) else self._simulator
            )
            description = simulator.describe()
            return pb.DescribeResponse(
                simulator=description_message(description),
                suites=[suite_message(simulator.suite(name), simulator.scenario) for name in description.suites],
                guest_source=self._guest_source,
                takes_suites=isinstance(self._simulator, SuiteReader),
                many_systems=isinstance(self._simulator, ManySystems),
            )

        return await self._engine(describe)

    async def GetScenario(self, request: pb.GetScenarioRequest, context: Context) -> pb.GetScenarioResponse:
        def find() -> pb.GetScenarioResponse:
            simulator, found = self._scenario(request.name, request)
            scenario = pb.Scenario(
                name=found.name,
                digest=found.digest,
                description=found.description,
                cost=found.cost,
                notes=scenario_notes(simulator, found),
            )
            return pb.GetScenarioResponse(scenario=scenario)

        return await self._engine(find)

    async def GetSuite(self, request: pb.GetSuiteRequest, context: Context) -> pb.GetSuiteResponse:
        def describe() -> pb.GetSuiteResponse:
            name, sent = request.suite.name, request.suite.files
            simulator = self._of_suite(request.suite)
            files = self._suite_files.resolve(sent.digest, _content(sent.files))
            return pb.GetSuiteResponse(
                simulator=description_message(simulator.describe()),
                suite=suite_message(simulator.suite(name), simulator.scenario),
                notes=self._reader().suite_notes(name, files),
            )

        return await self._engine(describe)

    async def GetSuiteTemplate(
        self, request: pb.GetSuiteTemplateRequest, context: Context
    ) -> pb.GetSuiteTemplateResponse:
        template = await self._engine(lambda: self._reader().suite_template(request.name))
        files = [verifier_pb2.File(name=name, content=content) for name, content in sorted(template.items())]
        return pb.GetSuiteTemplateResponse(files=files)

    def _reader(self) -> SuiteReader:
        if not isinstance(self._simulator, SuiteReader):
            raise InvalidInput("suite", f"simulator {self._simulator.describe().name} takes no suites of one's own")
        return self._simulator

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        def score() -> pb.ScoreResponse:
            simulator, scenario = self._scenario(request.scenario, request)
            try:
                outcome, baseline = outcome_from(request.outcome), outcome_from(request.baseline)
            except ValueError as error:
                raise InvalidInput("outcome", str(error)) from error
            return score_message(simulator.score(request.objective, scenario, outcome, baseline))

        return await self._engine(score)

    async def Simulate(
        self, request_iterator: AsyncIterator[pb.SimulateRequest], context: Context
    ) -> AsyncIterator[pb.SimulateResponse]:
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("event") != "start":
            raise InvalidArgument.of("start", "the first message of a run must be start")
        start = first.start
        caller = Caller(asyncio.get_running_loop(), self._program_sources)
        options = RunOptions(start.calling_mode, start.timeline, start.told_log)

        def run() -> pb.SimulateResponse:
            simulator, scenario = self._scenario(start.scenario, start)
            try:
                if isinstance(simulator, ProgramSimulator):
                    outcome = simulator.run_with_programs(scenario, caller.open_policy, caller.open_program, options)
                else:
                    outcome = simulator.run(scenario, caller.open_policy, options)
            except ModelFault as fault:
                failed = pb.ModelFailure(program=fault.program, failure=failure_message(fault.failure))
                return pb.SimulateResponse(model_failure=failed)
            return pb.SimulateResponse(outcome=outcome_message(outcome))

        engine = asyncio.ensure_future(self._engine(run))
        self._runs.add(engine)
        engine.add_done_callback(self._ended)
        try:
            while (message := await caller.next_message(engine)) is not None:
                yield message
                due = "program_reply" if message.WhichOneof("event") in _TO_PROGRAMS else "policy_reply"
                reply = await anext(request_iterator, None)
                if reply is None or reply.WhichOneof("event") != due:
                    raise InvalidArgument.of(due, "one reply is due for every message to a policy or a program")
                caller.replies.put(reply)
            yield engine.result()
        finally:
            caller.replies.put(None)  # wakes an engine whose caller is gone

    def _ended(self, engine: asyncio.Future[Any]) -> None:
        self._runs.discard(engine)
        if not engine.cancelled():
            engine.exception()  # seen, even if the caller is gone

    def _scenario(
        self, name: str, request: pb.GetScenarioRequest | pb.Start | pb.ScoreRequest
    ) -> tuple[Simulator, Scenario]:
        """What a request is about. Raises InvalidInput, NotFound, FailedPrecondition for a suite that is not here."""
        simulator = self._of_suite(request.suite) if request.HasField("suite") else self._simulator
        if request.files:
            return simulator, simulator.inline_scenario(name, _content(request.files))
        try:
            return simulator, simulator.scenario(name)
        except InvalidInput as error:
            raise NotFound(error.message) from error

    def _of_suite(self, suite: pb.OwnSuite) -> Simulator:
        """The simulator with a suite of the caller's."""
        files = self._suite_files.resolve(suite.files.digest, _content(suite.files.files))
        return self._read_suite(suite.name, suite.files.digest or files_digest(files))

    def _narrowed(self, name: str, digest: str) -> Simulator:
        return narrowed(self._simulator, name, files=self._suite_files.resolve(digest, {}))

    async def _engine(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except SimulatorFault as fault:
            raise Internal(f"the simulator failed: {fault}", reason="SIMULATOR_FAULT") from fault


def _asks(request: pb.DescribeRequest) -> bool:
    """Whether it asks about a part of the simulator."""
    return bool(request.suite or request.scenarios)


def _content(files: Sequence[verifier_pb2.File]) -> dict[str, bytes]:
    return {file.name: file.content for file in files}
