"""Reads price tables: the packaged one, and the user's that overrides it."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from quintain_generator.domain.prices import PriceRow, PriceTable


class PriceFileError(ValueError):
    """A price file is wrong; the message says which row and what would be right."""


def load_prices(user_file: Path | None = None) -> PriceTable:
    """The packaged table, overridden model by model by the user's. Raises PriceFileError."""
    packaged = resources.files("quintain_generator").joinpath("prices.toml").read_text()
    table = parse_prices(packaged, "prices.toml")
    if user_file is None:
        return table
    try:
        text = user_file.read_text()
    except OSError as error:
        raise PriceFileError(f"{user_file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PriceFileError(f"{user_file}: not valid TOML: it is not UTF-8") from None
    return table.overridden_by(parse_prices(text, str(user_file)))


def parse_prices(text: str, where: str) -> PriceTable:
    """`where` is named in errors. Raises PriceFileError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PriceFileError(f"{where}: not valid TOML: {error}") from None
    if set(document) - {"price"}:
        raise PriceFileError(f"{where}: unknown tables {sorted(set(document) - {'price'})}; only [[price]] is known")
    entries = document.get("price", [])
    if not (isinstance(entries, list) and all(isinstance(raw, dict) for raw in entries)):
        raise PriceFileError(f"{where}: price is no list of tables; each row begins with [[price]]")
    rows: list[PriceRow] = []
    for number, raw in enumerate(entries, start=1):
        try:
            row = PriceRow.model_validate(raw)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise PriceFileError(f"{where}: price {number} ({raw.get('model', 'no model')}): {problems}") from None
        if any((row.model, row.effective) == (other.model, other.effective) for other in rows):
            raise PriceFileError(f"{where}: price {number} ({row.model}): a second row from {row.effective} on")
        rows.append(row)
    return PriceTable(rows)
