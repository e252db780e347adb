"""Reading and writing traces (CSV)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from typing import TextIO

from quintain.plugins.simulator import InvalidInput
from quintain_faas.workload.model import PRIORITIES, TRACE_COLUMNS, OperatorSpec, PipelineSpec, visiting_order
from quintain_faas.workload.scaling import SCALING_LAWS

MAX_ARRIVAL_SECONDS = 1e12
MAX_CPU_SECONDS = 1e9
MAX_GB = 1e9
MAX_QUOTED = 80


def parse_trace(text: str, filename: str, *, strict: bool) -> tuple[PipelineSpec, ...]:
    """Parse and validate a whole trace. Raises InvalidInput with the field ``<filename>:<line>:<column>``."""
    return _Parser(filename, strict).parse(text)


class _Parser:
    def __init__(self, filename: str, strict: bool) -> None:
        self._filename = filename
        self._strict = strict
        self._line = 1
        self._interned: dict[OperatorSpec, OperatorSpec] = {}
        self._first_lines: dict[str, int] = {}  # of each pipeline id

    def parse(self, text: str) -> tuple[PipelineSpec, ...]:
        reader = csv.reader(io.StringIO(text, newline=""))
        try:
            columns = self._header(next(reader, None))
            pipelines: list[PipelineSpec] = []
            rows: list[dict[str, str]] = []
            lines: list[int] = []
            for row in reader:
                if not row:
                    continue
                self._line = reader.line_num
                fields = self._fields(row, columns)
                if rows and rows[0]["pipeline_id"] != fields["pipeline_id"]:
                    pipelines.append(self._pipeline(rows, lines, pipelines))
                    rows, lines = [], []
                rows.append(fields)
                lines.append(reader.line_num)
            if rows:
                pipelines.append(self._pipeline(rows, lines, pipelines))
        except csv.Error as error:
            raise InvalidInput(f"{self._filename}:{reader.line_num}", f"is not CSV: {error}") from error
        return tuple(pipelines)

    def _error(self, column: str, message: str) -> InvalidInput:
        return InvalidInput(f"{self._filename}:{self._line}:{column}", message)

    def _header(self, row: list[str] | None) -> list[str]:
        if row is None:
            raise InvalidInput(f"{self._filename}:1", "is empty; the first line names the columns")
        if row and row[0].startswith("\ufeff"):
            raise self._error("pipeline_id", "the file begins with a byte order mark; save it as UTF-8 without one")
        for column in TRACE_COLUMNS:
            if row.count(column) != 1:
                found = "is missing" if column not in row else "appears more than once"
                raise self._error(column, f"column {found}; wanted are {','.join(TRACE_COLUMNS)}")
        return row

    def _fields(self, row: list[str], columns: list[str]) -> dict[str, str]:
        if len(row) != len(columns):
            column = columns[min(len(row), len(columns) - 1)]
            raise self._error(column, f"the row has {len(row)} fields, the header {len(columns)}")
        return dict(zip(columns, row, strict=True))

    def _pipeline(self, rows: list[dict[str, str]], lines: list[int], earlier: list[PipelineSpec]) -> PipelineSpec:
        first = rows[0]
        self._line = lines[0]
        before = self._first_lines.setdefault(first["pipeline_id"], lines[0])
        if before != lines[0] and not first["arrival_seconds"].strip():
            raise self._error(
                "pipeline_id",
                f"{_short(first['pipeline_id'])} names the pipeline of line {before}, but other rows stand between; "
                "the rows of a pipeline stand together",
            )
        arrival = self._arrival(first["arrival_seconds"].strip(), earlier)
        priority = first["priority"].strip()
        if priority not in PRIORITIES:
            raise self._error("priority", f"{_short(priority)} is none of {', '.join(PRIORITIES)}")
        positions: dict[str, int] = {}
        operators: list[OperatorSpec] = []
        for fields, line in zip(rows, lines, strict=True):
            self._line = line
            if operators and fields["arrival_seconds"].strip():
                raise self._error("arrival_seconds", "only the first row of a pipeline has an arrival; must be empty")
            if operators and fields["priority"].strip():
                raise self._error("priority", "only the first row of a pipeline has a priority; must be empty")
            operator = self._operator(fields, positions)
            positions[operator.id] = len(operators)
            operators.append(self._interned.setdefault(operator, operator))
        try:
            order = visiting_order([operator.parents for operator in operators])
        except OverflowError as error:
            raise self._error("parents", f"the pipeline of this row has {error}") from error
        return PipelineSpec(first["pipeline_id"], arrival, priority, tuple(operators), order)

    def _arrival(self, text: str, earlier: list[PipelineSpec]) -> float:
        if not text:
            raise self._error("arrival_seconds", "is empty; the first row of a pipeline needs an arrival")
        arrival = self._number("arrival_seconds", text, MAX_ARRIVAL_SECONDS)
        if self._strict and earlier and arrival < earlier[-1].arrival_seconds:
            raise self._error(
                "arrival_seconds", f"{arrival} is before the pipeline above ({earlier[-1].arrival_seconds})"
            )
        return arrival

    def _operator(self, fields: dict[str, str], positions: dict[str, int]) -> OperatorSpec:
        name = fields["operator_id"]
        if self._strict and (not name or name in positions):
            raise self._error("operator_id", f"{_short(name)} is empty or used twice in this pipeline")
        parents = []
        for parent in fields["parents"].strip().split(";"):
            parent = parent.strip()
            if parent and parent not in positions:
                raise self._error("parents", f"{_short(parent)} is no operator of an earlier row of this pipeline")
            if parent:
                parents.append(positions[parent])
        law = fields["cpu_scaling"]
        if law not in SCALING_LAWS:
            raise self._error("cpu_scaling", f"{_short(law)} is none of {', '.join(SCALING_LAWS)}")
        memory = fields["memory_gb"]
        return OperatorSpec(
            name,
            tuple(parents),
            self._number("baseline_cpu_seconds", fields["baseline_cpu_seconds"], MAX_CPU_SECONDS),
            law,
            self._number("memory_gb", memory, MAX_GB) if memory else None,
            self._number("storage_read_gb", fields["storage_read_gb"], MAX_GB),
        )

    def _number(self, column: str, text: str, limit: float) -> float:
        try:
            value = float(text)
        except ValueError:
            raise self._error(column, f"{_short(text)} is not a number") from None
        if not math.isfinite(value):
            raise self._error(column, f"{_short(text)} is not finite")
        if abs(value) > limit:
            raise self._error(column, f"{_short(text)} is out of range; at most {limit:g}")
        if self._strict and value < 0:
            raise self._error(column, f"{_short(text)} is negative")
        return value


def _short(text: str) -> str:
    return repr(text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "...")


def write_rows(pipelines: Iterable[PipelineSpec], file: TextIO) -> None:
    writer = csv.writer(file)
    writer.writerow(TRACE_COLUMNS)
    for number, pipeline in enumerate(pipelines, start=1):
        for position, operator in enumerate(pipeline.operators):
            writer.writerow(
                [
                    f"p{number}",
                    pipeline.arrival_seconds if position == 0 else "",
                    pipeline.priority if position == 0 else "",
                    f"op{position + 1}",
                    ";".join(f"op{parent + 1}" for parent in operator.parents),
                    operator.baseline_cpu_seconds,
                    operator.cpu_scaling,
                    "" if operator.memory_gb is None else operator.memory_gb,
                    operator.storage_read_gb,
                ]
            )
