"""Search/replace blocks apply exactly or say why not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain_generator.domain.diff import Block, DiffError, apply_blocks, find_blocks

SOURCE = "a = 1\nb = 2\n\ndef f():\n    return a\n\ndef g():\n    return a\n"


def test_blocks_are_found_in_order_with_prose_and_fences_around() -> None:
    text = (
        "I change two things.\n```\n<<<<<<< SEARCH\na = 1\n=======\na = 10\n>>>>>>> REPLACE\n```\nand\n"
        "<<<<<<< SEARCH\r\nb = 2\r\n=======\r\n>>>>>>> REPLACE\r\n"
    )
    assert find_blocks(text) == [Block("a = 1\n", "a = 10\n"), Block("b = 2\n", "")]


def test_applying_replaces_and_deletes_lines() -> None:
    blocks = [Block("a = 1\n", "a = 10\nc = 3\n"), Block("b = 2\n", "")]
    assert apply_blocks(SOURCE, blocks) == SOURCE.replace("a = 1\nb = 2\n", "a = 10\nc = 3\n")


def test_white_space_at_line_ends_does_not_matter() -> None:
    assert apply_blocks(SOURCE, [Block("def f():   \n    return a\t\n", "F\n")]).count("F\n") == 1


@pytest.mark.parametrize(
    ("search", "reason"),
    [
        ("    return a\n", "occurs 2 times (lines 5, 8)"),
        ("    return aa\n", "is not in the source; the closest line to 'return aa' is 'return a'"),
        ("\n", "the SEARCH part is empty"),
    ],
)
def test_a_block_that_does_not_apply_says_why(search: str, reason: str) -> None:
    with pytest.raises(DiffError, match="block 1") as error:
        apply_blocks(SOURCE, [Block(search, "x\n")])
    assert reason in str(error.value)


@settings(max_examples=200, deadline=None)
@given(
    lines=st.lists(st.text(alphabet="abc =()", min_size=1, max_size=8), min_size=1, max_size=20, unique_by=str.rstrip),
    data=st.data(),
)
def test_replacing_any_unique_line_changes_only_that_line(lines: list[str], data: st.DataObject) -> None:
    lines = [line for line in lines if line.strip()]
    if not lines:
        return
    at = data.draw(st.integers(0, len(lines) - 1))
    changed = apply_blocks("\n".join(lines), [Block(lines[at] + "\n", "NEW\n")]).split("\n")
    assert changed == [*lines[:at], "NEW", *lines[at + 1 :]]
