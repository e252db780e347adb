"""The workload as a run sees it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO, TypeAlias

from quintain.plugins.simulator import InvalidInput
from quintain_faas.params import Params
from quintain_faas.workload.generator import generate
from quintain_faas.workload.model import PipelineSpec, arrival_tick
from quintain_faas.workload.trace import parse_trace, write_rows

Batch: TypeAlias = "tuple[int, tuple[PipelineSpec, ...]]"


class Workload:
    """A parsed trace, or the random generator with its parameters. Immutable from outside; thread safe."""

    def __init__(self, *, trace: tuple[PipelineSpec, ...] | None = None, generator: Params | None = None) -> None:
        """Use the class methods."""
        self._trace = trace
        self._generator = generator
        self._batches: dict[int, tuple[Batch, ...]] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_trace_text(cls, text: str, filename: str = "trace.csv", *, strict: bool = True) -> Workload:
        """Parse a trace. Raises InvalidInput with the field ``<filename>:<row>:<column>``.

        `strict` also refuses what Eudoxia tolerates though it is hardly meant: a doubled operator id, negative
        needs, arrivals that go backwards.
        """
        return cls(trace=parse_trace(text, filename, strict=strict))

    @classmethod
    def from_trace_file(cls, path: Path | str, *, strict: bool = True) -> Workload:
        """Like `from_trace_text`. Raises InvalidInput for a file that cannot be read or is not UTF-8."""
        path = Path(path)
        try:
            text = path.read_bytes().decode("utf-8")
        except OSError as error:
            raise InvalidInput(path.name, f"cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InvalidInput(path.name, f"is not UTF-8 (byte {error.start})") from error
        return cls.from_trace_text(text, path.name, strict=strict)

    @classmethod
    def generated(cls, params: Params) -> Workload:
        """The random workload of these parameters (seed, rates, mix). Made on first use."""
        return cls(generator=params)

    def batches(self, params: Params) -> Sequence[Batch]:
        """What arrives at which tick, ascending, one entry a tick; ticks past the horizon may be missing.

        Raises InvalidInput if a generated workload was made for other ticks.
        """
        made_for = self._generator
        if made_for is not None and made_for.ticks_per_second != params.ticks_per_second:
            raise InvalidInput(
                "params.ticks_per_second",
                f"the workload was generated for {made_for.ticks_per_second}, the run has {params.ticks_per_second}",
            )
        key = params.ticks_per_second if made_for is None else params.max_ticks
        with self._lock:
            if key not in self._batches:
                self._batches[key] = (
                    tuple(generate(made_for, params.max_ticks)) if made_for is not None else self._by_tick(params)
                )
            return self._batches[key]

    def _by_tick(self, params: Params) -> tuple[Batch, ...]:
        groups: list[tuple[int, list[PipelineSpec]]] = []
        tick = 0
        for pipeline in self._trace or ():
            tick = arrival_tick(pipeline.arrival_seconds, params.tick_length_seconds, tick)
            if groups and groups[-1][0] == tick:
                groups[-1][1].append(pipeline)
            else:
                groups.append((tick, [pipeline]))
        return tuple((tick, tuple(group)) for tick, group in groups)

    def pipelines(self) -> tuple[PipelineSpec, ...]:
        """All pipelines in order of arrival (a generated workload's up to its own horizon)."""
        if self._trace is not None:
            return self._trace
        assert self._generator is not None
        return tuple(p for _, group in self.batches(self._generator) for p in group)

    def write_trace(self, file: TextIO) -> None:
        """Write as a trace: CRLF line ends (open the file with ``newline=""``); pipelines renumbered p1, p2, ...,
        operators op1, op2, ...; numbers as they are (ints stay ints)."""
        write_rows(self.pipelines(), file)
