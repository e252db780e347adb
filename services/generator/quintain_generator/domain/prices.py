"""The meter: what tokens cost, from dated and sourced price rows. No row means unpriced, never free."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date

from pydantic import BaseModel, ConfigDict, Field

from quintain.plugins.backend import Message, Usage

BYTES_PER_TOKEN = 3.5
"""The stated estimator, of UTF-8. English prose has about 4 bytes a token, code about 3; it is used for prompt budgets
and rates, never for settling."""

RESERVE_MARGIN = 1.5
"""A reserve counts this many times the estimated input: numbers and dense code have up to half more tokens."""

_MESSAGE_TOKENS = 8  # role and separators of one message


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LongContext(_Strict):
    """Rates of a whole request whose input (cached tokens included) is longer than `above_input_tokens`."""

    above_input_tokens: int = Field(gt=0)
    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cache_read: float = Field(ge=0)
    cache_write: float = Field(ge=0)


class PriceRow(_Strict):
    """US dollars per million tokens of `model` from `effective` on."""

    model: str = Field(min_length=1)
    effective: date
    source: str = Field(min_length=1)
    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cache_read: float = Field(ge=0)
    cache_write: float = Field(ge=0)
    long_context: tuple[LongContext, ...] = ()
    batch: float | None = Field(default=None, gt=0, le=1)
    """What a call in a batch costs of all this, as a share; None: nobody knows that it costs less."""

    def in_batches(self) -> PriceRow:
        """The prices of calls in batches."""
        if self.batch is None:
            return self
        steps = tuple(step.model_copy(update=_share(step, self.batch)) for step in self.long_context)
        source = f"{self.source}, in batches at {self.batch:.0%}"
        return self.model_copy(update={**_share(self, self.batch), "long_context": steps, "source": source})

    def cost_usd(self, usage: Usage) -> float:
        """Price `usage`; reasoning is part of the output."""
        prompt = usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens
        rates = self._rates(prompt)
        return (
            usage.input_tokens * rates.input
            + usage.cached_input_tokens * rates.cache_read
            + usage.cache_write_tokens * rates.cache_write
            + usage.output_tokens * rates.output
        ) / 1e6

    def reserve_usd(self, estimated_input_tokens: int, max_output_tokens: int) -> float:
        """The most that a call may cost: all input at the dearest input rate, all of the allowed output."""
        input_tokens = math.ceil(estimated_input_tokens * RESERVE_MARGIN)
        rates = self._rates(input_tokens)
        return (input_tokens * max(rates.input, rates.cache_write) + max_output_tokens * rates.output) / 1e6

    def describe(self) -> str:
        return f"{self.model}, effective {self.effective.isoformat()}, {self.source}"

    def _rates(self, prompt_tokens: int) -> PriceRow | LongContext:
        steps = [step for step in self.long_context if prompt_tokens > step.above_input_tokens]
        return max(steps, key=lambda step: step.above_input_tokens) if steps else self


def _share(rates: PriceRow | LongContext, share: float) -> dict[str, float]:
    return {name: getattr(rates, name) * share for name in ("input", "output", "cache_read", "cache_write")}


class PriceTable:
    """Price rows by model."""

    def __init__(self, rows: Iterable[PriceRow]) -> None:
        self._rows: dict[str, list[PriceRow]] = {}
        for row in rows:
            self._rows.setdefault(row.model, []).append(row)

    def overridden_by(self, other: PriceTable) -> PriceTable:
        """This table, with all rows of a model replaced where `other` has rows of it."""
        table = PriceTable(())
        table._rows = {**self._rows, **other._rows}
        return table

    def find(self, model: str, on: date) -> PriceRow | None:
        """The row of exactly this model in force on a day; None: unpriced. A dated snapshot needs a row of its own."""
        rows = [row for row in self._rows.get(model, ()) if row.effective <= on]
        return max(rows, key=lambda row: row.effective) if rows else None


def estimate_tokens(text: str) -> int:
    """Tokens of `text` by the stated estimator (see BYTES_PER_TOKEN)."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def estimate_prompt_tokens(messages: Iterable[Message]) -> int:
    return sum(estimate_tokens(message.content) + _MESSAGE_TOKENS for message in messages)
