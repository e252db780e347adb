"""Library use: run a policy in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from quintain.plugins.inprocess import InProcessPolicy
from quintain.plugins.simulator import InvalidInput, JsonValue
from quintain_faas import guest
from quintain_faas.params import Params
from quintain_faas.run import RunResult, run
from quintain_faas.workload import Workload

Result = RunResult


def simulate(
    policy: str | Path,
    params: Params | Mapping[str, object],
    trace: Workload | Path | str | None = None,
    calling_mode: str = "",
    *,
    record_timeline: bool = False,
) -> Result:
    """Run a policy (source text, or a path) in this process, without any isolation: for code that you trust.

    `trace` is a workload, a path to a trace, or None for the random workload of `params`. A policy that fails gives a
    result with `failure` set. Raises InvalidInput for bad parameters, traces and paths.
    """
    chosen = params if isinstance(params, Params) else Params.from_mapping(params)
    if trace is None:
        workload = Workload.generated(chosen)
    elif isinstance(trace, Workload):
        workload = trace
    else:
        workload = Workload.from_trace_file(trace)
    source = _source(policy)

    def open_policy(setup: JsonValue) -> InProcessPolicy:
        return InProcessPolicy(guest.load, source, setup)

    return run(chosen, workload, open_policy, calling_mode=calling_mode, record_timeline=record_timeline)


def _source(policy: str | Path) -> str:
    if isinstance(policy, str) and "\n" in policy:
        return policy
    path = Path(policy)
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput("policy", f"{path.name} cannot be read: {error.strerror}") from error
