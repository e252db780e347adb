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


@pytest.mark.parametrize("divider", ["=======", "  =======  "])
def test_a_heading_that_is_underlined_does_not_divide_a_block(divider: str) -> None:
    text = f"<<<<<<< SEARCH\nTitle\n=====\na\n{divider}\nNew\n=====\nb\n>>>>>>> REPLACE\n"
    assert find_blocks(text) == [Block("Title\n=====\na\n", "New\n=====\nb\n")]


@pytest.mark.parametrize(
    ("begin", "end"), [("------- SEARCH", "+++++++ REPLACE"), ("<<<<<<< ORIGINAL", ">>>>>>> UPDATED")]
)
def test_marks_of_other_tools_will_do(begin: str, end: str) -> None:
    assert find_blocks(f"{begin}\na\n=======\nb\n{end}\n") == [Block("a\n", "b\n")]


def test_marks_of_other_lengths_will_do() -> None:
    assert find_blocks("<<<<<<< SEARCH\na\n======\nb\n>>>>>>>> REPLACE\n") == [Block("a\n", "b\n")]


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


def test_a_block_that_is_indented_otherwise_fits_and_its_replacement_moves_along() -> None:
    source = "class A:\n    def f(self):\n        if self:\n            return 1\n        return 2\n"
    block = Block("if self:\n    return 1\n", "if self:\n    return 10\nelse:\n    pass\n")
    expected = "        if self:\n            return 10\n        else:\n            pass\n"
    assert expected in apply_blocks(source, [block])


def test_another_indentation_within_a_block_does_not_fit() -> None:
    with pytest.raises(DiffError, match="not in the source"):
        apply_blocks("if a:\n    b\n", [Block("if a:\n  b\n", "x\n")])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<<<<<<< SEARCH\na\n=======\nb\n", "block 1: it has no end"),
        ("<<<<<<< SEARCH\na\n=======\nb\n<<<<<<< SEARCH\nc\n=======\nd\n>>>>>>> REPLACE\n", "block 1: it has no end"),
        ("<<<<<<< SEARCH\na\n=======\nb\n=======\nc\n>>>>>>> REPLACE\n", "block 1: there are 2 lines of ======="),
        ("<<<<<<< SEARCH\na\n>>>>>>> REPLACE\n", "block 1: there is no line of ======="),
        ("<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n" * 101, "101 blocks are more than 100"),
    ],
)
def test_a_block_that_is_not_complete_is_said_so(text: str, reason: str) -> None:
    with pytest.raises(DiffError, match=reason):
        find_blocks(text)


def test_applying_takes_time_in_proportion_to_the_source() -> None:
    """Where it does not, this takes hours."""
    source = "x\n" * 128_000
    with pytest.raises(DiffError, match="not in the source"):
        apply_blocks(source, [Block("x\n" * 64_000 + "y\n", "z\n")])
    with pytest.raises(DiffError, match="more than 5 times"):
        apply_blocks(source, [Block("x\n" * 64_000, "z\n")])
    with pytest.raises(DiffError, match="not in the source"):
        apply_blocks("ab" * 100_000, [Block("ba" * 100_000 + "\n", "z\n")])


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


@pytest.mark.parametrize("before", ["", "\n", "\n\n", "  \n"])
@pytest.mark.parametrize("after", ["", "\n", "   \n\n"])
@pytest.mark.parametrize("both", [True, False])
def test_blank_lines_around_the_search_text_are_forgiven(before: str, after: str, both: bool) -> None:
    replacement = f"{before if both else ''}    return b\n{after if both else ''}"
    changed = apply_blocks(SOURCE, [Block(f"{before}def f():\n    return a\n{after}", f"def f():\n{replacement}")])
    expected = SOURCE.replace("def f():\n    return a", "def f():\n    return b")
    assert [line for line in changed.split("\n") if line.strip()] == [n for n in expected.split("\n") if n.strip()]
    assert apply_blocks(SOURCE, [Block(f"{before}b = 2\n{after}", f"{before}b = 3\n{after}")]).count("b = 3") == 1


def test_blank_lines_that_are_in_the_source_count_where_they_make_it_unique() -> None:
    source = "x\n\ny\nx\ny\n"
    assert apply_blocks(source, [Block("\ny\n", "\nz\n")]) == "x\n\nz\nx\ny\n"


def test_the_line_that_differs_is_shown_and_not_one_that_is_equal() -> None:
    with pytest.raises(DiffError) as error:
        apply_blocks(SOURCE, [Block("def g():\n    return c\n", "x\n")])
    assert "line 8 of the source is '    return a', the SEARCH part has '    return c'" in str(error.value)
