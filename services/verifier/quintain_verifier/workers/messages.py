"""What the service and its worker processes say to each other: length-prefixed msgpack over a socket pair. Both ends
are ours; a policy never sees this channel."""

from __future__ import annotations

import struct
from typing import Any, Literal, TypeAlias

import msgspec

from quintain_verifier.domain.verdict import Reference, ScenarioResult
from quintain_verifier.sandbox.limits import Limits
from quintain_verifier.sandbox.report import IsolationReport

MAX_FRAME_BYTES = 256 * 1024 * 1024
HEADER = struct.Struct("<I")

Fault: TypeAlias = Literal[
    "sandbox", "simulator", "model", "unavailable", "build_changed", "invalid_input", "cancelled"
]


class WorkerSettings(msgspec.Struct, frozen=True, tag=True):
    """The first message to a worker. `simulators` empty: all that are installed. `remote_simulators`: their endpoints
    as plain values, tokens included. `program_seconds`: how long one job may wait for a simulator's own jailed
    programs."""

    simulators: tuple[str, ...]
    remote_simulators: dict[str, dict[str, Any]]
    insecure_dev: bool
    program_seconds: float = 240.0


class ScenarioJob(msgspec.Struct, frozen=True, kw_only=True):
    """`files` only for a scenario that came with the request, `suite_files` for a suite that did. `build` and `digest`:
    what the service planned with."""

    job: int
    simulator: str
    build: str
    scenario: str
    digest: str
    suite: str
    suite_files: dict[str, bytes] | None
    files: dict[str, bytes] | None
    objective: str


class ReferenceJob(ScenarioJob, frozen=True, tag=True):
    """Asks for what the scores on a scenario are measured with."""


class RunJob(ScenarioJob, frozen=True, kw_only=True, tag=True):
    """Asks for one policy on one scenario. `seed` and `limits` are the policy's."""

    source: str
    limits: Limits
    seed: int
    calling_mode: str
    check_determinism: bool
    confirm: bool
    include_detail: bool


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """The answer to `job` is not wanted any more. The worker still answers, with Failed or what it has."""

    job: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker's first message: its jail's report, or why there is no jail."""

    isolation: IsolationReport | None
    problem: str = ""


class Ran(msgspec.Struct, frozen=True, tag=True):
    """What the policy's processes used, and what ended those that did not live to the end (`sandbox.run.Usage`)."""

    job: int
    result: ScenarioResult
    cpu_seconds: float
    peak_memory_bytes: int
    killed_by: list[str]
    isolation: IsolationReport


class Referred(msgspec.Struct, frozen=True, tag=True):
    job: int
    reference: Reference


class Failed(msgspec.Struct, frozen=True, tag=True):
    """No answer, and not for anything that the policy did. `field` for invalid input, and for a model its file and
    line."""

    job: int
    fault: Fault
    message: str
    field: str = ""


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
