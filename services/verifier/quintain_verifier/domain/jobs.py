"""What a worker is asked, and what it answers. msgspec structs, because they travel between processes."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from quintain_verifier.domain.verdict import Reference, ScenarioResult
from quintain_verifier.sandbox.limits import Limits
from quintain_verifier.sandbox.report import IsolationReport

Fault: TypeAlias = Literal[
    "sandbox", "simulator", "model", "unavailable", "build_changed", "invalid_input", "cancelled"
]


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


class Ran(msgspec.Struct, frozen=True, tag=True):
    """What the policy's processes used, and what ended those that did not live to the end (`sandbox.run.Usage`).
    `wall_seconds`: how long they lived, the simulator's own time included."""

    job: int
    result: ScenarioResult
    cpu_seconds: float
    wall_seconds: float
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
