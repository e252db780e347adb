"""How runs of the FaaS engine become recordings of the package ``faas_pools``: the entry point ``quintain.recorders``.

The package has the engine's decisions and events, one operator in a container, and nothing of how the engine works. Its
policies run here inside an adapter that tells them what happened and assigns what they decide.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from quintain.plugins.package_files import package_files
from quintain.plugins.recorder import Files, RecordedRun
from quintain.plugins.simulator import InvalidInput, narrowed
from quintain_faas.params import Params
from quintain_faas.plugin import simulator
from quintain_faas.scenario import spec_of, workload_of
from quintain_faas.workload.model import PipelineSpec

SYSTEM = "faas_pools"
TRACE_FIELDS = ("pipeline", "priority", "operators", "operator", "parents")
_DECIDES = re.compile(r"^(def decide\s*\(\s*observation\b|class Policy\b)", re.MULTILINE)
_LATE_ORDER = {"finished": 0, "out_of_memory": 0, "done": 1, "pipeline": 2, "operator": 2, "assign": 3, "started": 4}

Entry = dict[str, Any]


class FaasRecorder:
    """Satisfies `Recorder`."""

    def package(self, runs: Sequence[RecordedRun], hide: Sequence[str] = ()) -> tuple[Files, Sequence[str]]:
        if hide:
            raise InvalidInput("hide", "the package of this simulator is fixed: it shows no more than its events")
        files = {n: f for n, f in package_files(resources.files("quintain_faas") / "pools_package").items()
                 if n != "__init__.py"}  # fmt: skip
        suite = ['objective = "throughput"']
        for run in runs:
            params, pipelines = _workload(run)
            files[f"{run.scenario}.csv.gz"] = _trace(_arrivals(params, pipelines))
            suite += [
                "",
                "[[scenarios]]",
                f"name = {json.dumps(run.scenario)}",
                f"part = {json.dumps(run.part.value)}",
                f"duration = {float(params.duration)}",
                f"trace = {json.dumps(f'{run.scenario}.csv.gz')}",
                f"config = {{ {', '.join(f'{key} = {value}' for key, value in _config(params).items())} }}",
            ]
        return {**files, "suite.toml": "\n".join([*suite, ""]).encode()}, ()

    def recording(self, package: Files, run: RecordedRun) -> tuple[str, bytes]:
        params, pipelines = _workload(run)
        entries = [*_arrivals(params, pipelines), *_happened(json.loads(run.detail), params, pipelines)]
        entries.sort(key=lambda entry: (entry["time"], _LATE_ORDER[_kind(entry)]))
        head = {
            "recording": 1,
            "system": SYSTEM,
            "policy": run.policy,
            "config": _config(params),
            "duration": float(params.duration),
        }
        lines = [json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in (head, *entries)]
        return f"recordings/{run.scenario}-{run.policy}.jsonl.gz", gzip.compress(b"".join(lines), mtime=0)

    def policy(self, source: str) -> str:
        return adapted(source) if _DECIDES.search(source) and "register_scheduler" not in source else source


recorder = FaasRecorder()


def adapted(source: str) -> str:
    """A policy of the package as one of the FaaS simulator's."""
    adapter = (resources.files("quintain_faas") / "pools_adapter.py.txt").read_text(encoding="utf-8")
    return adapter.replace('"SOURCE"', repr(source))


def numbered(pipeline: PipelineSpec) -> list[int]:
    """Positions of a pipeline's operators in the order in which the package numbers them: as a policy meets them."""
    return list(dict.fromkeys(pipeline.visiting_order))


