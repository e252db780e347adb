"""The meter: what tokens cost, from dated and sourced price rows. No row means unpriced, never free."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable
from datetime import date
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quintain.plugins.backend import Message, Usage

CHARACTERS_PER_TOKEN = 3.5
"""The stated estimator. English prose has about 4 characters a token and code about 3, so this errs on the high side
for prose; it is used for reserves and prompt budgets, never for settling."""

_MESSAGE_TOKENS = 8  # role and separators of one message


class PriceFileError(ValueError):
    """A price file is wrong; the message says which row and what would be right."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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

    def reserve_usd(self, input_tokens: int, max_output_tokens: int) -> float:
        """The most that a call may cost: all input at the dearest input rate, all of the allowed output."""
        rates = self._rates(input_tokens)
        return (input_tokens * max(rates.input, rates.cache_write) + max_output_tokens * rates.output) / 1e6

    def describe(self) -> str:
        return f"{self.model}, effective {self.effective.isoformat()}, {self.source}"

    def _rates(self, prompt_tokens: int) -> PriceRow | LongContext:
        steps = [step for step in self.long_context if prompt_tokens > step.above_input_tokens]
        return max(steps, key=lambda step: step.above_input_tokens) if steps else self


class PriceTable:
    """Price rows by model. Rows of a later file override those of an earlier one for the same model."""

    def __init__(self, rows: Iterable[PriceRow]) -> None:
        self._rows: dict[str, list[PriceRow]] = {}
        for row in rows:
            self._rows.setdefault(row.model, []).append(row)

    @classmethod
    def load(cls, user_file: Path | None = None) -> PriceTable:
        """The packaged table, overridden by the user's. Raises PriceFileError."""
        packaged = resources.files("quintain_generator").joinpath("prices.toml").read_text()
        table = cls(_parse(packaged, "prices.toml"))
        if user_file is not None:
            try:
                overriding = _parse(user_file.read_text(), str(user_file))
            except OSError as error:
                raise PriceFileError(f"{user_file}: {error.strerror}") from None
            table._rows.update(cls(overriding)._rows)
        return table

    def find(self, model: str, on: date) -> PriceRow | None:
        """The row of exactly this model in force on a day; None: unpriced. A dated snapshot needs a row of its own."""
        rows = [row for row in self._rows.get(model, ()) if row.effective <= on]
        return max(rows, key=lambda row: row.effective) if rows else None


def _parse(text: str, where: str) -> list[PriceRow]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PriceFileError(f"{where}: not valid TOML: {error}") from None
    if set(document) - {"price"}:
        raise PriceFileError(f"{where}: unknown tables {sorted(set(document) - {'price'})}; only [[price]] is known")
    rows = []
    for number, raw in enumerate(document.get("price", ()), start=1):
        try:
            rows.append(PriceRow.model_validate(raw))
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise PriceFileError(f"{where}: price {number} ({raw.get('model', 'no model')}): {problems}") from None
    return rows


def estimate_tokens(text: str) -> int:
    """Tokens of `text` by the stated estimator (see CHARACTERS_PER_TOKEN)."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def estimate_prompt_tokens(messages: Iterable[Message]) -> int:
    return sum(estimate_tokens(message.content) + _MESSAGE_TOKENS for message in messages)
