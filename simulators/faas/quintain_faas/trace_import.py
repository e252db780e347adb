"""A recorded log as a trace of this simulator: each row an operator, rows of one `pipeline_id` a pipeline."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from quintain.plugins.simulator import InvalidInput
from quintain.plugins.trace import Row, TraceColumn, Value
from quintain_faas.workload.model import MAX_OPERATORS, PRIORITIES, OperatorSpec, PipelineSpec, visiting_order
from quintain_faas.workload.scaling import SCALING_LAWS
from quintain_faas.workload.trace import write_rows

# What starts a function says who waits for it. Somebody waits for an answer over HTTP; nobody for a timer.
PRIORITY_OF_TRIGGER = {
    "http": "INTERACTIVE",
    "orchestration": "INTERACTIVE",
    "event": "BATCH_PIPELINE",
    "queue": "BATCH_PIPELINE",
    "storage": "BATCH_PIPELINE",
    "timer": "BATCH_PIPELINE",
    "others": "BATCH_PIPELINE",
}
DEFAULT_PRIORITY = "INTERACTIVE"
DEFAULT_LAW = "const"
DEFAULT_MEMORY_GB = 1.0


class FaasTraceFormat:
    """The `quintain.plugins.trace.TraceFormat` of this simulator."""

    file_name = "trace.csv"
    columns = (
        TraceColumn("arrival_seconds", "s", "when the pipeline arrived (of its first row)", required=True),
        TraceColumn("duration_seconds", "s", "CPU seconds of the operator on one core", required=True),
        TraceColumn("pipeline_id", "", "rows with the same id are one pipeline; absent: each row is one"),
        TraceColumn("operator_id", "", "id of the operator within its pipeline, for `parents`"),
        TraceColumn("parents", "", "operator ids of earlier rows of the pipeline, with ; between"),
        TraceColumn("priority", "", f"one of {', '.join(PRIORITIES)}; absent: by `trigger`, else {DEFAULT_PRIORITY}"),
        TraceColumn("trigger", "", f"one of {', '.join(PRIORITY_OF_TRIGGER)}"),
        TraceColumn("cpu_scaling", "", f"law of speed-up: one of {', '.join(SCALING_LAWS)}; absent: {DEFAULT_LAW}"),
        TraceColumn("memory_gb", "GB", f"peak memory; absent: {DEFAULT_MEMORY_GB:g}"),
        TraceColumn("storage_read_gb", "GB", "what it reads before it computes; absent: 0"),
    )

    def write(self, rows: Iterable[Row], out: BinaryIO) -> tuple[str, ...]:
        """See the interface. Holds all pipelines in memory: at most `MAX_OPERATORS` operators."""
        seen = _Seen()
        pipelines = sorted(
            _pipelines(rows, seen), key=lambda p: p.arrival_seconds
        )  # stable: equal ones keep their order
        text = io.TextIOWrapper(out, encoding="utf-8", newline="")
        write_rows(pipelines, text)
        text.detach()
        return tuple(seen.notes())


class _Seen:
    """What was assumed and dropped, counted."""

    def __init__(self) -> None:
        self.assumed: Counter[str] = Counter()
        self.unused: Counter[str] = Counter()

    def notes(self) -> Iterator[str]:
        for what, count in sorted(self.assumed.items()):
            yield f"{what} in {count} rows"
        for name, count in sorted(self.unused.items()):
            yield f"{name} has no place in this simulator's traces: left out of {count} rows"


_KNOWN = {column.name for column in FaasTraceFormat.columns}


def _pipelines(rows: Iterable[Row], seen: _Seen) -> Iterator[PipelineSpec]:
    group: list[Row] = []
    closed: dict[Value, str] = {}
    for count, row in enumerate(rows, start=1):
        if count > MAX_OPERATORS:
            raise InvalidInput(
                row.place, f"more than {MAX_OPERATORS} operators; take a part of the log (--seconds, --share)"
            )
        for name in row.values:
            if name not in _KNOWN:
                seen.unused[name] += 1
        own = row.values.get("pipeline_id")
        if group and (own is None or own != group[0].values.get("pipeline_id")):
            yield _pipeline(group, seen)
            group = []
        if own is not None and not group:
            if own in closed:
                raise InvalidInput(
                    f"{row.place}:pipeline_id",
                    f"{own!r} was at {closed[own]} already; the rows of a pipeline stand together",
                )
            closed[own] = row.place
        group.append(row)
    if group:
        yield _pipeline(group, seen)


def _pipeline(group: list[Row], seen: _Seen) -> PipelineSpec:
    positions: dict[str, int] = {}
    operators: list[OperatorSpec] = []
    for row in group:
        name = str(row.values.get("operator_id", f"op{len(operators) + 1}"))
        if name in positions:
            raise InvalidInput(f"{row.place}:operator_id", f"{name!r} is there twice in this pipeline")
        operators.append(_operator(row, name, positions, seen))
        positions[name] = len(positions)
    first = group[0]
    return PipelineSpec(
        str(first.values.get("pipeline_id", "")),
        first.number("arrival_seconds"),
        _priority(first, seen),
        tuple(operators),
        visiting_order([operator.parents for operator in operators]),
    )


def _operator(row: Row, name: str, positions: dict[str, int], seen: _Seen) -> OperatorSpec:
    parents = []
    for parent in str(row.values.get("parents", "")).split(";"):
        if parent := parent.strip():
            if parent not in positions:
                raise InvalidInput(
                    f"{row.place}:parents", f"{parent!r} is no operator of an earlier row of this pipeline"
                )
            parents.append(positions[parent])
    law = str(row.values.get("cpu_scaling", DEFAULT_LAW))
    if law not in SCALING_LAWS:
        raise InvalidInput(f"{row.place}:cpu_scaling", f"{law!r} is none of {', '.join(SCALING_LAWS)}")
    for column, assumed in (("memory_gb", f"{DEFAULT_MEMORY_GB:g} GB"), ("cpu_scaling", f"the law {DEFAULT_LAW}")):
        if column not in row.values:
            seen.assumed[f"{column} is unknown: {assumed} assumed"] += 1
    return OperatorSpec(
        name,
        tuple(parents),
        row.number("duration_seconds"),
        law,
        row.number("memory_gb", DEFAULT_MEMORY_GB),
        row.number("storage_read_gb", 0.0),
    )


def _priority(row: Row, seen: _Seen) -> str:
    if "priority" in row.values:
        priority = str(row.values["priority"])
        if priority not in PRIORITIES:
            raise InvalidInput(f"{row.place}:priority", f"{priority!r} is none of {', '.join(PRIORITIES)}")
        return priority
    if "trigger" in row.values:
        trigger = str(row.values["trigger"])
        if trigger not in PRIORITY_OF_TRIGGER:
            raise InvalidInput(f"{row.place}:trigger", f"{trigger!r} is none of {', '.join(PRIORITY_OF_TRIGGER)}")
        return PRIORITY_OF_TRIGGER[trigger]
    seen.assumed[f"priority is unknown: {DEFAULT_PRIORITY} assumed"] += 1
    return DEFAULT_PRIORITY


trace_format = FaasTraceFormat()
