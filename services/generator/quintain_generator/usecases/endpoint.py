"""A configured backend: the plugin, its prices and what all its callers share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime

from quintain.plugins.backend import Allowance, Backend, BackendReply, CallOutcome, Message, ToolCall, Usage
from quintain_generator.config import BackendSettings
from quintain_generator.domain.generation import FINAL_ANSWERS, CallRecord, is_uncertain
from quintain_generator.domain.prices import PriceRow, PriceTable, estimate_prompt_tokens
from quintain_generator.prompt.builder import AGAIN_SHARE
from quintain_generator.usecases.rate_limits import Breaker, TokenBucket

# Of one request: an answer, a follow-up if it holds no policy, and one call that broke off and may have been charged.
MAX_PAID_CALLS = 3

# A shorter key ("none", "EMPTY", "ollama") is a placeholder for a local server; cutting it out would break answers.
MIN_SECRET_CHARACTERS = 8

# What is kept of an answer. No policy is that long, and a caller's message must hold the whole.
MAX_TEXT_CHARACTERS = 4_000_000


class BackendEndpoint:
    """A configured backend with what all its callers share. Made at start-up, on the event loop that uses it."""

    def __init__(self, name: str, settings: BackendSettings, backend: Backend, prices: PriceTable) -> None:
        self.name = name
        self.settings = settings
        self.backend = backend
        self._prices = prices
        self.places = asyncio.Semaphore(settings.max_concurrency)
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_cooldown_seconds, time.monotonic)
        self.bucket = TokenBucket(settings.tokens_per_minute, time.monotonic) if settings.tokens_per_minute else None

    def clean(self, text: str) -> str:
        """Without secrets, and without lone surrogates, which cannot be stored."""
        text = text.encode("utf-8", "replace").decode("utf-8")
        for secret in self.backend.secrets:
            if len(secret) >= MIN_SECRET_CHARACTERS:
                text = text.replace(secret, "[redacted]")
        return text

    def clean_reply(self, reply: BackendReply) -> BackendReply:
        """No key in anything that is kept, not even if a provider echoes it; nothing that cannot be kept or counted."""
        usage = reply.usage
        if usage is not None and (min(astuple(usage)) < 0 or (reply.text and usage.output_tokens == 0)):
            usage = None  # a reading that cannot be is none
        return replace(
            reply,
            usage=usage,
            text=self.clean(reply.text[:MAX_TEXT_CHARACTERS]),
            source=self.clean(reply.source),
            rationale=self.clean(reply.rationale),
            detail=self.clean(reply.detail)[:2000],
            provider_request_id=self.clean(reply.provider_request_id),
            model=self.clean(reply.model),
            state=self.clean(reply.state),
            tool_calls=tuple(
                ToolCall(self.clean(call.call_id), self.clean(call.name), self.clean(call.arguments))
                for call in reply.tool_calls
            ),
        )

    def effective(self, allowance: Allowance) -> Allowance:
        """`allowance` with the backend's defaults filled in and its maximum kept."""
        most = self.settings.max_output_tokens
        return replace(
            allowance,
            max_output_tokens=min(allowance.max_output_tokens or most, most),
            effort=allowance.effort or self.settings.effort,
        )

    # ------------------------------------------------------------------------------------------------------- money

    @property
    def price(self) -> PriceRow | None:
        """What calls are charged by, in batches if they go there."""
        name = self.settings.price_model or self.backend.model
        row = self._prices.find(name, datetime.now(UTC).date())
        return row.in_batches() if row is not None and self.backend.batches is not None else row

    @property
    def is_priced(self) -> bool:
        """Whether the cost of a call can be known beforehand."""
        return not self.backend.capabilities.priced or self.price is not None

    @property
    def price_source(self) -> str:
        price = self.price if self.backend.capabilities.priced else None
        return price.describe() if price else ""

    def reserve_usd(self, prompt: tuple[Message, ...], allowance: Allowance) -> float | None:
        """The most that a call may cost; None if no price is known."""
        if self.backend.capabilities.meters_itself:
            return allowance.max_cost_usd or 0.0
        if not self.backend.capabilities.priced:
            return 0.0
        price = self.price
        if price is None:
            return None
        return price.reserve_usd(estimate_prompt_tokens(prompt), allowance.max_output_tokens)

    def max_request_cost_usd(self, prompt_tokens: int, allowance: Allowance) -> float | None:
        """The most that one request with a prompt of `prompt_tokens` may cost; None if no price is known beforehand."""
        if self.backend.capabilities.meters_itself:
            return None
        if not self.backend.capabilities.priced:
            return 0.0
        price = self.price
        if price is None:
            return None
        longest = int(prompt_tokens * (1 + AGAIN_SHARE))
        return MAX_PAID_CALLS * price.reserve_usd(longest, self.effective(allowance).max_output_tokens)

    def settle(
        self, reply: BackendReply, reserved_usd: float | None, earlier: Sequence[CallRecord] = ()
    ) -> tuple[float | None, float]:
        """(charged, at risk) in US dollars for a finished call; charged is None if it cost something unpriced.

        `earlier`: the request's calls before it. A backend that meters itself tells the sum over all of them.
        """
        if self.backend.capabilities.meters_itself:
            known = sum(call.charged_usd or 0.0 for call in earlier)
            known_at_risk = sum(call.at_risk_usd for call in earlier)
            if reply.charged_usd is None and reply.outcome is not CallOutcome.OK:  # our word, not the backend's
                return 0.0, (reserved_usd or 0.0) if is_uncertain(reply) else 0.0
            charged = None if reply.charged_usd is None else max(0.0, reply.charged_usd - known)
            return charged, max(0.0, (reply.at_risk_usd or 0.0) - known_at_risk)
        if not self.backend.capabilities.priced:
            return 0.0, 0.0
        if is_uncertain(reply):
            return (None, 0.0) if reserved_usd is None else (0.0, reserved_usd)
        if reply.outcome not in FINAL_ANSWERS or not reply.sent:
            return 0.0, 0.0
        price = self.price
        if reply.usage == Usage():  # refused before any work
            return 0.0, 0.0
        if price is None or reserved_usd is None:
            return None, 0.0
        if reply.usage is None:  # an answer without its meter reading
            return 0.0, reserved_usd
        return price.cost_usd(reply.usage), 0.0