def _workload(run: RecordedRun) -> tuple[Params, list[tuple[float, PipelineSpec]]]:
    """Pipelines with the seconds at which they arrive. Raises InvalidInput for what the package cannot say."""
    scenario = narrowed(simulator, run.suite, files=run.files).scenario(run.scenario)
    spec = spec_of(scenario)
    if spec.params.max_job_seconds:
        raise InvalidInput(
            run.scenario, f"has a deadline for jobs, which is not in {SYSTEM}; leave it out (--scenario)"
        )
    if spec.params.allow_memory_overcommit:
        raise InvalidInput(run.scenario, f"overcommits memory, which is not in {SYSTEM}; leave it out (--scenario)")
    batches = workload_of(spec).batches(spec.params)
    rate = spec.params.ticks_per_second
    return spec.params, [
        (tick / rate, pipeline) for tick, group in batches for pipeline in group if tick < spec.params.max_ticks
    ]


def _config(params: Params) -> dict[str, Any]:
    return {
        "pools": params.num_pools,
        "cpus_per_pool": float(params.cpus_per_pool),
        "ram_gb_per_pool": float(params.ram_gb_per_pool),
    }


def _arrivals(params: Params, pipelines: Sequence[tuple[float, PipelineSpec]]) -> Iterator[Entry]:
    first = 0
    for number, (time, pipeline) in enumerate(pipelines):
        order = numbered(pipeline)
        ids = {position: first + at for at, position in enumerate(order)}
        yield {
            "time": time,
            "input": "pipeline",
            "pipeline": number,
            "priority": pipeline.priority,
            "operators": len(order),
        }
        for position in order:
            parents = sorted({ids[parent] for parent in pipeline.operators[position].parents})
            yield {
                "time": time,
                "input": "operator",
                "operator": ids[position],
                "pipeline": number,
                "parents": " ".join(map(str, parents)) or None,
            }
        first += len(order)


def _happened(
    detail: Mapping[str, Any], params: Params, pipelines: Sequence[tuple[float, PipelineSpec]]
) -> Iterator[Entry]:
    """What each container held, and when; a pipeline is done when all its operators are finished."""
    containers, rate = detail["containers"], detail["ticks_per_second"]
    numbers, ids, left = {}, {}, {}
    first = 0
    for number, (_, pipeline) in enumerate(pipelines):
        order = numbered(pipeline)
        numbers[pipeline.id] = number
        ids[number] = {position: first + at for at, position in enumerate(order)}
        left[number] = len(order)
        first += len(order)
    ends: dict[float, list[tuple[int, int, str]]] = defaultdict(list)
    for row in range(len(containers.get("container_id", ()))):
        held = {key: values[row] for key, values in containers.items()}
        if len(held["operators"]) != 1:
            message = f"{held['container_id']} held {len(held['operators'])} operators; {SYSTEM} has one in a container"
            raise InvalidInput("policy", message)
        number = numbers[held["pipeline_id"]]
        operator = ids[number][held["operators"][0]]
        shares = {"pool": held["pool"], "cpu": float(held["cpu"]), "ram": float(held["ram_gb"])}
        start, end = held["start_tick"] / rate, (held["end_tick"] + 1) / rate
        yield {"time": start, "decision": "assign", "operator": operator, **shares}
        yield {"time": start, "event": "started", "operator": operator, **shares}
        if held["end_reason"] in ("completed", "OOM") and end <= params.duration:
            ends[end].append((operator, number, held["end_reason"]))
    for time in sorted(ends):
        for operator, number, reason in ends[time]:
            yield {
                "time": time,
                "event": "finished" if reason == "completed" else "out_of_memory",
                "operator": operator,
            }
            left[number] -= reason == "completed"
            if reason == "completed" and not left[number]:
                yield {"time": time, "event": "done", "pipeline": number}


def _kind(entry: Entry) -> str:
    return str(entry.get("input") or entry.get("decision") or entry.get("event"))


def _trace(entries: Iterator[Entry]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["time", "kind", *TRACE_FIELDS])
    for entry in entries:
        cells = ("" if entry.get(field) is None else entry[field] for field in TRACE_FIELDS)
        rows.writerow([repr(entry["time"]), entry["input"], *cells])
    return gzip.compress(text.getvalue().encode(), mtime=0)
