"""The meter: every token is priced once, at the rate in force, and what has no price is not free."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.plugins.backend import Usage
from quintain_generator.adapters.price_file import PriceFileError, load_prices, parse_prices
from quintain_generator.domain.prices import LongContext, PriceRow, PriceTable


def row(**changes: object) -> PriceRow:
    fields: dict[str, object] = {
        "model": "m", "effective": date(2026, 1, 1), "source": "test",
        "input": 2.0, "output": 10.0, "cache_read": 0.2, "cache_write": 2.5,
    }  # fmt: skip
    return PriceRow.model_validate(fields | changes)


LONG = LongContext(above_input_tokens=1000, input=4.0, output=15.0, cache_read=0.4, cache_write=5.0)


def test_each_kind_of_token_has_its_rate() -> None:
    usage = Usage(input_tokens=1_000_000, cached_input_tokens=2_000_000, cache_write_tokens=3_000_000,
                  output_tokens=4_000_000, reasoning_tokens=1_000_000)  # fmt: skip
    assert row().cost_usd(usage) == pytest.approx(2.0 + 0.4 + 7.5 + 40.0)


def test_a_long_prompt_is_priced_at_the_long_rates_as_a_whole_cached_tokens_counting() -> None:
    priced = row(long_context=(LONG,))
    assert priced.cost_usd(Usage(input_tokens=1000)) == pytest.approx(1000 * 2.0 / 1e6)
    assert priced.cost_usd(Usage(input_tokens=500, cached_input_tokens=501, output_tokens=10)) == pytest.approx(
        (500 * 4.0 + 501 * 0.4 + 10 * 15.0) / 1e6
    )


@given(
    total=st.integers(0, 5000), cached=st.floats(0, 1), written=st.floats(0, 1),
    output=st.integers(0, 1000), spare=st.integers(0, 1000),
)  # fmt: skip
def test_a_reserve_is_never_less_than_what_the_call_costs(
    total: int, cached: float, written: float, output: int, spare: int
) -> None:
    read = int(total * cached)
    write = int((total - read) * written)
    usage = Usage(total - read - write, read, write, output)
    priced = row(long_context=(LONG,))
    assert priced.reserve_usd(total, output + spare) >= priced.cost_usd(usage) - 1e-12


def test_the_row_in_force_counts() -> None:
    table = PriceTable([row(), row(effective=date(2026, 6, 1), input=1.0)])
    assert table.find("m", date(2025, 12, 31)) is None
    assert table.find("m", date(2026, 5, 31)) == row()
    assert table.find("m", date(2026, 6, 1)) == row(effective=date(2026, 6, 1), input=1.0)
    assert table.find("m-2026", date(2026, 6, 1)) is None


def test_the_users_file_overrides_a_model_and_leaves_the_others(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        '[[price]]\nmodel = "claude-opus-5"\neffective = 2026-11-01\nsource = "our contract"\n'
        "input = 1\noutput = 2\ncache_read = 0.1\ncache_write = 1\n"
    )
    table, today = load_prices(file), date(2026, 11, 23)
    ours, other = table.find("claude-opus-5", today), table.find("gpt-6-sol", today)
    assert ours is not None
    assert ours.describe() == "claude-opus-5, effective 2026-11-01, our contract"
    assert other is not None
    assert table.find("claude-opus-5", date(2026, 8, 1)) is None


def test_every_packaged_row_has_a_source_and_sensible_rates() -> None:
    for rows in load_prices()._rows.values():
        for r in rows:
            assert r.source
            assert r.cache_read < r.input <= r.cache_write < r.output


ROW = "model='x'\neffective=2026-01-01\nsource='s'\ninput=1\noutput=1\ncache_read=1\ncache_write=1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[price]]\nmodel='x'", r"price 1 \(x\): effective: Field required"),
        ("[[price]]\nmodel='x'\ninputs=1", "inputs: Extra inputs are not permitted"),
        ("[[price]]\nmodel='x'\neffective=2026-01-01\nsource='s'\ninput=inf", "input: Input should be a finite number"),
        ("[prices]", r"unknown tables \['prices'\]"),
        ("[[price", "not valid TOML"),
        (f"[price]\n{ROW}", r"each row begins with \[\[price\]\]"),
        ("price = 3", r"each row begins with \[\[price\]\]"),
        ("price = [1, 2]", r"each row begins with \[\[price\]\]"),
        (f"[[price]]\n{ROW}\n[[price]]\n{ROW}", r"price 2 \(x\): a second row from 2026-01-01 on"),
    ],
)
def test_a_wrong_price_file_says_where(text: str, message: str) -> None:
    with pytest.raises(PriceFileError, match=message):
        parse_prices(text, "mine.toml")


def test_a_price_file_that_is_not_utf_8_says_so(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_bytes(b"# \xe9")
    with pytest.raises(PriceFileError, match=r"prices\.toml: not valid TOML: it is not UTF-8"):
        load_prices(tmp_path / "prices.toml")


def test_in_batches_every_rate_is_the_same_share_and_the_source_says_so() -> None:
    usage = Usage(input_tokens=900, cached_input_tokens=300, cache_write_tokens=50, output_tokens=70)
    priced = row(long_context=(LONG,), batch=0.5)
    assert priced.in_batches().cost_usd(usage) == pytest.approx(priced.cost_usd(usage) / 2)
    assert priced.in_batches().reserve_usd(2000, 100) == pytest.approx(priced.reserve_usd(2000, 100) / 2)
    assert "in batches at 50%" in priced.in_batches().describe()
    assert row().in_batches() == row()  # nobody knows that it costs less
