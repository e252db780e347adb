"""The generator service as the use cases see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from quintain.clients.channel import ClientSettings
from quintain.clients.generator import AsyncGenerator
from quintain.clients.pages import entries_async
from quintain.errors import Internal, NotFound
from quintain.generator.v1 import generator_pb2 as pb
from quintain.plugins.naming import near
from quintain.type.v1 import type_pb2
from quintain_controller.domain.model import (
    NANO,
    AnswerLater,
    BackendProfile,
    Charge,
    Example,
    Generation,
    GenerationOutcome,
    GenerationRequest,
    Prediction,
    SearchContext,
    ToolCall,
    ToolsWanted,
    ToolUse,
    without_nul,
)
from quintain_controller.domain.retry import charge_of
from quintain_controller.mapping import OPERATORS

_OPERATOR_NAMES = {number: name for name, number in OPERATORS.items()}
_PAGE = 100
# No generation costs more; sums of such numbers fit into what they are stored in.
_MOST_USD = 1e6
_MOST_TOKENS = 10**12
_LONGEST_WAIT_SECONDS = 86400.0


class GrpcGenerator:
    """Belongs to one event loop."""

    def __init__(self, settings: ClientSettings, generate_seconds: float) -> None:
        self._client = AsyncGenerator(settings.model_copy(update={"retries": False}))
        self._generate_seconds = generate_seconds

    async def close(self) -> None:
        await self._client.close()

    async def backends(self, names: Sequence[str]) -> tuple[BackendProfile, ...]:
        listed = entries_async(self._client.list_backends, pb.ListBackendsRequest(page_size=_PAGE))
        known: dict[str, pb.Backend] = {backend.name: backend async for backend in listed}
        wanted = list(names) or [b.name for b in known.values() if b.is_default] or list(known)[:1]
        unknown = [name for name in wanted if name not in known]
        if unknown or not wanted:
            alike = near(unknown[0], known) if unknown else ""
            raise NotFound(
                f"no backend {', '.join(map(repr, unknown))}{alike}; the generator has "
                f"{', '.join(sorted(known)) or 'none'}",
                reason="UNKNOWN_BACKEND",
            )
        return tuple(_profile(known[name]) for name in wanted)

    def encode(self, context: SearchContext, wanted: GenerationRequest) -> bytes:
        return encode_request(context, wanted)

    async def generate(
        self, request: bytes, spent: Callable[[Charge], None], uses: Sequence[ToolUse] = ()
    ) -> Generation | ToolsWanted | AnswerLater:
        message = pb.GenerateRequest.FromString(request)
        message.tool_results.extend(
            pb.ToolResult(call_id=use.call.call_id, content=use.content, failed=use.failed) for use in uses
        )
        result: pb.Generation | None = None
        async for response in self._client.generate_stream(message, timeout=self._generate_seconds):
            if response.WhichOneof("event") == "result":
                result = response.result
            elif response.WhichOneof("event") == "tool_calls":
                return _tools_wanted(response.tool_calls)
            elif response.WhichOneof("event") == "waiting":
                return _answer_later(response.waiting)
            elif response.progress.HasField("spend"):
                spend = response.progress.spend
                if (charge := charge_of(spend.spent_usd, spend.at_risk_usd)) is not None:
                    spent(charge)
        if result is None:
            raise Internal("the generator ended the stream without a result")
        return decode_generation(result)

    async def give_up(self, request_id: str) -> Generation:
        cancel = pb.CancelGenerationRequest(request_id=request_id)
        try:
            return decode_generation((await self._client.cancel_generation(cancel)).generation)
        except Internal:  # a generator of somebody's own, without batches, does not have the call
            pass
        get = pb.GetGenerationRequest(request_id=request_id)
        return decode_generation((await self._client.get_generation(get)).generation)


def encode_request(context: SearchContext, wanted: GenerationRequest) -> bytes:
    """The request exactly as it is sent."""
    task = pb.Task(
        suite_description=context.suite_description,
        operator=OPERATORS[wanted.operator],
        parents=[_example(example) for example in wanted.parents],
        inspirations=[_example(example) for example in wanted.inspirations],
        history=[
            pb.Attempt(
                number=a.number,
                candidate_id=_name(a.number),
                score=a.score,
                summary=a.summary,
                scenario_values=_metrics(a.values) if context.request_version >= 1 else [],
            )
            for a in wanted.history
        ],
        lessons=wanted.lessons,
        seed=wanted.seed,
        best_score=wanted.best_score,
        bound_score=wanted.bound_score,
        carried_lessons=wanted.carried_lessons,
    )
    if context.request_version >= 1:
        task.number = wanted.number
        task.scenarios.extend(_facts(context, wanted))
    task.simulator.MergeFromString(context.simulator)
    task.objective.MergeFromString(context.objective)
    request = pb.GenerateRequest(
        request_id=wanted.request_id,
        backend=wanted.backend,
        task=task,
        allowance=pb.Allowance(
            max_output_tokens=wanted.allowance.max_output_tokens,
            max_cost_usd=wanted.allowance.max_cost_usd,
            effort=wanted.allowance.effort,
        ),
    )
    if wanted.max_turns:
        request.conversation.max_turns = wanted.max_turns
        for tool in context.tools:
            request.conversation.tools.add(
                name=tool.name, description=tool.description, parameters_json=tool.parameters
            )
    return request.SerializeToString(deterministic=True)


def _tools_wanted(wanted: pb.ToolCalls) -> ToolsWanted:
    """Raises Internal for an answer that would be asked for ever."""
    if not wanted.calls:
        raise Internal("the generator wants tools and names none", reason="STRANGE_ANSWER")
    calls = tuple(ToolCall(c.call_id, c.name, without_nul(c.arguments_json)) for c in wanted.calls)
    return ToolsWanted(calls, charge_of(wanted.spend.spent_usd, wanted.spend.at_risk_usd))


def _answer_later(waiting: pb.Waiting) -> AnswerLater:
    """Raises Internal for a wait that no provider's batch takes."""
    if not 0 <= waiting.after_seconds <= _LONGEST_WAIT_SECONDS:  # NaN is in no range
        raise Internal(f"the generator asks for a wait of {waiting.after_seconds:g} s", reason="STRANGE_ANSWER")
    return AnswerLater(waiting.after_seconds, charge_of(waiting.spend.spent_usd, waiting.spend.at_risk_usd))


