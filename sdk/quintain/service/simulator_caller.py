"""The other end of a Simulate stream, as an engine's thread sees it: a policy, and programs that it wants jailed."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Callable, Mapping
from typing import Any, cast

from quintain.plugins.simulator import FailureKind, JsonValue, Policy, PolicyError, PolicyFailure, Program
from quintain.simulator.v1 import simulator_pb2 as pb
from quintain.wire.simulator_messages import failure_from


class CallerGone(Exception):
    """The stream ended in the middle of a run; the engine is unwound."""


class Caller:
    """Messages of one run, one at a time: the engine's thread puts them, the stream's task fetches them and puts the
    `replies`, None when the stream has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, program_sources: Mapping[str, str]) -> None:
        """`program_sources`: of the guest modules that programs are loaded by."""
        self.replies: queue.SimpleQueue[pb.SimulateRequest | None] = queue.SimpleQueue()
        self._loop, self._program_sources = loop, program_sources
        self._messages: asyncio.Queue[pb.SimulateResponse] = asyncio.Queue()
        self._policy: _RemotePolicy | None = None
        self._programs = 0

    async def next_message(self, engine: asyncio.Future[pb.SimulateResponse]) -> pb.SimulateResponse | None:
        """The engine's next message; None when it has ended."""
        getting = asyncio.ensure_future(self._messages.get())
        try:
            waiting: set[asyncio.Future[Any]] = {getting, engine}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()

    def open_policy(self, setup: JsonValue) -> Policy:
        self._policy = _RemotePolicy(self.exchange, setup, fresh=self._policy is not None)
        return self._policy

    def open_program(self, program: Program, setup: JsonValue) -> Policy:
        opened = pb.OpenProgram(
            name=program.name,
            source=program.source,
            guest_source=program.guest_source or self._program_sources[program.guest_module],
            seed=program.seed,
            setup_json=_dumps(setup),
        )
        info = json.loads(self.exchange(pb.SimulateResponse(open_program=opened)).program_reply.answer_json)
        self._programs += 1
        return _RemoteProgram(self.exchange, self._programs - 1, info)

    def exchange(self, message: pb.SimulateResponse) -> pb.SimulateRequest:
        """Raises CallerGone."""
        self._loop.call_soon_threadsafe(self._messages.put_nowait, message)
        reply = self.replies.get()
        if reply is None:
            raise CallerGone
        return reply


Exchange = Callable[[pb.SimulateResponse], pb.SimulateRequest]


class _RemotePolicy:
    def __init__(self, exchange: Exchange, setup: JsonValue, *, fresh: bool) -> None:
        self._exchange = exchange
        text = _dumps(setup)
        first = pb.SimulateResponse(policy_message_json=text)
        self.info = self._converse(pb.SimulateResponse(fresh_policy_json=text) if fresh else first, None)

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        return self._converse(pb.SimulateResponse(policy_message_json=_dumps(message)), on_query)

    def _converse(self, message: pb.SimulateResponse, on_query: Callable[[JsonValue], JsonValue] | None) -> JsonValue:
        while True:
            reply = self._exchange(message).policy_reply
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


class _RemoteProgram:
    """A program that fails ends the stream, so that what it answers is an answer."""

    def __init__(self, exchange: Exchange, number: int, info: JsonValue) -> None:
        self.info = info
        self._exchange, self._number = exchange, number

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        asked = pb.ProgramMessage(program=self._number, message_json=_dumps(message))
        reply = self._exchange(pb.SimulateResponse(program_message=asked)).program_reply
        return cast(JsonValue, json.loads(reply.answer_json))


def _dumps(value: JsonValue) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
