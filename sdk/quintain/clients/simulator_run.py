"""One run on a simulator that somebody else serves: the stream between its engine and a policy here."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from typing import Any, cast

import grpc

from quintain.plugins.simulator import (
    FailureKind,
    JsonValue,
    ModelFault,
    OpenPolicy,
    OpenProgram,
    Outcome,
    Policy,
    PolicyError,
    PolicyFailure,
    Program,
    SimulatorFault,
)
from quintain.simulator.v1 import simulator_pb2 as pb
from quintain.simulator.v1 import simulator_pb2_grpc as stubs
from quintain.wire.simulator_messages import failure_from, failure_message, outcome_from

_END = object()


class _Ended(Exception):
    """The engine ended the run over a query of the policy."""

    def __init__(self, outcome: pb.Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class SimulatorRun:
    """One Simulate stream. `close` always."""

    def __init__(self, stub: stubs.SimulatorStub, metadata: tuple[tuple[str, str], ...], patience: float) -> None:
        self._patience = patience
        self.began = False  # whether anything came back
        self._outgoing: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._incoming: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._call: Any = stub.Simulate(self._requests(), metadata=metadata)
        threading.Thread(target=self._listen, name="simulate", daemon=True).start()

    def to_the_end(self, start: pb.Start, open_policy: OpenPolicy, open_program: OpenProgram | None) -> Outcome:
        """Raises ModelFault, and SimulatorFault if programs are wanted and `open_program` is None."""
        self._outgoing.put(pb.SimulateRequest(start=start))
        failed: PolicyFailure | None = None
        policy: Policy | None = None
        programs = _Programs(open_program)
        while True:
            response = self._receive()
            event = response.WhichOneof("event")
            if event == "outcome":
                return self._checked(response.outcome, failed)
            if event == "model_failure":
                raise _model_fault(response.model_failure)
            if failed is not None or event is None:
                raise SimulatorFault("the simulator broke the contract: an outcome was due")
            if event in ("open_program", "program_message"):
                answer = programs.open(response.open_program) if event == "open_program" else programs.ask(response)
                self._outgoing.put(pb.SimulateRequest(program_reply=pb.ProgramReply(answer_json=_dumps(answer))))
                continue
            fresh = event == "fresh_policy_json"
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
        if failed is not None and (outcome.failure is None or not _tells(outcome.failure.kind, failed.kind)):
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


class _Programs:
    """What the simulator wants jailed beside the policy."""

    def __init__(self, open_program: OpenProgram | None) -> None:
        self._open_program = open_program
        self._opened: list[Policy] = []

    def open(self, wanted: pb.OpenProgram) -> JsonValue:
        if self._open_program is None:
            raise SimulatorFault("it has parts that it does not trust, and they need jailed processes")
        program = Program(wanted.name, wanted.source, "", wanted.seed, wanted.guest_source)
        self._opened.append(self._open_program(program, _loads(wanted.setup_json)))
        return self._opened[-1].info

    def ask(self, response: pb.SimulateResponse) -> JsonValue:
        message = response.program_message
        if not 0 <= message.program < len(self._opened):
            raise SimulatorFault(f"the simulator broke the contract: it has opened no program {message.program}")
        return self._opened[message.program].ask(_loads(message.message_json))


def _tells(said: FailureKind, happened: FailureKind) -> bool:
    """What raises at an engine's first message may have failed to load."""
    return said is happened or (said is FailureKind.LOAD and happened is FailureKind.RAISED)


def _model_fault(message: pb.ModelFailure) -> SimulatorFault:
    try:
        return ModelFault(message.program, failure_from(message.failure))
    except ValueError as error:
        return SimulatorFault(f"the simulator broke the contract: {error}")


def _dumps(value: JsonValue) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _loads(text: str) -> JsonValue:
    try:
        return cast(JsonValue, json.loads(text))
    except ValueError as error:
        raise SimulatorFault(f"the simulator broke the contract: not JSON: {error}") from error