def decode_generation(generation: pb.Generation) -> Generation:
    """Raises Internal for a charge that cannot be: a negative one would give money back."""
    usage, cost = generation.usage, generation.cost
    tokens = usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens + usage.output_tokens
    for name, value, most in (
        ("usd", cost.usd, _MOST_USD),
        ("at_risk_usd", cost.at_risk_usd, _MOST_USD),
        ("tokens", tokens, _MOST_TOKENS),
    ):
        if not 0 <= value <= most:  # NaN is in no range
            raise Internal(f"the generator answered with {name} {value:g}", reason="STRANGE_ANSWER")
    return Generation(
        outcome=GenerationOutcome(generation.outcome),
        source=without_nul(generation.source),
        charge=Charge(
            usd_nano=0 if cost.unpriced else round(cost.usd * NANO),
            tokens=tokens,
            at_risk_usd_nano=round(cost.at_risk_usd * NANO),
            unpriced=cost.unpriced,
        ),
        detail=without_nul(generation.detail),
        rationale=without_nul(generation.rationale),
        hypothesis=without_nul(generation.hypothesis),
        predictions=tuple(
            Prediction(without_nul(p.scenario), p.change) for p in generation.predictions if math.isfinite(p.change)
        ),
        record=generation.SerializeToString(deterministic=True),
    )


def _profile(backend: pb.Backend) -> BackendProfile:
    priced = backend.priced and backend.HasField("max_request_cost_usd")
    return BackendProfile(
        name=backend.name,
        operators=tuple(_OPERATOR_NAMES[op] for op in backend.operators if op in _OPERATOR_NAMES) or ("full",),
        priced=priced,
        max_request_cost_usd_nano=round(backend.max_request_cost_usd * NANO) if priced else None,
        measured_requests=backend.measured_requests,
        typical_cost_usd_nano=_nano(backend, "typical_request_cost_usd"),
        high_cost_usd_nano=_nano(backend, "high_request_cost_usd"),
        batch=backend.batch,
        high_tokens=backend.high_request_input_tokens + backend.high_request_output_tokens,
    )


def _nano(backend: pb.Backend, field: Literal["typical_request_cost_usd", "high_request_cost_usd"]) -> int | None:
    return round(getattr(backend, field) * NANO) if backend.HasField(field) else None


def _example(example: Example) -> pb.Example:
    message = pb.Example(
        candidate_id=_name(example.number),
        source=example.source,
        score=example.score,
        normalized=example.normalized,
        feedback=example.feedback,
    )
    message.scenario_values.extend(_metrics(example.values))
    return message


def _facts(context: SearchContext, wanted: GenerationRequest) -> list[pb.ScenarioFacts]:
    """What is known of the train scenarios from the beginning. A reference is missing if its scenario did not run
    with the first seed policy."""
    facts = []
    for name in context.train:
        message = pb.ScenarioFacts(name=name, notes=context.scenario_notes.get(name, ""))
        if (reference := wanted.references.get(name)) is not None:
            message.baseline = reference.baseline
            if reference.bound is not None:
                message.bound = reference.bound
            message.floors.extend(_metrics(reference.floors))
        facts.append(message)
    return facts


def _metrics(values: Mapping[str, float]) -> list[type_pb2.Metric]:
    return [type_pb2.Metric(name=name, value=value) for name, value in values.items()]


def _name(number: int) -> str:
    """A candidate's name within a task: the same in every search with the same seed, so that tasks can be compared."""
    return f"c{number}"
