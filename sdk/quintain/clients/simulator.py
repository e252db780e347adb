"""A simulator that somebody else serves, as a `quintain.plugins.simulator.Simulator`."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar, cast

import grpc

from quintain.clients.channel import channel_arguments, token_metadata
from quintain.errors import DeadlineExceeded, InvalidArgument, NotFound, QuintainError, Unavailable
from quintain.plugins.simulator import (
    Description,
    InvalidInput,
    JsonValue,
    OpenPolicy,
    Outcome,
    Policy,
    PolicyError,
    PolicyFailure,
    RunOptions,
    Scenario,
    ScenarioScore,
    SimulatorFault,
    SimulatorUnavailable,
    Suite,
)
from quintain.simulator.v1 import simulator_pb2 as pb
from quintain.simulator.v1 import simulator_pb2_grpc as stubs
from quintain.verifier.v1 import verifier_pb2
from quintain.wire.endpoints import Endpoint
from quintain.wire.simulator_messages import (
    description_from,
    failure_message,
    outcome_from,
    outcome_message,
    score_from,
    suite_from,
)
from quintain.wire.status import from_rpc_error

UNARY_SECONDS = 30.0
_END = object()

T = TypeVar("T")


class RemoteSimulator:
    """Thread safe. Connects when it is first used. Whatever the other side does wrong (the contract, its death in a
    run) is a SimulatorFault, and a SimulatorUnavailable where it was not reached; the policy's own failures never are.

    `message_seconds`: how long the simulator may compute between two messages of a run.
    """

    guest_module = ""

    def __init__(self, address: str | Endpoint, *, message_seconds: float = 120.0) -> None:
        settings = address if isinstance(address, Endpoint) else Endpoint(address=address)
        self.address = settings.address
        self._settings = settings
        self._message_seconds = message_seconds
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._described: pb.DescribeResponse | None = None
        self._scenarios: dict[tuple[str, str], Scenario] = {}  # built-in ones, by build and name
        self._notes: dict[str, str] = {}  # by a scenario's digest

    @property
    def guest_source(self) -> str:
        return self._description().guest_source

    def describe(self) -> Description:
        """Asks anew: the other side may have become another build since."""
        described = self._unary(self._stub().Describe, pb.DescribeRequest())
        self._check(described)
        with self._lock:
            self._described = described
        try:
            return description_from(described.simulator)
        except KeyError as error:
            raise SimulatorFault(f"{self.address}: its description has an unknown enum value {error}") from error

    def suite(self, name: str) -> Suite:
        suites = {s.name: s for s in self._description().suites}
        for missing in self._description().simulator.unavailable_suites:
            if missing.name == name:
                raise InvalidInput("suite", f"{name!r} is not available here: {missing.reason}")
        if name not in suites:
            raise InvalidInput("suite", f"{name!r} is unknown; known are: {', '.join(suites)}")
        try:
            return suite_from(suites[name])
        except KeyError as error:
            raise SimulatorFault(f"{self.address}: suite {name} has an unknown enum value {error}") from error

    def scenario(self, name: str) -> Scenario:
        key = (self._description().simulator.build, name)
        if key not in self._scenarios:
            self._scenarios[key] = self._resolve(name, {})
        return self._scenarios[key]

    def inline_scenario(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        return self._resolve(name, files)

    def scenario_notes(self, scenario: Scenario) -> str:
        return self._notes.get(scenario.digest, "")

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        start = pb.Start(
            scenario=scenario.name,
            files=_files(cast("Mapping[str, bytes]", scenario.spec)),
            calling_mode=options.calling_mode,
            timeline=options.timeline,
        )
        run = _Run(self._stub(), self._metadata(), self._message_seconds)
        try:
            return run.to_the_end(start, open_policy)
        except grpc.RpcError as error:
            self._translate(error, began=run.began)
        finally:
            run.close()

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        request = pb.ScoreRequest(
            objective=objective,
            scenario=scenario.name,
            files=_files(cast("Mapping[str, bytes]", scenario.spec)),
            outcome=outcome_message(outcome),
            baseline=outcome_message(baseline),
        )
        return score_from(self._unary(self._stub().Score, request))

    def close(self) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                self._channel = None

    def _description(self) -> pb.DescribeResponse:
        if self._described is None:
            self.describe()
        assert self._described is not None
        return self._described

    def _check(self, described: pb.DescribeResponse) -> None:
        """Raises SimulatorFault if something is missing without which no policy can be verified."""
        simulator = described.simulator
        needed = {
            "name": simulator.name,
            "build": simulator.build,
            "objectives": simulator.objectives,
            "baselines": simulator.baselines,
            "suites": described.suites,
            "guest_source": described.guest_source,
        }
        if missing := [name for name, value in needed.items() if not value]:
            raise SimulatorFault(
                f"the simulator at {self.address}: its description lacks {', '.join(missing)}: it serves an older"
                " contract, or not all of it"
            )

    def _resolve(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        request = pb.GetScenarioRequest(name=name, files=_files(files))
        found = self._unary(self._stub().GetScenario, request).scenario
        if found.notes:
            self._notes[found.digest] = found.notes
        return Scenario(found.name, found.digest, found.description, dict(files), found.cost or 1.0)

    def _stub(self) -> stubs.SimulatorStub:
        with self._lock:
            if self._channel is None:
                target, options, credentials = channel_arguments(self._settings)
                self._channel = (
                    grpc.secure_channel(target, credentials, options)
                    if credentials
                    else grpc.insecure_channel(target, options)
                )
            return stubs.SimulatorStub(self._channel)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return token_metadata(self._settings)

    def _unary(self, method: Callable[..., T], request: Any) -> T:
        try:
            return method(request, timeout=UNARY_SECONDS, metadata=self._metadata())
        except grpc.RpcError as error:
            self._translate(error)

    def _translate(self, error: grpc.RpcError, *, began: bool = False) -> NoReturn:
        """`began`: it had answered, so that what it was asked may have killed it."""
        typed: QuintainError = from_rpc_error(error)
        if isinstance(typed, InvalidArgument) and typed.violations:
            violation = typed.violations[0]
            raise InvalidInput(violation.field, violation.message) from error
        if isinstance(typed, NotFound):
            raise InvalidInput("scenario", typed.message) from error
        not_reached = isinstance(typed, Unavailable | DeadlineExceeded) and not began
        fault = SimulatorUnavailable if not_reached else SimulatorFault
        raise fault(f"the simulator at {self.address}: {typed.code}: {typed.message}") from error


class _Ended(Exception):
    """The engine ended the run over a query of the policy."""

    def __init__(self, outcome: pb.Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class _Run:
    """One Simulate stream. `close` always."""

    def __init__(self, stub: stubs.SimulatorStub, metadata: tuple[tuple[str, str], ...], patience: float) -> None:
        self._patience = patience
        self.began = False  # whether anything came back
        self._outgoing: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._incoming: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._call: Any = stub.Simulate(self._requests(), metadata=metadata)
        threading.Thread(target=self._listen, name="simulate", daemon=True).start()

    def to_the_end(self, start: pb.Start, open_policy: OpenPolicy) -> Outcome:
        self._outgoing.put(pb.SimulateRequest(start=start))
        failed: PolicyFailure | None = None
        policy: Policy | None = None
        while True:
            response = self._receive()
            if response.WhichOneof("event") == "outcome":
                return self._checked(response.outcome, failed)
            if failed is not None or response.WhichOneof("event") is None:
                raise SimulatorFault("the simulator broke the contract: an outcome was due")
            fresh = response.WhichOneof("event") == "fresh_policy_json"
            message = _loads(response.fresh_policy_json if fresh else response.policy_message_json)
            try:
                if policy is None or fresh:
                    policy = open_policy(message)
                    answer = policy.info
                else:
                    answer = policy.ask(message, self._ask_back)
            except _Ended as end:
                return self._checked(end.outcome, None)
            except PolicyError as error:
                failed = error.failure
                self._reply(pb.PolicyReply(failure=failure_message(failed)))
            else:
                self._reply(pb.PolicyReply(answer_json=_dumps(answer)))

    def close(self) -> None:
        self._outgoing.put(_END)
        self._call.cancel()

    def _ask_back(self, query: JsonValue) -> JsonValue:
        self._reply(pb.PolicyReply(query_json=_dumps(query)))
        response = self._receive()
        if response.WhichOneof("event") == "outcome":
            raise _Ended(response.outcome)
        return _loads(response.policy_message_json)

    def _checked(self, message: pb.Outcome, failed: PolicyFailure | None) -> Outcome:
        try:
            outcome = outcome_from(message)
        except ValueError as error:
            raise SimulatorFault(f"the simulator broke the contract: {error}") from error
        if failed is not None and (outcome.failure is None or outcome.failure.kind is not failed.kind):
            raise SimulatorFault("the simulator broke the contract: its outcome hides the policy's failure")
        return outcome

    def _reply(self, reply: pb.PolicyReply) -> None:
        self._outgoing.put(pb.SimulateRequest(policy_reply=reply))

    def _receive(self) -> pb.SimulateResponse:
        try:
            received = self._incoming.get(timeout=self._patience)
        except queue.Empty:
            raise SimulatorFault(f"the simulator said nothing for {self._patience:.0f} s") from None
        if isinstance(received, grpc.RpcError):
            raise received
        if received is _END:
            raise SimulatorFault("the simulator broke the contract: it ended without an outcome")
        self.began = True
        return cast(pb.SimulateResponse, received)

    def _listen(self) -> None:
        try:
            for response in self._call:
                self._incoming.put(response)
            self._incoming.put(_END)
        except grpc.RpcError as error:
            self._incoming.put(error)

    def _requests(self) -> Iterator[pb.SimulateRequest]:
        while (request := self._outgoing.get()) is not _END:
            yield cast(pb.SimulateRequest, request)


def _files(files: Mapping[str, bytes]) -> list[verifier_pb2.File]:
    return [verifier_pb2.File(name=name, content=content) for name, content in files.items()]


def _dumps(value: JsonValue) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _loads(text: str) -> JsonValue:
    try:
        return cast(JsonValue, json.loads(text))
    except ValueError as error:
        raise SimulatorFault(f"the simulator broke the contract: not JSON: {error}") from error
