"""The record of requests that end: their results, and the ends of calls that nobody saw."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from quintain.plugins.backend import BackendReply, CallOutcome, Message
from quintain.service.logs import get_logger
from quintain_generator import metrics
from quintain_generator.domain.conversation import turns_of
from quintain_generator.domain.generation import (
    CallRecord,
    Generation,
    GenerationOutcome,
    Ownership,
    RequestKey,
    prompt_of,
    total_cost,
    total_usage,
)
from quintain_generator.domain.judge import Judgement
from quintain_generator.ports import GenerationStore
from quintain_generator.usecases.answer_keeper import AnswerKeeper
from quintain_generator.usecases.endpoint import BackendEndpoint

log = get_logger("recorder")

_UNSEEN_END = "the generator ended before it could write down what came of the call"


class Recorder:
    """Writes the ends of requests and calls; on one event loop."""

    def __init__(self, store: GenerationStore, keeper: AnswerKeeper, endpoints: Mapping[str, BackendEndpoint]) -> None:
        self._store = store
        self._keeper = keeper
        self._endpoints = endpoints

    async def close_open_calls(
        self, key: RequestKey, endpoint: BackendEndpoint, calls: tuple[CallRecord, ...]
    ) -> tuple[CallRecord, ...]:
        """Settle the calls that a crash cut off: at risk, or (where repeating costs nothing) as a lost connection. One
        that waits for its batch can be asked for."""
        settled: list[CallRecord] = []
        for call in calls:
            if call.reply is None and not call.waits:
                again = endpoint.backend.capabilities.repeatable
                outcome = CallOutcome.CONNECTION if again else CallOutcome.UNKNOWN
                call = await self.settle(key, endpoint, call, BackendReply(outcome, detail=_UNSEEN_END), settled)
            settled.append(call)
        return tuple(settled)

    async def settle(
        self,
        key: RequestKey,
        endpoint: BackendEndpoint,
        call: CallRecord,
        reply: BackendReply,
        earlier: Sequence[CallRecord],
    ) -> CallRecord:
        """Write down what came of a call that had no reply; `earlier` are the request's calls before it."""
        charged, at_risk = endpoint.settle(reply, call.reserved_usd, earlier)
        call = replace(call, reply=reply, charged_usd=charged, at_risk_usd=at_risk)
        await self._keeper.keep(
            lambda: self._store.settle(key.request_id, call), "what came of a call", lambda _note: None, key.request_id
        )
        metrics.count_call(endpoint.name, call)
        return call

    async def record(
        self,
        endpoint: BackendEndpoint,
        key: RequestKey,
        calls: tuple[CallRecord, ...],
        prompt: tuple[Message, ...],
        judgement: Judgement,
        reply: BackendReply | None = None,
    ) -> Generation:
        conversed = any(call.told is not None or (call.reply and call.reply.tool_calls) for call in calls)
        generation = Generation(
            request_id=key.request_id,
            backend=endpoint.name,
            model=(reply.model if reply else "") or endpoint.backend.model,
            outcome=judgement.outcome,
            source=judgement.source,
            rationale=judgement.rationale,
            response_text=reply.text if reply else "",
            prompt=prompt,
            usage=total_usage(calls),
            cost=total_cost(calls, endpoint.price_source),
            calls=calls,
            detail=judgement.detail,
            ast_digest=judgement.ast_digest,
            hints=judgement.hints,
            finished_at=time.time(),
            claims=judgement.claims,
            turns=turns_of(calls) if conversed else (),
        )
        await self._keeper.keep(
            lambda: self._store.finish(generation), "the result", lambda _note: None, key.request_id
        )
        metrics.GENERATIONS.labels(endpoint.name, generation.outcome.value).inc()
        return generation

    async def report_abandoned(self, running: Collection[str]) -> None:
        """Give the requests that a dead owner left in the middle of a paid call their result: unknown."""
        for key in await self._store.abandoned():
            endpoint = self._endpoints.get(key.backend)
            if endpoint is None or endpoint.backend.capabilities.repeatable or key.request_id in running:
                continue
            claim = await self._store.begin(key)
            if claim.ownership is not Ownership.OWNED:
                continue
            if all(call.reply is not None for call in claim.calls):  # its owner was only slow
                await self._store.release(key.request_id)
                continue
            calls = await self.close_open_calls(key, endpoint, claim.calls)
            judgement = Judgement(GenerationOutcome.UNKNOWN, detail=_UNSEEN_END)
            await self.record(endpoint, key, calls, prompt_of(calls), judgement)
            log.warning("a call was cut off by a crash", request_id=key.request_id, backend=endpoint.name)
