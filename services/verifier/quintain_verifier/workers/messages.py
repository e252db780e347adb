"""What the service and its worker processes say to each other: length-prefixed msgpack over a socket pair. Both ends
are ours; a policy never sees this channel."""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

import msgspec

from quintain_verifier.domain.jobs import Failed, Ran, ReferenceJob, Referred, RunJob
from quintain_verifier.sandbox.report import IsolationReport

MAX_FRAME_BYTES = 256 * 1024 * 1024
HEADER = struct.Struct("<I")


class WorkerSettings(msgspec.Struct, frozen=True, tag=True):
    """The first message to a worker. `guest_modules`: those of the simulators that jobs may name; the simulators
    themselves are loaded when the first job names them. `remote_simulators`: their endpoints as plain values, tokens
    included. `program_seconds`: how long one job may wait for a simulator's own jailed programs."""

    guest_modules: tuple[str, ...]
    remote_simulators: dict[str, dict[str, Any]]
    insecure_dev: bool
    program_seconds: float = 240.0


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """The answer to `job` is not wanted any more. The worker still answers, with Failed or what it has."""

    job: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker's first message: its jail's report, or why there is no jail."""

    isolation: IsolationReport | None
    problem: str = ""


Request: TypeAlias = WorkerSettings | ReferenceJob | RunJob | Cancel
Reply: TypeAlias = Ready | Ran | Referred | Failed

_encoder = msgspec.msgpack.Encoder()
request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class FrameTooLarge(ValueError):
    """A message above MAX_FRAME_BYTES."""


def frame(message: Request | Reply) -> bytes:
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"a message of {len(body)} bytes; at most {MAX_FRAME_BYTES} fit")
    return HEADER.pack(len(body)) + body
