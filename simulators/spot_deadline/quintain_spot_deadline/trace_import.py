"""A recorded series as this simulator's trace: one row a tick, whether a spot machine exists in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from quintain.plugins.simulator import InvalidInput
from quintain.plugins.trace import Row, TraceColumn


class SpotTraceFormat:
    """The `quintain.plugins.trace.TraceFormat` of this simulator."""

    file_name = "trace.csv"
    columns = (
        TraceColumn("time_seconds", "s", "when the tick begins, in order", required=True),
        TraceColumn("available", "", "1 where a spot machine exists during the whole tick, else 0", required=True),
    )

    def write(self, rows: Iterable[Row], out: BinaryIO) -> tuple[str, ...]:
        """See the interface. Writes while it reads."""
        out.write(b"time_seconds,available\n")
        ticks = gone = 0
        for row in rows:
            available = str(row.values.get("available", ""))
            if available not in ("0", "1"):
                raise InvalidInput(f"{row.place}:available", f"{available!r} is not 0 (gone) or 1 (exists)")
            out.write(f"{row.values.get('time_seconds', '')},{available}\n".encode())
            ticks += 1
            gone += available == "0"
        job = "gap_seconds, overhead_seconds, deadline_seconds and duration_seconds go into scenario.toml"
        return (f"{ticks} ticks, {gone} of them without spot", f"the log says nothing of the job: {job}")


trace_format = SpotTraceFormat()
