"""A recorded log as a trace of the package `tenants`: each row a request; its tenants and functions come before."""

from __future__ import annotations

import csv
import io
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

from quintain.plugins.simulator import InvalidInput
from quintain.plugins.trace import Row, TraceColumn
from quintain_system.engine.inputs import MAX_INPUTS

# What logs do not say. Memory: the median of Azure Functions 2019; docs/tenants.md has the others' reasons.
MEMORY_MB, IMAGE_MB, INIT_SECONDS, CONCURRENCY, WEIGHT = 170, 300, 0.5, 1, 1
OBJECTIVE_WORK, OBJECTIVE_SECONDS = 2.0, 1.0  # an objective is so many times the median duration, and so many seconds
HEADER = (
    "time", "kind", "tenant", "weight", "quota", "function", "memory_mb", "image_mb", "init_seconds", "concurrency",
    "objective_seconds", "request", "work",
)  # fmt: skip


@dataclass(slots=True)
class _Function:
    tenant: str
    place: str  # of its first row
    values: dict[str, float]  # the columns that describe functions: the largest value of its rows
    work: list[float] = field(default_factory=list)


class TenantsTraceFormat:
    """The `quintain.plugins.trace.TraceFormat` of the package."""

    file_name = "trace.csv"
    columns = (
        TraceColumn("arrival_seconds", "s", "when the request arrived", required=True),
        TraceColumn("duration_seconds", "s", "its work on a core of its own", required=True),
        TraceColumn("function", "", "which function", required=True),
        TraceColumn("tenant", "", "whose function; absent: each function is a tenant of its own"),
        TraceColumn("memory_gb", "GB", f"of an instance; absent: {MEMORY_MB} MB"),
        TraceColumn("image_gb", "GB", f"absent: {IMAGE_MB} MB"),
        TraceColumn("init_seconds", "s", f"absent: {INIT_SECONDS:g}"),
        TraceColumn("concurrency", "", f"requests that one instance works on at one time; absent: {CONCURRENCY}"),
        TraceColumn("objective_seconds", "s", "absent: twice the function's median duration, and a second"),
        TraceColumn("weight", "", f"of the tenant; absent: {WEIGHT}"),
        TraceColumn("quota", "", "instances of the tenant; absent: its functions, and what it had in work at most"),
    )

    def write(self, rows: Iterable[Row], out: BinaryIO) -> tuple[str, ...]:
        """See the interface. Holds all requests in memory: at most `MAX_INPUTS`."""
        log = _Log()
        for row in rows:
            log.take(row)
        text = io.TextIOWrapper(out, encoding="utf-8", newline="")
        writer = csv.DictWriter(text, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(log.tenant_rows())
        writer.writerows(log.function_rows())
        writer.writerows(log.request_rows())
        text.detach()
        return tuple(log.notes())


_OF_FUNCTION = ("memory_gb", "image_gb", "init_seconds", "concurrency", "objective_seconds")
_OF_TENANT = ("weight", "quota")
_KNOWN = {column.name for column in TenantsTraceFormat.columns}


class _Log:
    def __init__(self) -> None:
        self._functions: dict[str, _Function] = {}
        self._tenants: dict[str, dict[str, float]] = {}
        self._requests: list[tuple[float, float, str]] = []  # arrival, duration, function
        self._without: Counter[str] = Counter()  # column -> functions or tenants
        self._unused: Counter[str] = Counter()

    def take(self, row: Row) -> None:
        if len(self._requests) >= MAX_INPUTS:
            raise InvalidInput(
                row.place, f"more than {MAX_INPUTS} requests; take a part of the log (--seconds, --share)"
            )
        for name in row.values:
            if name not in _KNOWN:
                self._unused[name] += 1
        name = str(row.values.get("function", ""))
        if not name:
            raise InvalidInput(f"{row.place}:function", "is missing; every row needs it")
        tenant = str(row.values.get("tenant", name))
        function = self._functions.setdefault(name, _Function(tenant, row.place, {}))
        if function.tenant != tenant:
            raise InvalidInput(
                f"{row.place}:tenant",
                f"{name!r} belongs to {function.tenant!r} at {function.place}, here to {tenant!r}",
            )
        of_tenant = self._tenants.setdefault(tenant, {})
        for columns, values in ((_OF_FUNCTION, function.values), (_OF_TENANT, of_tenant)):
            for column in columns:
                if column in row.values:
                    values[column] = max(values.get(column, 0.0), row.number(column))
        work = row.number("duration_seconds")
        function.work.append(work)
        self._requests.append((row.number("arrival_seconds"), work, name))

    def tenant_rows(self) -> Iterable[dict[str, object]]:
        owned = Counter(f.tenant for f in self._functions.values())
        at_work = self._most_at_work()
        for tenant, values in self._tenants.items():
            for column in _OF_TENANT:
                self._without[f"{column} of tenants"] += column not in values
            quota = max(1, round(values.get("quota", owned[tenant] + at_work[tenant])))
            yield {"time": 0, "kind": "tenant", "tenant": tenant, "weight": self._weight(tenant), "quota": quota}

    def _weight(self, tenant: str) -> int:
        return max(1, round(self._tenants[tenant].get("weight", WEIGHT)))

    def _most_at_work(self) -> Counter[str]:
        """By tenant: requests that were in work at one time, at most."""
        changes: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for arrival, work, name in self._requests:
            changes[self._functions[name].tenant] += [(arrival, 1), (arrival + work, -1)]
        most: Counter[str] = Counter()
        for tenant, steps in changes.items():
            now = 0
            for _, step in sorted(steps):
                now += step
                most[tenant] = max(most[tenant], now)
        return most

    def function_rows(self) -> Iterable[dict[str, object]]:
        for name, function in self._functions.items():
            values = function.values
            for column in _OF_FUNCTION:
                self._without[f"{column} of functions"] += column not in values
            yield {
                "time": 0,
                "kind": "function",
                "function": name,
                "tenant": function.tenant,
                "memory_mb": max(1, round(1024 * values.get("memory_gb", MEMORY_MB / 1024))),
                "image_mb": round(1024 * values.get("image_gb", IMAGE_MB / 1024)),
                "init_seconds": values.get("init_seconds", INIT_SECONDS),
                "concurrency": max(1, round(values.get("concurrency", CONCURRENCY))),
                "objective_seconds": self._objective(function),
            }

    def _objective(self, function: _Function) -> float:
        usual = OBJECTIVE_WORK * statistics.median(function.work) + OBJECTIVE_SECONDS
        return round(function.values.get("objective_seconds", usual), 6)

    def request_rows(self) -> Iterable[dict[str, object]]:
        objectives = {name: self._objective(function) for name, function in self._functions.items()}
        for number, (arrival, work, name) in enumerate(sorted(self._requests, key=lambda request: request[0])):
            tenant = self._functions[name].tenant
            yield {
                "time": arrival, "kind": "request", "request": number, "function": name, "tenant": tenant,
                "weight": self._weight(tenant), "objective_seconds": objectives[name], "work": work,
            }  # fmt: skip

    def notes(self) -> Iterable[str]:
        for what, count in sorted(self._without.items()):
            if count:
                yield f"{what.partition(' ')[0]} is unknown for {count} {what.rpartition(' ')[2]}: a default was taken"
        for name, count in sorted(self._unused.items()):
            yield f"{name} has no place in this package's traces: left out of {count} rows"
        if self._requests:
            last = max(arrival for arrival, _, _ in self._requests)
            yield f"the last request arrives at {last:g} s: the scenario's duration must be more than that"
        largest = max((f.values.get("memory_gb", 0.0) for f in self._functions.values()), default=0.0)
        if largest:
            yield f"the largest function has {1024 * largest:.0f} MB: node_memory_mb must be at least that"


trace_format = TenantsTraceFormat()
