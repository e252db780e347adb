"""The interface between a recorded log and a simulator's own traces.

A reader (of a public data set, or of a log of one's own with a map of its columns) gives rows with common names; a
simulator's `TraceFormat` writes them as a trace of its own and says what it could not carry over. Standard library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeAlias, runtime_checkable

from quintain.plugins.simulator import InvalidInput

Value: TypeAlias = "str | float"


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a log. `place` (``file:line``) is for messages; an absent column is not in `values`.

    Readers of public data sets give, where the data has them: ``arrival_seconds`` (after the log's zero),
    ``duration_seconds``, ``function``, ``tenant``, ``trigger``, ``memory_gb`` (peak) and ``cpu_cores``. A log of one's
    own may be mapped to whatever the simulator's format has.
    """

    place: str
    values: Mapping[str, Value]

    def number(self, column: str, default: float | None = None) -> float:
        """Raises InvalidInput for a column that is absent (without a default), no number, negative or not finite."""
        value = self.values.get(column, default)
        if value is None:
            raise InvalidInput(f"{self.place}:{column}", "is missing; every row needs it")
        try:
            number = float(value)
        except ValueError:
            raise InvalidInput(f"{self.place}:{column}", f"{value!r} is not a number") from None
        if not 0 <= number < float("inf"):
            raise InvalidInput(f"{self.place}:{column}", f"found {value!r}; must be a finite number, at least 0")
        return number


@dataclass(frozen=True, slots=True)
class TraceColumn:
    """A column that a format takes. `unit` is empty for text."""

    name: str
    unit: str
    description: str
    required: bool = False


@runtime_checkable
class TraceFormat(Protocol):
    """How a simulator's traces are written. Registered under the simulator's name; stateless."""

    columns: tuple[TraceColumn, ...]
    file_name: str

    def write(self, rows: Iterable[Row], out: BinaryIO) -> tuple[str, ...]:
        """Write a trace of all rows, in whatever order they come. Returns notes for the user: what was assumed, changed
        or left out, with counts. Raises InvalidInput with a row's place and column."""
