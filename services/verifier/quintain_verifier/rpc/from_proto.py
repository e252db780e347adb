"""From the contract's requests to what the use cases take. Raises InvalidInput."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quintain.plugins.simulator import Aggregation, InvalidInput, Part
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_verifier.sandbox.limits import Limits
from quintain_verifier.usecases.planning import InlineScenario, VerifyRequest

PARTS = {type_pb2.PART_TRAIN: Part.TRAIN, type_pb2.PART_HELD_OUT: Part.HELD_OUT}
AGGREGATIONS = {
    type_pb2.AGGREGATION_UNSPECIFIED: None,
    type_pb2.AGGREGATION_MEDIAN_VALUE: Aggregation.MEDIAN_VALUE,
    type_pb2.AGGREGATION_MEAN_NORMALIZED: Aggregation.MEAN_NORMALIZED,
}


def suite_files_of(message: pb.SuiteFiles) -> tuple[str, dict[str, bytes]]:
    """Digest and files, each of which may be empty."""
    files = {file.name: file.content for file in message.files}
    if len(files) != len(message.files):
        raise InvalidInput("suite_files", "has two files of one name")
    if not files and not message.digest:
        raise InvalidInput("suite_files", "has neither files nor a digest")
    return message.digest, files


def verify_request_of(
    request: pb.VerifyRequest, default_limits: Limits, suite_files: Mapping[str, bytes] | None
) -> VerifyRequest:
    unknown_parts = [p for p in request.parts if p not in PARTS]
    if unknown_parts:
        raise InvalidInput("parts", f"found {unknown_parts[0]}; must be PART_TRAIN or PART_HELD_OUT")
    if request.aggregation not in AGGREGATIONS:
        raise InvalidInput("aggregation", f"found {request.aggregation}; must be one of the contract's values")
    return VerifyRequest(
        simulator=request.simulator,
        source=request.policy.source,
        suite=request.suite,
        suite_files=suite_files,
        parts=frozenset(PARTS[p] for p in request.parts),
        scenarios=tuple(request.scenarios),
        inline_scenarios=tuple(_inline(inline) for inline in request.inline_scenarios),
        objective=request.objective,
        aggregation=AGGREGATIONS[request.aggregation],
        limits=_limits(request.limits, default_limits),
        seed=request.seed,
        calling_mode=request.calling_mode,
        check_determinism=request.check_determinism,
        confirm=request.confirm,
        stop_below_score=request.stop_below_score if request.HasField("stop_below_score") else None,
        parent_digest=request.parent_digest,
        include_detail=request.include_detail,
        ignore_cache=request.ignore_cache,
        continue_after_time_limit=request.continue_after_time_limit,
    )


def _inline(inline: pb.InlineScenario) -> InlineScenario:
    files = {file.name: file.content for file in inline.files}
    if len(files) != len(inline.files):
        raise InvalidInput("inline_scenarios.files", f"scenario {inline.name!r} has two files of one name")
    return InlineScenario(inline.name, files)


def _limits(given: pb.Limits, defaults: Limits) -> Limits:
    """Zero means the default. CPU time is counted in whole seconds by the kernel."""
    if not given.cpu_seconds.is_integer():  # infinite and NaN are none either
        raise InvalidInput("limits.cpu_seconds", f"found {given.cpu_seconds}; must be a whole number of seconds")
    asked: dict[str, float | int] = {
        "wall_seconds": given.wall_seconds,
        "cpu_seconds": int(given.cpu_seconds),
        "memory_bytes": given.memory_bytes,
        "decision_bytes": given.decision_bytes,
        "output_bytes": given.output_bytes,
        "source_bytes": given.source_bytes,
    }
    limits = replace(defaults, **{name: value for name, value in asked.items() if value})  # type: ignore[arg-type]
    return replace(limits, step_seconds=min(limits.step_seconds, limits.wall_seconds))
