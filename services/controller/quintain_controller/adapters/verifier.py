"""The verifier service as the use cases see it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from quintain.clients.channel import ClientSettings
from quintain.clients.verifier import AsyncVerifier
from quintain.errors import FailedPrecondition, FieldViolation, Internal, InvalidArgument
from quintain.plugins.naming import near
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_controller.domain.model import (
    HELD_OUT,
    REQUEST_VERSION,
    TRAIN,
    Aggregation,
    Axis,
    BackendProfile,
    Direction,
    PartScore,
    ScenarioReference,
    SearchContext,
    SearchSpec,
    SectionScore,
    VerdictStatus,
    Verification,
    without_nul,
)
from quintain_controller.domain.tools import PolicyRun, ScenarioRun
from quintain_controller.mapping import encode_limits

_PARTS = {TRAIN: type_pb2.PART_TRAIN, HELD_OUT: type_pb2.PART_HELD_OUT}
_WAYS = {"min": Direction.MINIMIZE, "max": Direction.MAXIMIZE}
# The policy's own randomness is the same in every search, so that verdicts are shared and comparable.
_POLICY_SEED = 0


class GrpcVerifier:
    """Belongs to one event loop."""

    def __init__(
        self,
        settings: ClientSettings,
        verify_seconds: float,
        suite_files: Callable[[str], Awaitable[bytes]],
        *,
        retries: bool = False,
    ) -> None:
        """`suite_files`: the stored files of a suite by digest (the contract's message)."""
        self._suite_files = suite_files
        self._client = AsyncVerifier(settings.model_copy(update={"retries": retries}))
        self._verify_seconds = verify_seconds

    async def close(self) -> None:
        await self._client.close()

    async def context(
        self,
        simulator: str,
        suite: str,
        objective: str,
        backends: tuple[BackendProfile, ...],
        suite_files: bytes = b"",
        hints: bool = False,
        further_objectives: Sequence[str] = (),
    ) -> tuple[str, SearchContext]:
        request = pb.GetSuiteRequest(simulator=simulator, suite=suite)
        if suite_files:
            request.suite_files.ParseFromString(suite_files)
        try:
            found = await self._client.get_suite(request)
        except InvalidArgument as error:
            violations = [FieldViolation(f"spec.{v.field}", v.message) for v in error.violations]
            raise InvalidArgument(error.message, violations=violations) from error
        chosen, described = found.suite, found.simulator
        if not hints:
            described.hints = ""
        objective = objective or chosen.objective or (described.objectives[0].name if described.objectives else "")
        known = {o.name: o for o in described.objectives}
        if objective not in known:
            message = f"{objective!r} is unknown{near(objective, known)}; {simulator} has {', '.join(known)}"
            raise InvalidArgument.of("spec.objective", message)
        if not described.baselines:
            raise InvalidArgument.of("spec.simulator", f"{simulator} offers no baseline policy to begin with")
        train = [e for e in chosen.entries if e.part == type_pb2.PART_TRAIN]
        if not train:
            raise InvalidArgument.of("spec.suite", f"{suite} has no train scenarios to steer a search by")
        lines = [f"{chosen.name}: {chosen.description}", *(f"- {e.scenario}: {e.description}" for e in train)]
        return objective, SearchContext(
            simulator=described.SerializeToString(deterministic=True),
            objective=known[objective].SerializeToString(deterministic=True),
            simulator_build=described.build,
            suite_description="\n".join(lines),
            direction=Direction(known[objective].direction),
            aggregation=Aggregation(chosen.aggregation),
            train=tuple(e.scenario for e in train),
            held_out=tuple(e.scenario for e in chosen.entries if e.part == type_pb2.PART_HELD_OUT),
            descriptors=tuple((d.metric, tuple(d.edges)) for d in described.descriptors),
            backends=backends,
            default_policy=described.baselines[0].source,
            axes=tuple(_axis(text, known, objective) for text in further_objectives),
            scenario_notes={e.scenario: e.notes for e in train if e.notes},
            request_version=REQUEST_VERSION,
        )

    async def verify(
        self,
        spec: SearchSpec,
        source: str,
        parts: Sequence[str],
        *,
        check_determinism: bool = False,
        confirm: bool = False,
        ignore_cache: bool = False,
        scenarios: Sequence[str] = (),
        stop_below: float | None = None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Verification:
        request = pb.VerifyRequest(
            simulator=spec.simulator,
            policy=type_pb2.Policy(source=source),
            suite=spec.suite,
            parts=[_PARTS[part] for part in parts],
            objective=spec.objective,
            limits=encode_limits(spec.limits),
            seed=_POLICY_SEED,
            check_determinism=check_determinism,
            confirm=confirm,
            ignore_cache=ignore_cache,
            scenarios=scenarios,
            stop_below_score=stop_below,
        )
        return decode_verification(await self._send(spec, request, progress))

    async def run(
        self, spec: SearchSpec, source: str, scenarios: Sequence[str], *, detail: bool, ignore_cache: bool = False
    ) -> PolicyRun:
        request = pb.VerifyRequest(
            simulator=spec.simulator,
            policy=type_pb2.Policy(source=source),
            suite=spec.suite,
            parts=[type_pb2.PART_TRAIN],
            scenarios=scenarios,
            objective=spec.objective,
            limits=encode_limits(spec.limits),
            seed=_POLICY_SEED,
            include_detail=detail,
            ignore_cache=ignore_cache,
        )
        return decode_run(await self._send(spec, request, lambda _done, _total: None))

    async def _send(
        self, spec: SearchSpec, request: pb.VerifyRequest, progress: Callable[[int, int], None]
    ) -> pb.VerifyResult:
        if not spec.suite_digest:
            return await self._verify(request, progress)
        request.suite_files.digest = spec.suite_digest
        try:
            return await self._verify(request, progress)
        except FailedPrecondition as error:
            if error.reason != "SUITE_NOT_HERE":
                raise
        request.suite_files.ParseFromString(await self._suite_files(spec.suite_digest))
        return await self._verify(request, progress)

    async def _verify(self, request: pb.VerifyRequest, progress: Callable[[int, int], None]) -> pb.VerifyResult:
        result: pb.VerifyResult | None = None
        async for response in self._client.verify_stream(request, timeout=self._verify_seconds):
            if response.WhichOneof("event") == "result":
                result = response.result
            elif response.progress.scenarios_total:
                progress(response.progress.scenarios_done, response.progress.scenarios_total)
        if result is None:
            raise Internal("the verifier ended the stream without a result")
        return result

    def decode(self, record: bytes) -> Verification:
        return decode_verification(pb.VerifyResult.FromString(record))


def decode_run(result: pb.VerifyResult) -> PolicyRun:
    """Train scenarios only, whatever the result holds."""
    verdict, execution = result.verdict, result.execution
    return PolicyRun(
        simulator_build=verdict.simulator_build,
        status=VerdictStatus(verdict.status),
        failure=_failure(verdict.failure) if verdict.HasField("failure") else "",
        feedback=result.feedback.details or result.feedback.text,
        scenarios=tuple(_scenario_run(s) for s in verdict.scenarios if s.part == type_pb2.PART_TRAIN),
        seconds=0.0 if execution.cached else execution.wall_seconds,
    )


def _scenario_run(scenario: pb.ScenarioVerdict) -> ScenarioRun:
    return ScenarioRun(
        name=scenario.scenario,
        value=scenario.value,
        normalized=scenario.normalized,
        failure=_failure(scenario.failure) if scenario.HasField("failure") else ("" if scenario.ran else "not run"),
        broken_floors=tuple((f.name, f.reached, f.required) for f in scenario.floors if f.reached < f.required),
        metrics={metric.name: metric.value for metric in scenario.metrics},
        groups={group.name: {m.name: m.value for m in group.metrics} for group in scenario.groups},
        failures_by_reason={reason.reason: reason.count for reason in scenario.failures_by_reason},
        timeline=tuple((event.time_seconds, event.text) for event in scenario.timeline),
        detail=scenario.detail,
    )


def decode_verification(result: pb.VerifyResult) -> Verification:
    """Raises Internal for a score that is not finite: nothing can be ranked by it."""
    verdict = result.verdict
    train = [s for s in verdict.scenarios if s.part == type_pb2.PART_TRAIN]
    held_out = [s for s in verdict.scenarios if s.part == type_pb2.PART_HELD_OUT]
    failure = verdict.failure
    return Verification(
        digest=verdict.digest,
        simulator_build=verdict.simulator_build,
        status=VerdictStatus(verdict.status),
        train=_part(verdict.train, train) if verdict.HasField("train") else None,
        held_out=_part(verdict.held_out, held_out) if verdict.HasField("held_out") else None,
        metrics=_means(train),
        decisions={s.scenario: s.decisions_digest for s in train if s.ran and s.decisions_digest},
        complete_metrics=_complete_means(train),
        behavior=verdict.behavior_digest,
        failure=_failure(failure) if verdict.HasField("failure") else "",
        rule=failure.rule,
        determinism_checked=verdict.determinism_checked,
        confirmed=verdict.confirmed,
        feedback=without_nul(result.feedback.details or result.feedback.text),
        record=result.SerializeToString(deterministic=True),
        identity=verdict.SerializeToString(deterministic=True),
        references={s.scenario: _reference(s) for s in train},
    )


def _reference(scenario: pb.ScenarioVerdict) -> ScenarioReference:
    return ScenarioReference(
        baseline=scenario.baseline,
        bound=scenario.bound if scenario.HasField("bound") else None,
        floors={floor.name: floor.required for floor in scenario.floors},
    )


def _part(score: pb.PartScore, scenarios: Sequence[pb.ScenarioVerdict]) -> PartScore:
    normalized = [scenario.normalized for scenario in scenarios]
    sections = {of.name: SectionScore(of.normalized, of.baseline_normalized) for of in score.sections}
    by_section = [number for of in sections.values() for number in (of.normalized, of.baseline_normalized)]
    numbers = (score.score, score.baseline_score, score.bound_score, score.normalized, *normalized, *by_section)
    if not all(map(math.isfinite, numbers)):
        raise Internal("the verifier answered with a score that is not finite", reason="STRANGE_ANSWER")
    return PartScore(
        score=score.score,
        baseline_score=score.baseline_score,
        bound_score=score.bound_score if score.HasField("bound_score") else None,
        normalized=score.normalized,
        values={s.scenario: s.normalized for s in scenarios},
        sections=sections,
    )


def _axis(text: str, known: Mapping[str, type_pb2.Objective], objective: str) -> Axis:
    """A further objective: one of the simulator's by name, or METRIC:min or METRIC:max."""
    metric, _, way = text.rpartition(":")
    if text in known and text != objective:
        found = known[text]
        return Axis(text, found.metric, Direction(found.direction), found.unit)
    if metric and way in _WAYS:
        return Axis(text, metric, _WAYS[way])
    others = ", ".join(name for name in known if name != objective) or "no other"
    raise InvalidArgument.of(
        "spec.further_objectives",
        f"{text!r} is neither another objective ({others}) nor METRIC:min or METRIC:max (CLASS.METRIC for a class)",
    )


def _complete_means(scenarios: Sequence[pb.ScenarioVerdict]) -> dict[str, float]:
    """Mean of each metric that all scenarios have, also of classes of work: what one lacks (a latency where nothing
    completed) would be better for it."""
    found: dict[str, list[float]] = {}
    for scenario in scenarios:
        for metric in scenario.metrics:
            found.setdefault(metric.name, []).append(metric.value)
        for group in scenario.groups:
            for metric in group.metrics:
                found.setdefault(f"{group.name}.{metric.name}", []).append(metric.value)
    means = {name: math.fsum(values) / len(values) for name, values in found.items() if len(values) == len(scenarios)}
    return {name: mean for name, mean in means.items() if math.isfinite(mean)}


def _means(scenarios: Iterable[pb.ScenarioVerdict]) -> dict[str, float]:
    """Mean of each metric over the scenarios that have it; one that is not finite is left out."""
    sums: dict[str, tuple[float, int]] = {}
    for scenario in scenarios:
        for metric in scenario.metrics:
            total, count = sums.get(metric.name, (0.0, 0))
            sums[metric.name] = (total + metric.value, count + 1)
    return {name: total / count for name, (total, count) in sums.items() if math.isfinite(total)}


def _failure(failure: pb.Failure) -> str:
    kind = pb.FailureKind.Name(failure.kind).removeprefix("FAILURE_KIND_").lower()
    where = f" at line {failure.line}" if failure.HasField("line") else ""
    lines = failure.message.splitlines()
    return f"{kind}{where}: {lines[0] if lines else ''}"[:300]
