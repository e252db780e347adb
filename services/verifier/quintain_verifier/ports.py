"""What the use cases need from the outside: workers, simulators, and a place for verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from quintain.plugins.simulator import Simulator
from quintain_verifier.domain.jobs import Failed, Ran, ReferenceJob, Referred, RunJob
from quintain_verifier.domain.record import VerdictRecord
from quintain_verifier.sandbox.report import IsolationReport


@dataclass(frozen=True, slots=True)
class SimulatorRegistry:
    """The simulators by name, and the installed ones that cannot be used with the reason why. Both sorted."""

    usable: Mapping[str, Simulator]
    unusable: Mapping[str, str]


class WorkerDied(Exception):
    """The worker process ended in the middle of a job."""


class JobTimedOut(Exception):
    """A job, engine included, took longer than it may. Its worker was killed."""


class Worker(Protocol):
    """One worker process."""

    isolation: IsolationReport | None  # what holds policies in it; None before it is ready

    @property
    def pid(self) -> int: ...


W = TypeVar("W", bound=Worker, contravariant=True)


class Workers(Protocol[W]):
    """The worker processes of this service. Lives on one event loop."""

    no_jail: str  # why policies cannot be jailed on this machine; empty if they can

    def next_job(self) -> int:
        """A number that no other job has."""

    async def run(self, worker: W, job: RunJob | ReferenceJob, timeout: float) -> Ran | Referred | Failed:
        """Run `job` on a free worker. Raises WorkerDied and JobTimedOut. Cancelled, it returns at once; the worker is
        free again as soon as it has killed the policy."""


class Verdicts(Protocol):
    """Where verdicts are kept, by digest. Thread safe; never raises: what cannot be read is made again."""

    def get(self, digest: str) -> VerdictRecord | None: ...

    def put(self, record: VerdictRecord) -> None: ...

    def close(self) -> None: ...
