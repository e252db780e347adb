"""The Simulator service of the contract over an installed simulator: what `quintain-simulator` serves."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar, cast

import grpc

from quintain.errors import Internal, InvalidArgument, NotFound
from quintain.plugins.simulator import (
    FailureKind,
    InvalidInput,
    JsonValue,
    Outcome,
    Policy,
    PolicyError,
    PolicyFailure,
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
from quintain.service.suite_files import SuiteFileCache
from quintain.simulator.v1 import simulator_pb2 as pb
from quintain.simulator.v1 import simulator_pb2_grpc
from quintain.verifier.v1 import verifier_pb2
from quintain.wire.simulator_messages import (
    description_message,
    failure_from,
    outcome_from,
    outcome_message,
    score_message,
    suite_message,
)

CONCURRENT_RUNS = 32
_SUITE_BYTES = 256 << 20  # of callers' suites that are kept
_SUITES_READ = 8  # of those, how many are kept as read

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


class _CallerGone(Exception):
    """The stream ended in the middle of a run; the engine is unwound."""


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
        self._suite_files = SuiteFileCache(_SUITE_BYTES)
        self._read_suite = lru_cache(_SUITES_READ)(self._narrowed)
        self._runs: set[asyncio.Future[Any]] = set()

    async def prepare(self) -> None:
        simulator = self._simulator
        self._guest_source = simulator.guest_source or await asyncio.to_thread(bundle_guest, simulator.guest_module)

    async def idle(self) -> None:
        while self._runs:
            await asyncio.wait(set(self._runs))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def Describe(self, request: pb.DescribeRequest, context: Context) -> pb.DescribeResponse:
        def describe() -> pb.DescribeResponse:
            simulator, description = self._simulator, self._simulator.describe()
            return pb.DescribeResponse(
                simulator=description_message(description),
                suites=[suite_message(simulator.suite(name), simulator.scenario) for name in description.suites],
                guest_source=self._guest_source,
                takes_suites=isinstance(simulator, SuiteReader),
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
        policy = _RemotePolicy(asyncio.get_running_loop())
        options = RunOptions(start.calling_mode, start.timeline)

        def run() -> Outcome:
            simulator, scenario = self._scenario(start.scenario, start)
            return simulator.run(scenario, policy.open, options)

        engine = asyncio.ensure_future(self._engine(run))
        self._runs.add(engine)
        engine.add_done_callback(self._ended)
        try:
            while (message := await policy.next_message(engine)) is not None:
                yield message
                reply = await anext(request_iterator, None)
                if reply is None or reply.WhichOneof("event") != "policy_reply":
                    raise InvalidArgument.of("policy_reply", "one reply is due for every policy_message")
                policy.replies.put(reply.policy_reply)
            yield pb.SimulateResponse(outcome=outcome_message(engine.result()))
        finally:
            policy.replies.put(None)  # wakes an engine whose caller is gone

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


class _RemotePolicy:
    """The policy at the other end of the stream, as the engine's thread sees it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.replies: queue.SimpleQueue[pb.PolicyReply | None] = queue.SimpleQueue()
        self._loop = loop
        self._messages: asyncio.Queue[pb.SimulateResponse] = asyncio.Queue()
        self._opened = False
        self.info: JsonValue = None

    async def next_message(self, engine: asyncio.Future[Outcome]) -> pb.SimulateResponse | None:
        """The engine's next message; None when it has ended."""
        getting = asyncio.ensure_future(self._messages.get())
        try:
            waiting: set[asyncio.Future[Any]] = {getting, engine}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()

    def open(self, setup: JsonValue) -> Policy:
        text = _dumps(setup)
        first = pb.SimulateResponse(policy_message_json=text)
        self.info = self._exchange(pb.SimulateResponse(fresh_policy_json=text) if self._opened else first, None)
        self._opened = True
        return self

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        return self._exchange(pb.SimulateResponse(policy_message_json=_dumps(message)), on_query)

    def _exchange(self, message: pb.SimulateResponse, on_query: Callable[[JsonValue], JsonValue] | None) -> JsonValue:
        while True:
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)
            reply = self.replies.get()
            if reply is None:
                raise _CallerGone
            match reply.WhichOneof("reply"):
                case "answer_json":
                    return cast(JsonValue, json.loads(reply.answer_json))
                case "query_json" if on_query is not None:
                    answer = on_query(json.loads(reply.query_json))
                    message = pb.SimulateResponse(policy_message_json=_dumps(answer))
                case "failure":
                    raise PolicyError(failure_from(reply.failure))
                case _:
                    raise PolicyError(PolicyFailure(FailureKind.PROTOCOL, "a query where none is answered"))


def _content(files: Sequence[verifier_pb2.File]) -> dict[str, bytes]:
    return {file.name: file.content for file in files}


def _dumps(value: JsonValue) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
