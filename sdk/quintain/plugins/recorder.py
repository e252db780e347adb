"""The interface between a simulator's runs and recordings of a system package: what a real system would have logged.

A run with ``RunOptions(timeline=True)`` gives `Outcome.detail`; a simulator's `Recorder` makes a recording of it, and
the package as those see it who do not know how the simulator works inside. Standard library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol, runtime_checkable

from quintain.plugins.simulator import Part

Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One run of one policy: the suite and its files (as for `narrowed`), the scenario's name and part, and
    `Outcome.detail`."""

    suite: str
    files: Files | None
    scenario: str
    part: Part
    policy: str
    detail: str


@runtime_checkable
class Recorder(Protocol):
    """How a simulator's runs become recordings. Registered under the simulator's name; stateless."""

    def package(self, runs: Sequence[RecordedRun], hide: Sequence[str] = ()) -> tuple[Files, Sequence[str]]:
        """The system package that the recordings belong to, without them and without a model, by file; and what is left
        out of it, one line each. Of `runs` there is one for each scenario of one suite, whose inputs become the
        package's scenarios. `hide` names what is not shown beside what never is (``config.speed``, ``events.started``,
        ``inputs.request.size``). Raises InvalidInput."""

    def recording(self, package: Files, run: RecordedRun) -> tuple[str, bytes]:
        """Name within the package and content of a recording that keeps to what `package` declares. Raises
        InvalidInput."""

    def policy(self, source: str) -> str:
        """A policy of the package as one that the simulator runs; a policy of the simulator's own as it is."""


@dataclass(frozen=True, slots=True)
class RecordingsReport:
    """What recordings are and say of themselves, one line each: what there is (recordings, the split in four), what
    contradicts itself, `notes` (what was left out, gaps), and what cannot be verified with them."""

    said: Sequence[str] = ()
    contradictions: Sequence[str] = ()
    notes: Sequence[str] = ()
    unverified: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Exceeded:
    """What a run in a model got that recordings are nowhere near: `what` was `reached`, and `limit` is as far as it may
    be by what was `recorded`. `invariant`: a line for the package that would forbid it; empty if none can. `sure`: it
    is the system's doing; a metric may be the policy's merit, so long as nobody has asked the truth."""

    what: str
    reached: float
    recorded: float
    limit: float
    invariant: str = ""
    sure: bool = True

    @property
    def factor(self) -> float:
        """How many times beyond the limit, upwards or downwards."""
        small, large = sorted((self.reached, self.limit))
        return large / small if small > 0 else float("inf")


@runtime_checkable
class ReachJudge(Protocol):
    """A recorder that knows how far a real system was ever seen to go."""

    def exceeded(self, package: Files, runs: Mapping[str, bytes]) -> Mapping[str, Sequence[Exceeded]]:
        """Of recordings of runs (name -> content, as `recording` gives them) what each gets beyond the recordings of
        `package`, the farthest first."""


@runtime_checkable
class RecordingReader(Protocol):
    """A recorder that also reads recordings of a system package, and makes them of logs."""

    def check(self, package: Files) -> RecordingsReport:
        """All recordings of a package. Raises InvalidInput for one that is none, with file, line and key."""

    def import_log(
        self,
        package: Files,
        name: str,
        column_map: bytes,
        rows: Iterable[tuple[str, Mapping[str, Any]]],
        out: IO[bytes],
        start: float,
        seconds: float,
    ) -> RecordingsReport:
        """Write a recording called `name` of a log's rows (``file:line``, columns by name): the part from `start` on,
        for so many `seconds`. `column_map` is a TOML file. Raises InvalidInput with the log's line and column."""
